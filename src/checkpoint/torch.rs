//! PyTorch's .pt files, in the zip format (since 1.6) and the legacy one: from the pickled state dict to a header.
//!
//! Tensors stay where they lie in the file. Views that are not contiguous are gathered when they are read.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::header::{Header, Strides, TensorInfo, malformed};
use super::parts::ReadAt;
use super::pickle::{self, Element, Machine, Storage, Tensor, Value};
use super::zip;
use crate::error::{Error, Result};

/// The number that starts a legacy file, as the pickle's long integer.
const MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// Whether these are the first bytes of a .pt file.
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || is_legacy(bytes)
}

/// The same of fewer bytes. As the length of a safetensors header they would be too large.
pub(super) fn may_be(first: &[u8; 8]) -> bool {
    looks_like(first) || matches!(first, [0x80, 2, 0x8a, 0x0a, ..])
}

fn is_legacy(bytes: &[u8]) -> bool {
    // A frame may stand between the protocol and the number.
    bytes.first() == Some(&0x80) && bytes[..bytes.len().min(32)].windows(MAGIC.len()).any(|w| w == MAGIC)
}

/// The header of a .pt file; `key` chooses among several state dicts.
pub(super) fn parse(file: &str, bytes: &[u8], key: Option<&str>) -> Result<(Header, Strides)> {
    let parsed = if is_legacy(bytes) { legacy(bytes, key) } else { zipped(&bytes, key) };
    parsed.map_err(|reason| refused(file, reason))
}

/// The same of a file that is read in parts, only in the zip format.
pub(super) fn parse_parts(name: &str, file: &dyn ReadAt) -> Result<(Header, Strides)> {
    zipped(file, None).map_err(|reason| refused(name, reason))
}

/// NumPy's archives are zip files too, and `sample` writes such.
fn refused(file: &str, reason: String) -> Error {
    if !file.to_ascii_lowercase().ends_with(".npz") {
        return malformed(file, reason);
    }
    let more = "an .npz file is an archive of arrays, no checkpoint: give a .safetensors or .pt file";
    malformed(file, format!("{reason}; {more}"))
}

fn zipped(file: &dyn ReadAt, key: Option<&str>) -> Result<(Header, Strides), String> {
    let entries = zip::entries(file)?;
    let entry = |name: &str| entries.get(name).and_then(|range| file.read(range.clone()));
    let mut pickles = entries.keys().filter_map(|name| name.strip_suffix("data.pkl"));
    let (Some(folder), None) = (pickles.next(), pickles.next()) else {
        return Err("it is a zip file, but not one that torch.save wrote (it has no single data.pkl)".into());
    };
    if entries.contains_key(&format!("{folder}constants.pkl")) {
        return Err("it is a TorchScript archive; save model.state_dict() instead".into());
    }
    if entry(&format!("{folder}byteorder")).is_some_and(|order| *order != *b"little") {
        return Err("its numbers are big-endian; save it on a little-endian machine".into());
    }
    let pickled = entry(&format!("{folder}data.pkl")).unwrap_or_default();
    let (top, machine, _) = pickle::read(&pickled)?;
    let find = |storage: &Storage| entries.get(&format!("{folder}data/{}", storage.key)).cloned();
    header(&machine, &top, key, find)
}

fn legacy(bytes: &[u8], key: Option<&str>) -> Result<(Header, Strides), String> {
    let mut at = 0;
    // The magic number, the protocol's version, and the system's byte order.
    for _ in 0..2 {
        at += pickle::read(rest(bytes, at))?.2;
    }
    let (system, machine, used) = pickle::read(rest(bytes, at))?;
    if let Some(Value::Bool(false)) = get(&machine, &system, "little_endian") {
        return Err("its numbers are big-endian; save it on a little-endian machine".into());
    }
    at += used;
    let (top, machine, used) = pickle::read(rest(bytes, at))?;
    at += used;
    let (keys, lists, used) = pickle::read(rest(bytes, at))?;
    at += used;
    let Value::Sequence(keys) = keys else { return Err("its list of storages is not a list".into()) };
    // Each storage follows: its count of elements in 8 bytes, then the elements. The first reference gives the type.
    let mut sizes: HashMap<&str, &Storage> = HashMap::new();
    for storage in &machine.storages {
        sizes.entry(&storage.key).or_insert(storage);
    }
    let mut places: HashMap<&str, Range<u64>> = HashMap::new();
    for key in lists.sequences.get(keys).into_iter().flatten() {
        let Value::Text(key) = key else { return Err("its list of storages holds an item that is not a name".into()) };
        let storage = sizes.get(&**key).ok_or_else(|| format!("storage {key:?} belongs to no tensor"))?;
        let cut = || format!("it is cut short: storage {key:?} of {} elements is missing", storage.count);
        let count = rest(bytes, at).first_chunk::<8>().map(|c| u64::from_le_bytes(*c)).ok_or_else(cut)?;
        if count != storage.count {
            return Err(format!("storage {key:?} holds {count} elements, its tensors need {}", storage.count));
        }
        let len = usize::try_from(count).ok().and_then(|n| n.checked_mul(storage.element.size())).ok_or_else(cut)?;
        let start = at + 8;
        let end = start.checked_add(len).filter(|end| *end <= bytes.len()).ok_or_else(cut)?;
        places.insert(&storage.key, start as u64..end as u64);
        at = end;
    }
    header(&machine, &top, key, |storage| places.get(&*storage.key).cloned())
}

