//! Samplers and schedules, in float64 on the host; the steps themselves are WGSL.

mod ancestral;
mod ddim;
mod ddnm;
mod dpm;
pub mod dpm_solver;
pub mod edit;
mod euler;
mod heun;
mod invert;
mod ipndm;
mod multistep;
pub mod process;
pub mod registry;
mod repaint;
mod resolve;
pub mod respace;
pub mod row;
pub mod schedule;
pub mod settings;
mod sigma;

pub use edit::{Colour, Degradation, Edit};
pub use registry::Sampler;
pub use resolve::Facts;
pub use respace::Respacing;
pub use row::Row;
pub use schedule::Schedule;
pub use settings::Settings;
