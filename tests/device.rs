//! The test files that run networks and kernels on the shared devices, as one program, so that what one of them has compiled
//! serves the others: nearly all kernels of the networks are in the case table too, and compiling is what takes the time.
//! `cargo test --test NAME` runs one of them alone.
#![allow(clippy::duplicate_mod, reason = "each file has the common parts, since it is a suite of its own too")]

#[path = "builtin.rs"]
mod builtin;
#[path = "golden.rs"]
mod golden;
#[path = "gradients.rs"]
mod gradients;
#[path = "guided.rs"]
mod guided;
#[path = "ops.rs"]
mod ops;
#[path = "sampler.rs"]
mod sampler;
#[path = "solvers.rs"]
mod solvers;
#[path = "time_grid.rs"]
mod time_grid;
#[path = "tuner.rs"]
mod tuner;
