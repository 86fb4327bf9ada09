//! The core's errors as JavaScript's, with the package's codes.

use guided_diffusion::Error;
use wasm_bindgen::JsValue;

/// What exported functions return.
pub type Result<T> = std::result::Result<T, JsValue>;

/// What messages of the core call by the command line's arguments, and the package's options for it.
const WORDS: [(&str, &str); 5] = [
    ("--fit crop, --fit pad", "fit: 'crop' or 'pad'"),
    ("--precision f16-weights", "precision: 'f16-weights'"),
    ("--precision f32", "precision: 'f32'"),
    ("--grid", "`grid`"),
    ("(names and values as for the public scripts)", "as `flags`, named as for the public scripts"),
];

/// A JavaScript error with the core's own message, and its kind as `code`.
pub fn js(error: Error) -> JsValue {
    let message = WORDS.iter().fold(error.to_string(), |message, (own, ours)| message.replace(own, ours));
    let out = js_sys::Error::new(&message);
    // Setting a property of a fresh object cannot fail.
    let _ = js_sys::Reflect::set(&out, &"code".into(), &code(&error).into());
    out.into()
}

/// The package's `ErrorCode`.
fn code(error: &Error) -> &'static str {
    match error {
        Error::NoAdapter(_) | Error::NoDevice { .. } => "no-adapter",
        Error::DeviceLost(_) => "device-lost",
        Error::OutOfMemory(_) => "out-of-memory",
        Error::Limit { .. } => "too-large",
        Error::Checkpoint { .. } | Error::Tensors { .. } | Error::Config(_) => "bad-file",
        // Its first advice is a smaller guidance scale.
        Error::Options(_) | Error::NotFinite(_) | Error::Feature { .. } => "bad-options",
        _ => "internal",
    }
}
