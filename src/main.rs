//! The `guided-diffusion` program; everything is in the library's `cli` module.

fn main() -> std::process::ExitCode {
    guided_diffusion::cli::main()
}
