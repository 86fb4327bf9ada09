//! NumPy's .npy header, read and written: enough for the arrays that sampling takes and gives.
//!
//! Written here, because the crates for it bring a Python-literal grammar, big integers and several compressors for
//! one line of text. A header comes from a user's file, so its length is bounded and every number is checked.

use std::io::Read;

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// NumPy itself writes 64 to 128 bytes; structured types, which we refuse, are longer.
const MAX_HEADER: usize = 16 * 1024;
const MAX_DIMENSIONS: usize = 32;

/// An array's element type, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// 8-bit unsigned.
    U8,
    /// 64-bit signed.
    I64,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
}

impl Dtype {
    const NAMES: [(&'static str, Self); 4] =
        [("|u1", Self::U8), ("<i8", Self::I64), ("<f4", Self::F32), ("<f8", Self::F64)];

    /// NumPy's name of the type.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, dtype)| *dtype == self).map_or("", |(name, _)| name)
    }

    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
        }
    }
}

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The element type.
    pub dtype: Dtype,
    /// The first index runs fastest.
    pub fortran_order: bool,
    /// The array's shape.
    pub shape: Vec<usize>,
}

impl Header {
    /// A row-major array's header.
    pub fn new(dtype: Dtype, shape: &[usize]) -> Self {
        Self { dtype, fortran_order: false, shape: shape.to_vec() }
    }

    /// The number of elements, or None where it overflows.
    pub fn elements(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|n| n.checked_mul(8).is_some())
    }

    /// Reads the magic, the version and the header, leaving the reader at the first element.
    pub fn read(from: &mut impl Read) -> Result<Self, String> {
        let mut start = [0; 8];
        from.read_exact(&mut start).map_err(|_| "shorter than a .npy header".to_string())?;
        if &start[..6] != MAGIC {
            return Err("not a .npy file".into());
        }
        let mut length = [0; 4];
        let bytes = match start[6] {
            1 => 2,
            2 | 3 => 4,
            version => return Err(format!(".npy version {version}; 1 to 3 are known")),
        };
        from.read_exact(&mut length[..bytes]).map_err(|_| "the header is cut off".to_string())?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_HEADER {
            return Err(format!("a header of {length} bytes; {MAX_HEADER} is the most"));
        }
        let mut text = vec![0; length];
        from.read_exact(&mut text).map_err(|_| "the header is cut off".to_string())?;
        let text = std::str::from_utf8(&text).map_err(|_| "the header is not text".to_string())?;
        parse(text)
    }

    /// The bytes before the first element, padded as NumPy pads them and at least to `least` bytes, so that a header
    /// can be written again once the number of images is known.
    pub fn to_bytes(&self, least: usize) -> Vec<u8> {
        let order = if self.fortran_order { "True" } else { "False" };
        let sizes: String = self.shape.iter().map(|n| format!("{n}, ")).collect();
        // Python writes (3, 4) but (3,): a trailing comma is valid in both.
        let text = format!(
            "{{'descr': '{}', 'fortran_order': {order}, 'shape': ({}), }}",
            self.dtype.name(),
            sizes.trim_end()
        );
        let total = (10 + text.len() + 1).max(least).next_multiple_of(64);
        let mut out = MAGIC.to_vec();
        out.extend([1, 0]);
        // At most 32 numbers of 20 digits: far below 65536.
        out.extend(((total - 10) as u16).to_le_bytes());
        out.extend(text.bytes());
        out.resize(total - 1, b' ');
        out.push(b'\n');
        out
    }
}

/// Reads the dictionary, which has three known keys in any order.
fn parse(text: &str) -> Result<Header, String> {
    let mut rest = Scanner(text);
    let (mut dtype, mut order, mut shape) = (None, None, None);
    rest.expect('{')?;
    while !rest.take('}') {
        let key = rest.string()?;
        rest.expect(':')?;
        match key {
            "descr" => {
                let name = rest.string().map_err(|_| "arrays of structured types are not supported".to_string())?;
                let known = Dtype::NAMES.iter().find(|(known, _)| *known == name || known.replace('|', "<") == name);
                dtype = Some(known.map(|(_, dtype)| *dtype).ok_or_else(|| {
                    let shown: String = name.chars().take(20).collect();
                    let advice =
                        if name.starts_with('>') { "big-endian; save it with astype('<f4')" } else { "not handled" };
                    format!("elements of type {shown:?}: {advice}")
                })?);
            }
            "fortran_order" => order = Some(rest.boolean()?),
            "shape" => shape = Some(rest.tuple()?),
            _ => return Err("an unknown key in the header".into()),
        }
        if !rest.take(',') {
            rest.expect('}')?;
            break;
        }
    }
    match (dtype, order, shape) {
        _ if !rest.0.trim().is_empty() => Err("text after the header's dictionary".into()),
        (Some(dtype), Some(fortran_order), Some(shape)) => Ok(Header { dtype, fortran_order, shape }),
        _ => Err("the header lacks descr, fortran_order or shape".into()),
    }
}

