//! What the readers make of checkpoints, for fuzz/differential.py: reads a path per line, and writes a line of JSON for each: why
//! the file is refused, or every tensor's shape and values (as float32, little-endian, in hexadecimal digits).

use std::io::{BufRead, Write};

use guided_diffusion_fuzz::checkpoint::Checkpoint;
use serde_json::{Map, Value, json};

fn read(path: &str) -> guided_diffusion_fuzz::Result<Value> {
    let file = Checkpoint::open(path)?;
    let mut tensors = Map::new();
    for (name, info) in &file.header().tensors {
        let values = file.tensor_f32(name)?;
        let digits: String = values.iter().flat_map(|v| v.to_le_bytes()).map(|byte| format!("{byte:02x}")).collect();
        tensors.insert(name.clone(), json!([info.shape, digits]));
    }
    Ok(json!({ "tensors": tensors }))
}

fn main() -> std::io::Result<()> {
    for path in std::io::stdin().lock().lines() {
        let answer = read(&path?).unwrap_or_else(|error| json!({ "error": error.to_string() }));
        writeln!(std::io::stdout(), "{answer}")?;
    }
    Ok(())
}
