//! The sampling loop: the schedule in float64 on the host, each step in WGSL.

pub mod registry;
pub mod respace;
pub mod run;
pub mod schedule;
pub mod settings;

pub use registry::Sampler;
pub use respace::Respacing;
pub use run::{Noise, Preview, Run, SampleOptions, StepInfo};
pub use schedule::{Method, Schedule};
pub use settings::{Facts, Settings};
