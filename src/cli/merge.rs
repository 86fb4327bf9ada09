//! `merge`: the parts of a run, made by several processes or machines, as the one file that a single run would have made.
//!
//! A part says what made it and which of the run's images it holds, an .npz file in its archive's comment and a PNG in its
//! own parameters. What does not fit together is named before anything is written; pixels are copied part by part, so that
//! memory holds no more than one picture.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use zip::ZipArchive;

use super::begun;
use super::console::{print, print_json};
use super::differences::differences;
use super::input::{self, refuse};
use super::npy::{Dtype, Header};
use super::other_args::MergeArgs;
use super::output::{Format, write_npz};
use crate::checkpoint::writer::{AtomicFile, remove_orphans};
use crate::png;
use crate::recipe::KEYWORD;
use crate::{Error, Result};

/// Ranges of missing images, and unfinished parts, that an error lists.
const MOST_LISTED: usize = 8;

/// Some of a run's images, one after the other.
struct Part {
    path: PathBuf,
    /// An .npz file, else a PNG.
    is_archive: bool,
    /// What made them, without which of them these are.
    run: Value,
    indices: Range<u32>,
    /// Height, width, values per pixel.
    shape: [usize; 3],
    /// Their classes, or none.
    labels: Vec<u32>,
}

/// Merges parts into one file.
///
/// # Errors
/// [`Error::Options`] for parts of different runs, images that are missing or there twice, files that do not say what made
/// them, and an output that is one of the parts; [`Error::Io`], also for damaged archives.
pub fn run(args: &MergeArgs) -> Result<()> {
    if Format::of(&args.out)? != Format::Npz {
        return Err(Error::Options(format!("{}: parts are merged into an .npz file", args.out.display())));
    }
    distinct(args)?;
    let mut parts = Vec::new();
    for path in &args.parts {
        if path.is_dir() { parts.extend(pictures(path)?) } else { parts.push(archive(path)?) }
    }
    parts.sort_by_key(|part| (part.indices.start, part.indices.end));
    let Some(first) = parts.first() else { return Err(Error::Options("give the parts to merge".into())) };
    for part in &parts {
        fits(first, part)?;
    }
    let (begin, count) = whole(&parts, args.count)?;
    complete(&parts, begin..begin.saturating_add(count))?;

    let mut run = first.run.clone();
    (run["first"], run["count"]) = (json!(begin), json!(count));
    (run["start"], run["end"]) = (json!(begin), json!(begin + count));
    let labels = parts.iter().flat_map(|part| part.labels.iter().copied());
    let [height, width, channels] = first.shape;
    remove_orphans(args.out.parent().unwrap_or(Path::new("")), args.out.file_name());
    let mut file = AtomicFile::create(&args.out)?;
    // What was wrong with a part, where it was not the output.
    let mut broken = None;
    let written = write_npz(&mut file, [count as usize, height, width, channels], labels, &run, |to| {
        parts.iter().try_for_each(|part| {
            copy(part, to).map_err(|reason| {
                let kind = std::io::Error::other("a part");
                broken = Some(reason);
                kind
            })
        })
    });
    if let Some(error) = broken {
        return Err(error);
    }
    written.map_err(|e| Error::io(&args.out, e))?;
    file.commit()?;
    let out = args.out.display().to_string();
    if args.json {
        return print_json(&json!({"output": out, "images": count, "parts": args.parts.len()}));
    }
    let counted = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    print(&format!("{out}: {} of {}\n", counted(count as usize, "image"), counted(args.parts.len(), "part")))
}

/// Refuses a part that is given twice, and an output that would replace one of its parts.
fn distinct(args: &MergeArgs) -> Result<()> {
    // What is not there is named where it is read.
    let real = |path: &Path| path.canonicalize().ok();
    let out = real(&args.out);
    let mut seen = BTreeSet::new();
    for path in &args.parts {
        let Some(place) = real(path) else { continue };
        if Some(&place) == out.as_ref() {
            let why = "--out is one of the parts, which it would replace; give another --out";
            return Err(refuse(&args.out, why));
        }
        if !seen.insert(place) {
            return Err(refuse(path, "this part is given twice; give each part once"));
        }
    }
    Ok(())
}