fn rest(bytes: &[u8], at: usize) -> &[u8] {
    bytes.get(at..).unwrap_or_default()
}

/// Places every tensor of the state dict in the file; `find` gives a storage's bytes.
fn header(
    machine: &Machine<'_>,
    top: &Value,
    key: Option<&str>,
    find: impl Fn(&Storage) -> Option<Range<u64>>,
) -> Result<(Header, Strides), String> {
    let (mut header, mut all_strides) = (Header::default(), Strides::new());
    for (name, tensor) in state_dict(machine, top, key)? {
        let named = |reason: &str| format!("tensor {name:?} {reason}");
        let storage = machine.storages.get(tensor.storage).ok_or_else(|| named("has no storage"))?;
        let dtype = match storage.element {
            Element::Float(dtype) => dtype,
            Element::Other(other, _) => {
                return Err(named(&format!("has elements of type {other}; float32, float16 and bfloat16 can be read")));
            }
        };
        let place =
            find(storage).ok_or_else(|| named(&format!("needs storage {:?}, which is missing", storage.key)))?;
        let (range, strides) = locate(tensor, storage, place).map_err(|reason| named(&reason))?;
        let shape: Vec<usize> = tensor.shape.iter().map(|d| *d as usize).collect();
        if let Some(strides) = strides {
            all_strides.insert(name.clone(), strides);
        }
        header.tensors.insert(name, TensorInfo { dtype, shape, range });
    }
    Ok((header, all_strides))
}

/// A tensor's byte range in the file, and its strides unless it is contiguous.
fn locate(t: &Tensor, storage: &Storage, place: Range<u64>) -> Result<(Range<u64>, Option<Vec<usize>>), String> {
    let size = storage.element.size() as u64;
    let bytes = place.end - place.start;
    if storage.count.checked_mul(size) != Some(bytes) {
        return Err(format!("needs {} elements of {size} bytes, but its storage has {bytes} bytes", storage.count));
    }
    let (first, count) = storage.view.unwrap_or((0, storage.count));
    let outside =
        || format!("of shape {:?} and strides {:?} leaves its storage of {count} elements", t.shape, t.strides);
    let elements = t.shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d)).ok_or_else(outside)?;
    // An expanded view repeats elements: it could claim any size, and no state dict holds one.
    if elements > count || first.checked_add(count).is_none_or(|end| end > storage.count) {
        return Err(outside());
    }
    let last = t
        .shape
        .iter()
        .zip(&t.strides)
        .try_fold(0u64, |sum, (d, s)| sum.checked_add(d.saturating_sub(1).checked_mul(*s)?));
    let end = last.and_then(|l| l.checked_add(t.offset)?.checked_add(1)).filter(|end| elements == 0 || *end <= count);
    let end = end.ok_or_else(outside)?;
    let (from, to) = if elements == 0 { (0, 0) } else { (first + t.offset, first + end) };
    let base = place.start;
    let range = base + from * size..base + to * size;
    let (mut dense, mut next) = (true, 1u64);
    for (d, s) in t.shape.iter().zip(&t.strides).rev() {
        dense &= *d == 1 || *s == next;
        next = next.saturating_mul(*d);
    }
    let strides = (!dense && elements > 0).then(|| t.strides.iter().map(|s| *s as usize).collect());
    Ok((range, strides))
}

/// The tensors of the file's only state dict, or of the one under `key`.
fn state_dict<'m>(
    machine: &'m Machine<'m>,
    top: &Value,
    key: Option<&str>,
) -> Result<BTreeMap<String, &'m Tensor>, String> {
    if let Some(key) = key {
        let chosen = get(machine, top, key).ok_or_else(|| format!("it holds nothing under {key:?}"))?;
        return tensors(machine, &chosen);
    }
    let Some(items) = dict(machine, top) else {
        return Err("it holds no state dict (no dict at all); save model.state_dict()".into());
    };
    if items.iter().any(|(_, value)| matches!(value, Value::Tensor(_))) {
        return tensors(machine, top);
    }
    let mut kinds = Kinds { machine, known: HashMap::new() };
    let mut found: Vec<(String, &Value)> = Vec::new();
    for (key, value) in items {
        let Value::Text(key) = key else { continue };
        if kinds.is_state_dict(value) {
            found.push((key.to_string(), value));
        } else if kinds.holds_state_dicts(value) {
            // Averages by their rate, for example: not to be chosen here, but not to be overlooked either.
            found.push((format!("{key}/..."), value));
        }
    }
    match found.as_slice() {
        [(key, only)] if !key.ends_with("/...") => tensors(machine, only),
        [] => match items {
            [(_, only)] => Err(tensors(machine, only).err().unwrap_or_else(|| "its state dict is empty".into())),
            _ => Err("it holds no state dict (no dict from names to tensors); save model.state_dict()".into()),
        },
        several => {
            let names: Vec<_> = several.iter().take(8).map(|(key, _)| key).collect();
            Err(format!("it holds several state dicts, under {names:?}; choose one by its key, or save it alone"))
        }
    }
}

