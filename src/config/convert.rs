//! Converts a checkpoint into a safetensors file with complete metadata, a piece of a tensor at a time.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use serde_json::{Map, Value};

use super::{ModelConfig, TimeGrids, check, metadata, parameters};
use crate::checkpoint::writer::{self, TensorSpec};
use crate::checkpoint::{Checkpoint, DType, TensorInfo, decode_f32, encode};
use crate::error::{Error, Result};

/// Elements converted at a time.
const PIECE: usize = 1 << 18;

/// Writes `checkpoint` as safetensors to `out`, its configuration in the metadata, its tensors checked against it and
/// for finite values. The file appears when it is complete, or not at all.
///
/// With `dtype`, weights of two and more dimensions get that type; vectors (biases, norms) keep float32, or what they
/// have: they are a thousandth of the file and half of its precision. `progress` gets the bytes read so far and in
/// all, and may stop the work. Memory stays within a few MiB, and one tensor where a .pt file's is not contiguous.
pub fn convert(
    checkpoint: &Checkpoint,
    config: &ModelConfig,
    dtype: Option<DType>,
    out: impl AsRef<Path>,
    mut progress: impl FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<()> {
    let out = out.as_ref();
    check(checkpoint.name(), checkpoint.header(), config)?;
    let mut specs = Vec::new();
    for (name, shape) in parameters(config)? {
        let have = checkpoint.info(&name)?.dtype;
        let dtype = dtype.filter(|_| shape.len() > 1).unwrap_or(have);
        specs.push(TensorSpec { name, dtype, shape });
    }
    let total = checkpoint.header().tensors.values().map(|info| info.byte_len() as u64).sum();
    let metadata = BTreeMap::from([
        (metadata::KEY.to_owned(), config.to_metadata()?),
        // Other readers of the format look for it.
        ("format".to_owned(), "pt".to_owned()),
    ]);
    let mut done = 0;
    writer::write(out, specs, &metadata, |spec, sink| {
        let info = checkpoint.info(&spec.name)?;
        let bytes = checkpoint.bytes(&spec.name)?;
        for (k, piece) in bytes.chunks(PIECE * info.dtype.size()).enumerate() {
            let elements = piece.len() / info.dtype.size();
            let part = TensorInfo { dtype: info.dtype, shape: vec![elements], range: 0..piece.len() as u64 };
            let values = decode_f32(checkpoint.name(), &spec.name, &part, piece)?;
            // Equal types are copied, so that not one bit changes.
            let converted =
                if info.dtype == spec.dtype { None } else { Some(encode_named(checkpoint.name(), spec, &values, k)?) };
            sink.write_all(converted.as_deref().unwrap_or(piece)).map_err(|e| Error::io(out, e))?;
            done += piece.len() as u64;
            if progress(done, total).is_break() {
                let reason = std::io::Error::new(std::io::ErrorKind::Interrupted, "stopped; nothing was written");
                return Err(Error::io(out, reason));
            }
        }
        Ok(())
    })
}

/// The metadata of a converted file with these time grids added to its configuration.
///
/// # Errors
/// [`Error::Config`] for a file without `adm` metadata, or grids that do not fit its process.
pub fn with_grids(checkpoint: &Checkpoint, grids: &TimeGrids) -> Result<BTreeMap<String, String>> {
    let named = |message: String| Error::Config(format!("{}: {message}", checkpoint.name()));
    let mut metadata = checkpoint.header().metadata.clone();
    let adm = metadata.get_mut(metadata::KEY).ok_or_else(|| {
        named("it has no configuration to keep a grid in; convert it first: guided-diffusion convert FILE".into())
    })?;
    let unreadable = |e| named(format!("its adm metadata: {e}"));
    // As JSON, so that fields that are not ours stay.
    let mut json: Map<String, Value> = serde_json::from_str(adm).map_err(unreadable)?;
    let mut all = ModelConfig::from_metadata(adm)?.grids;
    all.extend(grids.iter().map(|(steps, grid)| (*steps, grid.clone())));
    if !all.is_empty() {
        json.insert("grids".into(), serde_json::to_value(all).map_err(unreadable)?);
    }
    *adm = Value::Object(json).to_string();
    ModelConfig::from_metadata(adm)?;
    Ok(metadata)
}

/// Writes a converted file anew to `out`, which may be its own path, with these time grids in its configuration; all else is
/// copied. The file appears when it is complete, or not at all.
///
/// # Errors
/// As [`with_grids`]; [`Error::Io`].
pub fn add_grids(checkpoint: &Checkpoint, grids: &TimeGrids, out: impl AsRef<Path>) -> Result<()> {
    let metadata = with_grids(checkpoint, grids)?;
    let spec = |(name, info): (&String, &TensorInfo)| TensorSpec {
        name: name.clone(),
        dtype: info.dtype,
        shape: info.shape.clone(),
    };
    let specs = checkpoint.header().tensors.iter().map(spec).collect();
    writer::write(&out, specs, &metadata, |spec, sink| {
        sink.write_all(&checkpoint.bytes(&spec.name)?).map_err(|e| Error::io(out.as_ref(), e))
    })
}

fn encode_named(file: &str, spec: &TensorSpec, values: &[f32], piece: usize) -> Result<Vec<u8>> {
    encode(values, spec.dtype).ok_or_else(|| {
        let fits = |v: &f32| encode(std::slice::from_ref(v), spec.dtype).is_some();
        let at = values.iter().position(|v| !fits(v)).unwrap_or(0);
        let value = values.get(at).copied().unwrap_or(f32::NAN);
        crate::checkpoint::not_finite_as(file, &spec.name, piece * PIECE + at, value, spec.dtype)
    })
}
