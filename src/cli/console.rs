//! What the program says: results on standard output, notes on standard error.

use std::io::{ErrorKind, Write};

use crate::{Error, Result};

/// Writes to standard output. A reader that has gone away, such as `head`, is not an error.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Error::io("standard output", e)),
        _ => Ok(()),
    }
}

/// Writes one line of JSON to standard output.
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string(value).map_err(|e| Error::io("standard output", e.into()))?;
    print(&(text + "\n"))
}

/// Writes a note to standard error. `eprintln!` would panic where that is closed.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
