//! A reader for the pickles inside PyTorch's files. Pickle is a program for a stack machine that may call anything;
//! here opcodes and names come from an allow-list and nothing is ever executed: a call yields a plain record.
//!
//! Values live in flat arenas and refer to each other by index, so that neither deep nesting nor cycles cost stack,
//! and copies through the memo cost nothing. The one call that copies a container is charged for its items; so the
//! number of operations and that of copied items bound all memory.

mod machine;

use std::collections::HashMap;
use std::rc::Rc;

use super::header::DType;

/// Operations in one pickle; the largest public state dict takes 30 thousand.
const MAX_OPERATIONS: usize = 1 << 20;
/// Items that calls may copy from one container into another, over the whole pickle.
const MAX_COPIED: usize = MAX_OPERATIONS;
/// Dimensions of a tensor.
const MAX_RANK: usize = 16;
/// Bytes of one pickle.
const MAX_BYTES: usize = 64 << 20;
/// Open marks: how deeply tuples and dicts may nest while being built.
const MAX_DEPTH: usize = 256;

/// A pickled value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// A float, a long integer, bytes: read and not used.
    Opaque,
    Text(Rc<str>),
    /// An index into [`Machine::sequences`]; tuples and lists alike.
    Sequence(usize),
    /// An index into [`Machine::dicts`].
    Dict(usize),
    Global(Global),
    /// An index into [`Machine::storages`].
    Storage(usize),
    /// An index into [`Machine::tensors`].
    Tensor(usize),
}

/// The names that a state dict may refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    Size,
    RebuildTensor,
    RebuildParameter,
    Storage(Element),
}

/// What a storage holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    /// A type that weights may have.
    Float(DType),
    /// Another type: its name and size.
    Other(&'static str, usize),
}

impl Element {
    pub(super) fn size(self) -> usize {
        match self {
            Self::Float(dtype) => dtype.size(),
            Self::Other(_, size) => size,
        }
    }
}

/// A reference to a storage: bytes kept elsewhere in the file under a key.
#[derive(Debug, Clone)]
pub(super) struct Storage {
    pub element: Element,
    pub key: Rc<str>,
    pub count: u64,
    /// Of the legacy format: first element and count of the part of the storage that this is.
    pub view: Option<(u64, u64)>,
}

/// A tensor as `_rebuild_tensor_v2` describes it, in elements.
#[derive(Debug, Clone)]
pub(super) struct Tensor {
    pub storage: usize,
    pub offset: u64,
    pub shape: Vec<u64>,
    pub strides: Vec<u64>,
}

/// The allow-list.
fn global(module: &str, name: &str) -> Result<Global, String> {
    use DType::{BF16, F16, F32};
    Ok(match (module, name) {
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("torch", "Size") => Global::Size,
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Global::RebuildParameter,
        ("torch", storage) => Global::Storage(match storage {
            "FloatStorage" => Element::Float(F32),
            "HalfStorage" => Element::Float(F16),
            "BFloat16Storage" => Element::Float(BF16),
            "DoubleStorage" => Element::Other("float64", 8),
            "LongStorage" => Element::Other("int64", 8),
            "IntStorage" => Element::Other("int32", 4),
            "ShortStorage" => Element::Other("int16", 2),
            "CharStorage" => Element::Other("int8", 1),
            "ByteStorage" => Element::Other("uint8", 1),
            "BoolStorage" => Element::Other("bool", 1),
            _ => return Err(refused(module, name)),
        }),
        _ => return Err(refused(module, name)),
    })
}

fn refused(module: &str, name: &str) -> String {
    format!(
        "its pickle refers to {:?}, and only the parts of a plain state dict are read (nothing in a file is ever \
         executed); save model.state_dict() alone",
        format!("{module}.{name}")
    )
}

/// The stack machine, and what it made.
pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    /// Items copied so far.
    copied: usize,
    pub sequences: Vec<Vec<Value>>,
    pub dicts: Vec<Vec<(Value, Value)>>,
    pub storages: Vec<Storage>,
    pub tensors: Vec<Tensor>,
}

/// Runs one pickle from the start of `bytes`: its value, the machine that holds its parts, and the pickle's length.
pub(super) fn read(bytes: &[u8]) -> Result<(Value, Machine<'_>, usize), String> {
    let bytes = &bytes[..bytes.len().min(MAX_BYTES)];
    let mut machine = Machine {
        bytes,
        at: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        copied: 0,
        sequences: Vec::new(),
        dicts: Vec::new(),
        storages: Vec::new(),
        tensors: Vec::new(),
    };
    for _ in 0..MAX_OPERATIONS {
        if machine.step()? {
            let value = machine.pop()?;
            let used = machine.at;
            return Ok((value, machine, used));
        }
    }
    Err(format!("its pickle takes more than {MAX_OPERATIONS} operations; no state dict does"))
}
