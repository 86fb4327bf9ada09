//! Writes the JavaScript around a wasm module: `guided-diffusion-bindgen IN.wasm OUT_DIR`.

use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(input), Some(out), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        eprintln!("usage: guided-diffusion-bindgen IN.wasm OUT_DIR");
        return ExitCode::FAILURE;
    };
    let made = Bindgen::new().input_path(input).web(true).and_then(|bindgen| bindgen.typescript(true).generate(out));
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guided-diffusion-bindgen: {error:#}");
            ExitCode::FAILURE
        }
    }
}
