//! The `guided-diffusion` program; everything is in the library's `cli` module.

fn main() {}
