//! The stack machine's opcodes: moving values about, and recording what a call would make.

use super::{Global, MAX_COPIED, MAX_DEPTH, MAX_RANK, Machine, Storage, Tensor, Value, global};

impl<'a> Machine<'a> {
    /// One opcode; true at the end.
    pub(super) fn step(&mut self) -> Result<bool, String> {
        match self.u8()? {
            b'.' => return Ok(true),
            // Protocol and frame only announce what follows.
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'(' => {
                if self.marks.len() >= MAX_DEPTH {
                    return Err(format!("its pickle nests more than {MAX_DEPTH} deep"));
                }
                self.marks.push(self.stack.len());
            }
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'J' => {
                let value = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(value.into()));
            }
            b'K' => {
                let value = self.u8()?;
                self.push(Value::Int(value.into()));
            }
            b'M' => {
                let value = u16::from_le_bytes(self.array()?);
                self.push(Value::Int(value.into()));
            }
            0x8a => self.long()?,
            b'G' => {
                self.take(8)?;
                self.push(Value::Opaque);
            }
            b'X' | b'T' => {
                let len = u32::from_le_bytes(self.array()?).into();
                self.text(len)?;
            }
            0x8c | b'U' => {
                let len = self.u8()?.into();
                self.text(len)?;
            }
            0x8d => {
                let len = u64::from_le_bytes(self.array()?);
                self.text(len)?;
            }
            b'B' => {
                let len = u32::from_le_bytes(self.array()?);
                self.take(len.into())?;
                self.push(Value::Opaque);
            }
            b'C' => {
                let len = self.u8()?;
                self.take(len.into())?;
                self.push(Value::Opaque);
            }
            b')' | b']' => self.push_sequence(Vec::new()),
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b't' | b'l' => {
                let items = self.pop_mark()?;
                self.push_sequence(items);
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.append(items)?;
            }
            b'}' => self.push_dict(Vec::new()),
            b'd' => {
                let items = pairs(self.pop_mark()?)?;
                self.push_dict(items);
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(vec![(key, value)])?;
            }
            b'u' => {
                let items = pairs(self.pop_mark()?)?;
                self.set(items)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Value::Global(global(module, name)?));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(name)) = (module, name) else {
                    return Err("its pickle gives a name that is not text".into());
                };
                self.push(Value::Global(global(&module, &name)?));
            }
            b'R' => self.reduce()?,
            b'b' => {
                // The state of an OrderedDict or parameter: `_metadata`, of no use here.
                self.pop()?;
                if !matches!(self.stack.last(), Some(Value::Dict(_) | Value::Tensor(_))) {
                    return Err("its pickle sets the state of an object that is not a dict".into());
                }
            }
            b'Q' => self.persistent()?,
            b'q' => {
                let index = self.u8()?.into();
                self.remember(index)?;
            }
            b'r' => {
                let index = u32::from_le_bytes(self.array()?);
                self.remember(index)?;
            }
            0x94 => {
                let index = self.memo.len() as u32;
                self.remember(index)?;
            }
            b'h' => {
                let index = self.u8()?.into();
                self.recall(index)?;
            }
            b'j' => {
                let index = u32::from_le_bytes(self.array()?);
                self.recall(index)?;
            }
            other => {
                let at = self.at.saturating_sub(1);
                return Err(format!("its pickle uses opcode {other:#04x} at byte {at}, which no state dict needs"));
            }
        }
        Ok(false)
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], String> {
        let end = usize::try_from(len).ok().and_then(|len| self.at.checked_add(len));
        let piece = end.and_then(|end| self.bytes.get(self.at..end)).ok_or_else(|| {
            format!("its pickle asks for {len} bytes at byte {} of {}: cut short or hostile", self.at, self.bytes.len())
        })?;
        self.at += piece.len();
        Ok(piece)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N as u64)?.try_into().map_err(|_| "its pickle is cut short".to_owned())
    }

    fn u8(&mut self) -> Result<u8, String> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        // Allowed names are short; do not look for the end of a line through the whole file.
        let window = &rest[..rest.len().min(256)];
        let len = window.iter().position(|b| *b == b'\n').ok_or("its pickle holds a name without end")?;
        self.at += len + 1;
        std::str::from_utf8(&window[..len]).map_err(|_| "its pickle holds a name that is not UTF-8".into())
    }

    fn push(&mut self, value: Value) {
        self.stack.push(value);
    }

    fn push_sequence(&mut self, items: Vec<Value>) {
        self.sequences.push(items);
        self.push(Value::Sequence(self.sequences.len() - 1));
    }

    fn push_dict(&mut self, items: Vec<(Value, Value)>) {
        self.dicts.push(items);
        self.push(Value::Dict(self.dicts.len() - 1));
    }

    pub(super) fn pop(&mut self) -> Result<Value, String> {
        // What lies below the last mark belongs to an unfinished container.
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("its pickle takes from an empty stack".into());
        }
        self.stack.pop().ok_or_else(|| "its pickle takes from an empty stack".into())
    }

    fn pop_mark(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.marks.pop().ok_or("its pickle pops a mark that it never pushed")?;
        if mark > self.stack.len() {
            return Err("its pickle's stack is out of order".into());
        }
        Ok(self.stack.split_off(mark))
    }

    fn tuple(&mut self, len: usize) -> Result<(), String> {
        let mut items = Vec::with_capacity(len);
        for _ in 0..len {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push_sequence(items);
        Ok(())
    }

    fn append(&mut self, items: Vec<Value>) -> Result<(), String> {
        let list = match self.stack.last() {
            Some(Value::Sequence(i)) => self.sequences.get_mut(*i),
            _ => None,
        };
        list.ok_or("its pickle appends to an object that is not a list")?.extend(items);
        Ok(())
    }

    fn set(&mut self, items: Vec<(Value, Value)>) -> Result<(), String> {
        let dict = match self.stack.last() {
            Some(Value::Dict(i)) => self.dicts.get_mut(*i),
            _ => None,
        };
        dict.ok_or("its pickle sets a key of an object that is not a dict")?.extend(items);
        Ok(())
    }

    fn remember(&mut self, index: u32) -> Result<(), String> {
        let value = self.stack.last().cloned().ok_or("its pickle stores from an empty stack")?;
        self.memo.insert(index, value);
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Result<(), String> {
        let value = self
            .memo
            .get(&index)
            .cloned()
            .ok_or_else(|| format!("its pickle reads memo entry {index}, which it never stored"))?;
        self.push(value);
        Ok(())
    }

    fn text(&mut self, len: u64) -> Result<(), String> {
        let text = std::str::from_utf8(self.take(len)?).map_err(|_| "its pickle holds text that is not UTF-8")?;
        self.push(Value::Text(text.into()));
        Ok(())
    }

    /// A signed integer of up to 255 bytes; those over 64 bits are of no use here.
    fn long(&mut self) -> Result<(), String> {
        let len = self.u8()?;
        let bytes = self.take(len.into())?;
        let mut wide = [if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 }; 8];
        let value = match wide.get_mut(..bytes.len()) {
            Some(low) => {
                low.copy_from_slice(bytes);
                Value::Int(i64::from_le_bytes(wide))
            }
            None => Value::Opaque,
        };
        self.push(value);
        Ok(())
    }

    fn sequence(&self, value: Option<&Value>) -> Option<&[Value]> {
        match value {
            Some(Value::Sequence(i)) => self.sequences.get(*i).map(Vec::as_slice),
            _ => None,
        }
    }

    /// A call of an allowed name: a record of what it would make.
    fn reduce(&mut self) -> Result<(), String> {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let arguments = self.sequence(Some(&arguments)).ok_or("its pickle calls something without a tuple")?;
        let made = match callee {
            Value::Global(Global::OrderedDict) => {
                let items = match arguments {
                    [] => Vec::new(),
                    [list] => {
                        let list = self
                            .sequence(Some(list))
                            .ok_or("its pickle makes an OrderedDict of an object that is not a list")?;
                        // The list stays, and may be recalled for another call.
                        let copied = self.copied.saturating_add(list.len());
                        if copied > MAX_COPIED {
                            return Err(format!("its pickle copies more than {MAX_COPIED} items; no state dict does"));
                        }
                        let items = self
                            .key_value_list(list)
                            .ok_or("its pickle makes an OrderedDict of items that are not pairs")?;
                        self.copied = copied;
                        items
                    }
                    _ => return Err("its pickle makes an OrderedDict of several arguments".into()),
                };
                self.push_dict(items);
                return Ok(());
            }
            Value::Global(Global::Size) => match arguments {
                [sizes @ Value::Sequence(_)] => sizes.clone(),
                _ => return Err("its pickle makes a torch.Size without a tuple".into()),
            },
            Value::Global(Global::RebuildParameter) => match arguments.first() {
                Some(tensor @ Value::Tensor(_)) => tensor.clone(),
                _ => return Err("its pickle makes a parameter without a tensor".into()),
            },
            Value::Global(Global::RebuildTensor) => {
                let tensor = self.tensor(arguments).ok_or("its pickle describes a tensor with invalid numbers")?;
                self.tensors.push(tensor);
                Value::Tensor(self.tensors.len() - 1)
            }
            _ => return Err("its pickle calls an object that cannot be called".into()),
        };
        self.push(made);
        Ok(())
    }

    fn key_value_list(&self, list: &[Value]) -> Option<Vec<(Value, Value)>> {
        let pair = |item: &Value| match self.sequence(Some(item))? {
            [key, value] => Some((key.clone(), value.clone())),
            _ => None,
        };
        list.iter().map(pair).collect()
    }

    /// `(storage, offset, size, stride, ...)`; the rest (gradients, hooks) is ignored.
    fn tensor(&self, arguments: &[Value]) -> Option<Tensor> {
        let [Value::Storage(storage), offset, shape, strides, ..] = arguments else { return None };
        let (shape, strides) = (self.sequence(Some(shape))?, self.sequence(Some(strides))?);
        (shape.len() == strides.len() && shape.len() <= MAX_RANK).then_some(())?;
        let numbers = |values: &[Value]| values.iter().map(natural).collect::<Option<Vec<_>>>();
        let (shape, strides) = (numbers(shape)?, numbers(strides)?);
        Some(Tensor { storage: *storage, offset: natural(offset)?, shape, strides })
    }

    /// `("storage", type, key, device, count[, view])`: the only persistent id there is.
    fn persistent(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let storage = self.storage(&id).ok_or("its pickle refers to an outside object that is not a storage")?;
        self.storages.push(storage);
        self.push(Value::Storage(self.storages.len() - 1));
        Ok(())
    }

    fn storage(&self, id: &Value) -> Option<Storage> {
        let [Value::Text(word), Value::Global(Global::Storage(element)), Value::Text(key), _, count, rest @ ..] =
            self.sequence(Some(id))?
        else {
            return None;
        };
        (&**word == "storage").then_some(())?;
        let view = match rest {
            [] | [Value::None] => None,
            [view] => match self.sequence(Some(view))? {
                [_, first, count] => Some((natural(first)?, natural(count)?)),
                _ => return None,
            },
            _ => return None,
        };
        Some(Storage { element: *element, key: key.clone(), count: natural(count)?, view })
    }
}

/// A non-negative integer.
fn natural(value: &Value) -> Option<u64> {
    match value {
        Value::Int(i) => u64::try_from(*i).ok(),
        _ => None,
    }
}

fn pairs(items: Vec<Value>) -> Result<Vec<(Value, Value)>, String> {
    if !items.len().is_multiple_of(2) {
        return Err("its pickle sets a key without a value".into());
    }
    let mut items = items.into_iter();
    Ok(std::iter::from_fn(|| items.next().zip(items.next())).collect())
}
