//! Every shader in every specialisation that a plan can ask for: of the golden networks, the public files and the case
//! table. Native tests translate them all without a device, the case table's as for a large device; browsers check those of the
//! networks, and of the case table those that they then run. Drivers get those that are run.

use std::collections::BTreeSet;

use guided_diffusion::config::{ModelConfig, Role, presets};
use guided_diffusion::device::{Caps, Precision};
use guided_diffusion::plan::{Plan, PlanOptions};
use guided_diffusion::shader::Kernel;
use guided_diffusion::{Session, SessionOptions};

use crate::{Golden, Kinds, model_config, op_runs, sizes};

pub(crate) const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::F16Weights, Precision::F16];

/// A device that is large enough for every model and has float16: what smaller devices refuse does not matter here.
pub fn ample() -> Caps {
    let (most, defaults) = (1 << 40, Caps::webgpu_defaults());
    Caps { max_buffer_size: most, max_binding_size: most, max_workgroups: 65_535, shader_f16: true, ..defaults }
}

#[derive(Default)]
struct Collected(BTreeSet<Kernel>);

impl Collected {
    fn plan(&mut self, plan: &Plan) {
        self.0.extend(plan.dispatches().iter().map(|step| step.kernel.clone()));
    }

    fn session(&mut self, model: &ModelConfig, guide: Option<&ModelConfig>, batch: usize, low_size: usize) {
        for precision in PRECISIONS {
            let plan = PlanOptions { precision, ..PlanOptions::default() };
            let options = SessionOptions { batch, low_size, plan, ..SessionOptions::default() };
            self.plan(&Session::plan(&ample(), model, guide, &options).unwrap());
        }
    }
}

/// The list. Networks are planned for the base device, the case table for each of `devices`, which differ in what kernels
/// are legal on them, and run as `kinds` says.
///
/// # Panics
/// A configuration has no plan, which is a defect.
pub fn kernels(golden: &Golden, devices: &[Caps], kinds: Kinds) -> BTreeSet<Kernel> {
    let mut kernels = Collected::default();
    for (_, case) in golden.small("unet") {
        let low_size = case.get("low_res").map_or(0, |low| sizes(low)[2]);
        kernels.session(&model_config(&case["config"]), None, sizes(&case["x"])[0], low_size);
    }
    // Guidance: the gradients of every head.
    for (_, case) in golden.small("classifier") {
        let guide = model_config(&case["config"]);
        let (_, unet) = golden.small("unet").next().unwrap();
        let mut model = model_config(&unet["config"]);
        model.unet.image_size = guide.unet.image_size;
        kernels.session(&model, Some(&guide), 2, 0);
    }
    for preset in &presets::PRESETS {
        let config = preset.config();
        if preset.role == Role::Classifier {
            let size = config.unet.image_size;
            let model = presets::by_name(&format!("{size}x{size}_diffusion")).unwrap().config();
            kernels.session(&model, Some(&config), 1, 0);
        } else {
            kernels.session(&config, None, 1, 0);
            kernels.session(&config, None, 4, 0);
        }
    }
    for caps in devices {
        for run in op_runs(caps, kinds) {
            kernels.plan(&run.plan(caps).unwrap());
        }
    }
    kernels.0
}