/// An .npz file that `sample` or `upsample` wrote.
fn archive(path: &Path) -> Result<Part> {
    let mut archive = open(path)?;
    let run: Value = serde_json::from_slice(archive.comment()).map_err(|_| {
        refuse(path, "it does not say what made it: `sample` of an earlier version, or another program")
    })?;
    let index = |name: &str| run[name].as_u64().and_then(|n| u32::try_from(n).ok());
    let (Some(start), Some(end), Some(_), Some(_)) = (index("start"), index("end"), index("first"), index("count"))
    else {
        return Err(refuse(path, "it does not say which images of its run it holds"));
    };
    let header = {
        let mut entry = archive.by_name("arr_0.npy").map_err(|e| refuse(path, format!("arr_0: {e}")))?;
        Header::read(&mut entry).map_err(|e| refuse(path, format!("arr_0: {e}")))?
    };
    let count = end.saturating_sub(start) as usize;
    let [images, height, width, channels] = header.shape[..] else {
        return Err(refuse(path, format!("arr_0 of shape {:?}; images have four dimensions", header.shape)));
    };
    if images != count || header.dtype != Dtype::U8 || header.fortran_order || header.elements().is_none() {
        let found = format!("{} {:?}", header.dtype.name(), header.shape);
        return Err(refuse(path, format!("arr_0 is {found}; images {start} to {end} take |u1 [{count}, H, W, C]")));
    }
    let labels = match archive.by_name("arr_1.npy") {
        Ok(mut entry) => input::labels(&mut entry, count).map_err(|e| refuse(path, format!("arr_1: {e}")))?,
        Err(zip::result::ZipError::FileNotFound) => Vec::new(),
        Err(e) => return Err(refuse(path, format!("arr_1: {e}"))),
    };
    let shape = [height, width, channels];
    Ok(Part {
        path: path.into(),
        is_archive: true,
        run: without(run, &["start", "end"]),
        indices: start..end,
        shape,
        labels,
    })
}

/// A folder's PNGs, each a part of one image.
fn pictures(folder: &Path) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for path in input::pictures_of(folder)? {
        let (pixels, texts) = picture(&path)?;
        let text = texts.iter().find(|(keyword, _)| keyword == KEYWORD).map(|(_, text)| text);
        let recipe: Option<Value> = text.and_then(|text| serde_json::from_str(text).ok());
        let index = recipe.as_ref().and_then(|recipe| u32::try_from(recipe["index"].as_u64()?).ok());
        let (Some(recipe), Some(index)) = (recipe, index) else {
            return Err(refuse(&path, "it does not say what made it; only PNGs that `sample` and `upsample` wrote do"));
        };
        let label = recipe["label"].as_u64().and_then(|label| u32::try_from(label).ok());
        let run = json!({"recipe": without(recipe, &["index", "label", "class"])});
        let shape = [pixels.height, pixels.width, pixels.channels];
        let indices = index..index.saturating_add(1);
        parts.push(Part { path, is_archive: false, run, indices, shape, labels: label.into_iter().collect() });
    }
    Ok(parts)
}

fn without(mut value: Value, names: &[&str]) -> Value {
    if let Value::Object(object) = &mut value {
        names.iter().for_each(|name| drop(object.remove(*name)));
    }
    value
}

/// Refuses a part of another run than `first`'s.
fn fits(first: &Part, part: &Part) -> Result<()> {
    let differ = |what: String| {
        let (a, b) = (first.path.display(), part.path.display());
        Err(Error::Options(format!("{a} and {b} are not parts of one run: {what}")))
    };
    if first.run != part.run {
        return differ(differences(&first.run, &part.run));
    }
    if first.shape != part.shape {
        return differ(format!("height, width, channels {:?}, here {:?}", first.shape, part.shape));
    }
    if first.labels.is_empty() != part.labels.is_empty() {
        return differ("one says its images' classes, the other does not".into());
    }
    Ok(())
}

/// The first index and the number of images of the whole run: what the parts say, else from their first to their last.
fn whole(parts: &[Part], wanted: Option<u32>) -> Result<(u32, u32)> {
    let [Some(first), Some(last)] = [parts.first(), parts.iter().max_by_key(|part| part.indices.end)] else {
        return Ok((0, 0));
    };
    let said = |name: &str| first.run[name].as_u64().and_then(|n| u32::try_from(n).ok());
    let begin = said("first").unwrap_or(first.indices.start);
    let found = said("count").unwrap_or(last.indices.end.saturating_sub(begin));
    match wanted {
        Some(wanted) if said("count").is_some_and(|said| said != wanted) => {
            Err(Error::Options(format!("--count {wanted}, but these are parts of a run of {found} images")))
        }
        wanted => Ok((begin, wanted.unwrap_or(found))),
    }
}