/// Which dicts are state dicts. Each is looked at once, however often a hostile pickle refers to it.
struct Kinds<'m> {
    machine: &'m Machine<'m>,
    known: HashMap<(usize, bool), bool>,
}

impl Kinds<'_> {
    /// A dict from names to tensors, and nothing else.
    fn is_state_dict(&mut self, value: &Value) -> bool {
        self.known(value, false, |_, items| {
            !items.is_empty() && items.iter().all(|item| matches!(item, (Value::Text(_), Value::Tensor(_))))
        })
    }

    /// A dict some of whose values are state dicts.
    fn holds_state_dicts(&mut self, value: &Value) -> bool {
        self.known(value, true, |kinds, items| items.iter().any(|(_, value)| kinds.is_state_dict(value)))
    }

    fn known(&mut self, value: &Value, deep: bool, ask: impl Fn(&mut Self, &[(Value, Value)]) -> bool) -> bool {
        let (Value::Dict(i), machine) = (value, self.machine) else { return false };
        if let Some(answer) = self.known.get(&(*i, deep)) {
            return *answer;
        }
        let answer = machine.dicts.get(*i).is_some_and(|items| ask(self, items));
        self.known.insert((*i, deep), answer);
        answer
    }
}

/// A dict whose every value is a tensor, by name. A prefix `module.` on all of them (DataParallel) is dropped.
fn tensors<'m>(machine: &'m Machine<'_>, value: &Value) -> Result<BTreeMap<String, &'m Tensor>, String> {
    let items = dict(machine, value).ok_or("it holds no dict where a state dict should be")?;
    let mut all = BTreeMap::new();
    for (key, value) in items {
        let Value::Text(name) = key else { return Err("its state dict has a key that is not text".into()) };
        let tensor = match value {
            Value::Tensor(i) => machine.tensors.get(*i),
            _ => None,
        };
        let tensor = tensor.ok_or_else(|| format!("entry {name:?} of its state dict is not a tensor"))?;
        all.insert(name.to_string(), tensor);
    }
    if !all.is_empty() && all.keys().all(|name| name.starts_with("module.")) {
        let mut stripped = BTreeMap::new();
        stripped.extend(all.into_iter().map(|(name, t)| (name.strip_prefix("module.").unwrap_or(&name).to_owned(), t)));
        all = stripped;
    }
    Ok(all)
}

fn dict<'m>(machine: &'m Machine<'_>, value: &Value) -> Option<&'m [(Value, Value)]> {
    match value {
        Value::Dict(i) => machine.dicts.get(*i).map(Vec::as_slice),
        _ => None,
    }
}

fn get(machine: &Machine<'_>, value: &Value, key: &str) -> Option<Value> {
    let is = |k: &Value| matches!(k, Value::Text(text) if &**text == key);
    // As in Python, the last one set counts.
    dict(machine, value)?.iter().rev().find(|(k, _)| is(k)).map(|(_, value)| value.clone())
}

/// A view's elements in row-major order. `bytes` starts at its first element; `None` if a stride leaves them.
pub(super) fn gather(bytes: &[u8], info: &TensorInfo, strides: &[usize]) -> Option<Vec<u8>> {
    let size = info.dtype.size();
    let total = info.byte_len();
    // The parser has bounded this by the storage; do not trust it with an allocation all the same.
    let mut out = Vec::new();
    out.try_reserve_exact(total).ok()?;
    let (mut index, mut at) = (vec![0usize; info.shape.len()], 0usize);
    while out.len() < total {
        let start = at.checked_mul(size)?;
        out.extend_from_slice(bytes.get(start..start.checked_add(size)?)?);
        // Count like an odometer, the last dimension fastest.
        for ((i, d), s) in index.iter_mut().zip(&info.shape).zip(strides).rev() {
            *i += 1;
            at = at.checked_add(*s)?;
            if *i < *d {
                break;
            }
            at = at.checked_sub(s.checked_mul(*i)?)?;
            *i = 0;
        }
    }
    Some(out)
}
