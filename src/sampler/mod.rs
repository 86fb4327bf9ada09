//! The sampling loop: the schedule in float64 on the host, each step in WGSL.

mod ancestral;
mod ddim;
mod ddnm;
mod dpm;
pub mod dpm_solver;
mod euler;
mod heun;
mod invert;
mod ipndm;
mod multistep;
pub mod process;
pub mod registry;
mod repaint;
pub mod respace;
pub mod row;
pub mod run;
pub mod schedule;
pub mod settings;
mod sigma;

pub use registry::Sampler;
pub use respace::Respacing;
pub use run::{Noise, Preview, Run, SampleOptions, StepInfo};
pub use schedule::{Method, Schedule};
pub use settings::{Facts, Settings};