/// Refuses parts that are not together all images of `whole`, each once.
fn complete(parts: &[Part], whole: Range<u32>) -> Result<()> {
    let (mut at, mut missing) = (whole.start, Vec::new());
    let mut before: Option<&Part> = None;
    for part in parts {
        if part.indices.start < at {
            let with = before.map_or(String::new(), |before| format!(" of {}", before.path.display()));
            let place = part.path.display();
            let double = format!("image {} of {place} is there already{with}", part.indices.start);
            return Err(Error::Options(format!("{double}; give each part once")));
        }
        if part.indices.start > at {
            missing.push(at..part.indices.start);
        }
        at = part.indices.end;
        before = Some(part);
    }
    if at > whole.end {
        return Err(Error::Options(format!(
            "there are images up to {}, and the run ends at {}",
            at - 1,
            whole.end - 1
        )));
    }
    if at < whole.end {
        missing.push(at..whole.end);
    }
    if missing.is_empty() {
        return Ok(());
    }
    let count: u32 = missing.iter().map(|range| range.end - range.start).sum();
    let range = |range: &Range<u32>| match range.end - range.start {
        1 => range.start.to_string(),
        _ => format!("{} to {}", range.start, range.end - 1),
    };
    let mut list: Vec<String> = missing.iter().take(MOST_LISTED).map(range).collect();
    if missing.len() > MOST_LISTED {
        list.push("…".into());
    }
    let all = whole.end - whole.start;
    Err(Error::Options(format!(
        "{count} of {all} images are missing: {}; make their parts and merge again{}",
        list.join(", "),
        unfinished(parts, &missing)
    )))
}

/// What an error says of parts of the same run that lie unfinished beside those that are there.
fn unfinished(parts: &[Part], missing: &[Range<u32>]) -> String {
    let Some(first) = parts.first() else { return String::new() };
    let is_missing = |run: Value| {
        let [Some(start), Some(end)] = ["start", "end"].map(|name| run[name].as_u64()) else { return false };
        missing.iter().any(|range| u64::from(range.start) < end && start < u64::from(range.end))
            && without(run, &["start", "end"]) == first.run
    };
    let folders: BTreeSet<&Path> =
        parts.iter().filter(|part| part.is_archive).filter_map(|part| part.path.parent()).collect();
    let mut found = BTreeMap::new();
    for folder in folders {
        let entries = std::fs::read_dir(if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
        for entry in entries.into_iter().flatten().flatten() {
            let place = folder.join(entry.file_name());
            if place.to_string_lossy().ends_with(".npz.partial")
                && let Some(head) = begun::look(&place)
            {
                let by = head.by();
                if is_missing(head.run) {
                    found.insert(place.display().to_string(), by);
                }
            }
        }
    }
    let list: Vec<&str> = found.keys().take(MOST_LISTED).map(String::as_str).collect();
    match (found.first_key_value(), found.len()) {
        (None, _) => String::new(),
        (Some((place, by)), 1) => {
            format!(" ({place} is there, begun{by}: that part is unfinished; run its command again)")
        }
        (_, all) => format!(
            " ({}{} are there: those parts are unfinished; run their commands again)",
            list.join(", "),
            if all > list.len() { ", …" } else { "" }
        ),
    }
}

/// Copies a part's pixels.
fn copy(part: &Part, to: &mut dyn Write) -> Result<()> {
    let path = &part.path;
    if !part.is_archive {
        let (pixels, _) = picture(path)?;
        return to.write_all(&pixels.bytes).map_err(|e| Error::io(path, e));
    }
    let mut archive = open(path)?;
    let mut entry = archive.by_name("arr_0.npy").map_err(|e| refuse(path, format!("arr_0: {e}")))?;
    Header::read(&mut entry).map_err(|e| refuse(path, format!("arr_0: {e}")))?;
    let wanted = part.shape.iter().product::<usize>() as u64 * part.indices.len() as u64;
    let copied = std::io::copy(&mut entry.take(wanted), to).map_err(|e| Error::io(path, e))?;
    if copied < wanted {
        return Err(refuse(path, format!("arr_0 has {copied} bytes of pixels where {wanted} belong")));
    }
    Ok(())
}

fn open(path: &Path) -> Result<ZipArchive<impl Read + Seek>> {
    let journal = begun::place(path, false, &(0..0));
    input::open_archive(path).map_err(|error| match error {
        Error::Io { source, .. } if source.kind() == ErrorKind::NotFound && journal.exists() => {
            let by = begun::look(&journal).map_or(String::new(), |head| head.by());
            let why =
                format!("{} is there, begun{by}: this part is unfinished; run its command again", journal.display());
            Error::io(path, std::io::Error::new(ErrorKind::NotFound, why))
        }
        error => error,
    })
}

fn picture(path: &Path) -> Result<(crate::image::Pixels, Vec<(String, String)>)> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    png::read(BufReader::new(file)).map_err(|e| refuse(path, e))
}
