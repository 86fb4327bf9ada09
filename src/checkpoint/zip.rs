//! The part of the zip format that PyTorch writes: stored entries, found through the central directory.
//!
//! Compressed entries are refused (PyTorch writes none, and without them there are no zip bombs), and so are entries that
//! leave the file. An entry is a range of the file; of the file itself, only the directory and each entry's head are read.

use std::collections::BTreeMap;
use std::ops::Range;

use super::parts::ReadAt;

/// Entries of one file, at most: more than any model has tensors.
const MAX_ENTRIES: u64 = 200_000;
/// A directory of so many entries is not larger.
const MAX_DIRECTORY: u64 = 64 << 20;
/// The end record's fixed part, the longest comment that may follow it, and the locator that may precede it.
const END: usize = 22;
const MAX_COMMENT: usize = 65_535;
const LOCATOR: usize = 20;
/// The attribute of a directory, for which other readers deliver no data.
const DIRECTORY: u64 = 1 << 4;
/// Flags of an entry that is encrypted, a patch, encrypted in another way, or whose local header is masked.
const ENCRYPTED: u16 = 1 | 1 << 5 | 1 << 6 | 1 << 13;

/// Every entry's name and the range of its bytes.
pub(super) fn entries(file: &dyn ReadAt) -> Result<BTreeMap<String, Range<u64>>, String> {
    let (count, size, offset) = directory(file)?;
    if count > MAX_ENTRIES || size > MAX_DIRECTORY {
        return Err(format!(
            "its zip directory claims {count} entries in {size} bytes; at most {MAX_ENTRIES} in {MAX_DIRECTORY} are accepted"
        ));
    }
    let end = offset.checked_add(size);
    let directory = end.and_then(|end| file.read(offset..end)).ok_or("its zip directory lies outside the file")?;
    let mut found = BTreeMap::new();
    let mut at = 0usize;
    for _ in 0..count {
        let (name, range, len) = entry(file, directory.get(at..).unwrap_or_default())?;
        if range.end > offset {
            return Err(format!("zip entry {name:?} reaches into the directory"));
        }
        at = at.saturating_add(len);
        if found.insert(name.to_owned(), range).is_some() {
            return Err(format!("it holds zip entry {name:?} twice"));
        }
    }
    Ok(found)
}

/// Entries, size and offset of the central directory.
fn directory(file: &dyn ReadAt) -> Result<(u64, u64, u64), String> {
    let cut = || "its zip directory is cut short".to_owned();
    let lowest = file.length().saturating_sub((LOCATOR + END + MAX_COMMENT) as u64);
    let tail = file.read(lowest..file.length()).ok_or_else(cut)?;
    let is_end = |at: &usize| {
        tail[*at..].starts_with(b"PK\x05\x06")
            && u16_at(&tail, at + 20).is_some_and(|comment| at + END + usize::from(comment) == tail.len())
    };
    let last = tail.len().checked_sub(END).ok_or("it is too short for a zip file")?;
    let at = (0..=last).rev().find(is_end).ok_or("it is cut short: the zip directory at its end is missing")?;
    let small = |at| u32_at(&tail, at).map(u64::from).ok_or_else(cut);
    let end = (u16_at(&tail, at + 10).map(u64::from).ok_or_else(cut)?, small(at + 12)?, small(at + 16)?);
    // Files over 4 GiB (and PyTorch always) put the numbers into a larger record, which a locator precedes.
    let Some(locator) = at.checked_sub(LOCATOR).filter(|l| tail[*l..].starts_with(b"PK\x06\x07")) else {
        return Ok(end);
    };
    let at = u64_at(&tail, locator + 8).ok_or_else(cut)?;
    let record = at.checked_add(56).and_then(|end| file.read(at..end)).filter(|b| b.starts_with(b"PK\x06\x06"));
    let record = record.ok_or("its zip64 directory is not where it should be")?;
    let large = |offset: usize| u64_at(&record, offset).ok_or_else(cut);
    Ok((large(32)?, large(40)?, large(48)?))
}

/// One record of the directory: the entry's name, its bytes, and the record's length.
fn entry<'a>(file: &dyn ReadAt, record: &'a [u8]) -> Result<(&'a str, Range<u64>, usize), String> {
    let cut = || "its zip directory is cut short".to_owned();
    if !record.starts_with(b"PK\x01\x02") {
        return Err("its zip directory holds fewer entries than it claims".into());
    }
    let short = |at| u16_at(record, at).ok_or_else(cut);
    let long = |at| u32_at(record, at).map(u64::from).ok_or_else(cut);
    let (flags, method) = (short(8)?, short(10)?);
    let (mut packed, mut size, mut offset) = (long(20)?, long(24)?, long(42)?);
    let (name_len, extra_len, comment_len) =
        (usize::from(short(28)?), usize::from(short(30)?), usize::from(short(32)?));
    let name = record.get(46..46 + name_len).ok_or_else(cut)?;
    let name = std::str::from_utf8(name).map_err(|_| "a zip entry's name is not UTF-8")?;
    let mut extra = record.get(46 + name_len..46 + name_len + extra_len).ok_or_else(cut)?;
    while let (Some(id), Some(len)) = (u16_at(extra, 0), u16_at(extra, 2)) {
        let body = extra.get(4..4 + usize::from(len)).ok_or_else(cut)?;
        if id == 1 {
            // The 64-bit values of exactly those fields that are saturated, in this order.
            let mut wide = body.chunks_exact(8).filter_map(|c| u64_at(c, 0));
            for field in [&mut size, &mut packed, &mut offset] {
                if *field == u64::from(u32::MAX) {
                    *field = wide.next().ok_or_else(cut)?;
                }
            }
        }
        extra = &extra[4 + usize::from(len)..];
    }
    if long(38)? & DIRECTORY != 0 {
        return Err(format!("zip entry {name:?} is marked as a directory, which holds no data"));
    }
    if flags & ENCRYPTED != 0 {
        return Err(format!("zip entry {name:?} is encrypted"));
    }
    if method != 0 || packed != size {
        return Err(format!(
            "zip entry {name:?} is compressed, which PyTorch's files never are; save the file with torch.save"
        ));
    }
    let outside = || format!("zip entry {name:?} lies outside the file: it is cut short, or its directory is wrong");
    let header = offset.checked_add(30).and_then(|end| file.read(offset..end)).ok_or_else(outside)?;
    if !header.starts_with(b"PK\x03\x04") {
        return Err(format!("zip entry {name:?} does not start where the directory says"));
    }
    // The local header's name and extra field (PyTorch's padding) may differ in length from the directory's.
    let skip = u16_at(&header, 26).zip(u16_at(&header, 28)).map(|(n, x)| 30 + u64::from(n) + u64::from(x));
    let start = skip.and_then(|s| offset.checked_add(s)).ok_or_else(outside)?;
    let end = start.checked_add(size).filter(|end| *end <= file.length()).ok_or_else(outside)?;
    Ok((name, start..end, 46 + name_len + extra_len + comment_len))
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_le_bytes)
}
