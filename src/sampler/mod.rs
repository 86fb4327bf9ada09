//! The sampling loop: the schedule in float64 on the host, each step in WGSL.

pub mod respace;
pub mod run;
pub mod schedule;

pub use respace::Respacing;
pub use run::{Noise, Preview, Run, SampleOptions, StepInfo};
pub use schedule::{Method, Schedule};