struct Scanner<'a>(&'a str);

impl<'a> Scanner<'a> {
    fn take(&mut self, c: char) -> bool {
        let rest = self.0.trim_start();
        match rest.strip_prefix(c) {
            Some(after) => {
                self.0 = after;
                true
            }
            None => {
                self.0 = rest;
                false
            }
        }
    }

    fn expect(&mut self, c: char) -> Result<(), String> {
        if self.take(c) { Ok(()) } else { Err(format!("the header lacks a {c:?} where one belongs")) }
    }

    fn string(&mut self) -> Result<&'a str, String> {
        let quote = if self.take('\'') { '\'' } else { self.expect('"').map(|()| '"')? };
        let (text, after) = self.0.split_once(quote).ok_or("the header has an open string")?;
        self.0 = after;
        Ok(text)
    }

    fn boolean(&mut self) -> Result<bool, String> {
        let rest = self.0.trim_start();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(after) = rest.strip_prefix(word) {
                self.0 = after;
                return Ok(value);
            }
        }
        Err("fortran_order is neither True nor False".into())
    }

    fn tuple(&mut self) -> Result<Vec<usize>, String> {
        self.expect('(')?;
        let mut out = Vec::new();
        while !self.take(')') {
            let end = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
            let (digits, after) = self.0.split_at(end);
            out.push(digits.parse().map_err(|_| "the shape is not a tuple of numbers".to_string())?);
            // Python 2 wrote (3L, 4L).
            self.0 = after.strip_prefix('L').unwrap_or(after);
            if out.len() > MAX_DIMENSIONS {
                return Err("the shape has too many dimensions".into());
            }
            if !self.take(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version_1(text: &str) -> Result<Header, String> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.bytes());
        Header::read(&mut &bytes[..])
    }

    #[test]
    fn what_is_written_reads_back() {
        for shape in [&[][..], &[7], &[2, 3, 4, 5], &[usize::MAX; 4]] {
            for dtype in [Dtype::U8, Dtype::I64, Dtype::F32, Dtype::F64] {
                let header = Header::new(dtype, shape);
                let bytes = header.to_bytes(128);
                assert_eq!(bytes.len() % 64, 0);
                assert!(bytes.len() >= 128 && bytes.ends_with(b"\n"));
                assert_eq!(Header::read(&mut &bytes[..]).expect("our own header"), header);
            }
        }
    }

    #[test]
    fn what_numpy_writes() {
        let header =
            version_1("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 1, 32, 32), }     \n").expect("numpy's");
        assert_eq!(header, Header { dtype: Dtype::F32, fortran_order: true, shape: vec![2, 1, 32, 32] });
        assert!(version_1("{\"shape\":(3,),\"descr\":\"|u1\",\"fortran_order\":False}").is_ok());
        assert!(version_1("{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L)}").is_ok());
        let mut second = b"\x93NUMPY\x02\x00".to_vec();
        let text = "{'descr': '<i8', 'fortran_order': False, 'shape': (), }\n";
        second.extend((text.len() as u32).to_le_bytes());
        second.extend(text.bytes());
        assert_eq!(Header::read(&mut &second[..]).expect("version 2").shape, Vec::<usize>::new());
    }

    #[test]
    fn hostile_headers_are_errors() {
        for text in [
            "",
            "{",
            "{}",
            "[]",
            "{'descr': '<f4'}",
            "{'descr': '>f4', 'fortran_order': False, 'shape': (1,)}",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}",
            "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
            "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1 1)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} import os",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}",
            "{'descr': '<f4",
        ] {
            assert!(version_1(text).is_err(), "{text}");
        }
        let deep = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", "1,".repeat(100));
        assert!(version_1(&deep).is_err());
        for bytes in [
            &b""[..],
            b"\x93NUMPY",
            b"\x93NUMPX\x01\x00\x00\x00",
            b"\x93NUMPY\x04\x00\x00\x00\x00\x00",
            b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
        ] {
            assert!(Header::read(&mut &bytes[..]).is_err());
        }
        let vast = Header::new(Dtype::F32, &[usize::MAX, 2]);
        assert_eq!(vast.elements(), None);
    }
}
