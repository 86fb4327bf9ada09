//! `adapters`: the GPUs that wgpu can use here.

use super::console::{print, print_json};
use super::other_args::AdaptersArgs;
use crate::device::mebibytes;
use crate::gpu::{AdapterChoice, Gpu};
use crate::{Error, Result};

/// Lists the adapters, the default one first.
///
/// # Errors
/// [`Error::NoAdapter`] where there is none.
pub async fn run(args: &AdaptersArgs) -> Result<()> {
    let adapters = Gpu::adapters().await;
    if args.json {
        return print_json(&adapters);
    }
    if adapters.is_empty() {
        // Opening none gives the advice for this system.
        return Gpu::open(&AdapterChoice::Default).await.map(|_| ()).and(Err(Error::NoAdapter("none found".into())));
    }
    let mut text = String::new();
    for a in adapters {
        text += &format!("{}  {} ({}, {})\n", a.index, a.name, a.kind, a.backend);
        text += &format!("   driver          {}\n", a.driver);
        text += &format!(
            "   largest buffer  {}, bound at once {}\n",
            mebibytes(a.max_buffer_size),
            mebibytes(a.max_binding_size)
        );
        text += &format!(
            "   features        {}\n",
            if a.features.is_empty() { "none".into() } else { a.features.join(", ") }
        );
    }
    print(&text)
}
