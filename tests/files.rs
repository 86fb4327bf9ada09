//! What the command line program writes and reads: formats, and files that are not what they claim.
#![cfg(feature = "cli")]

mod common;

use std::path::{Path, PathBuf};

use common::folder::Folder;
use guided_diffusion::Error;
use guided_diffusion::cli::input;
use guided_diffusion::cli::npy::{Dtype, Header};
use guided_diffusion::cli::output::{Format, Layout, Output, Record};
use guided_diffusion::image::{Grid, Images, Pixels};
use guided_diffusion::png;
use guided_diffusion::resize::Fit;

fn images(count: usize, channels: usize) -> Images {
    let bytes: Vec<u8> = (0..count * 6 * channels).map(|i| (i * 37 % 256) as u8).collect();
    Images::from_u8(count, 2, 3, channels, &bytes).expect("the right length")
}

fn records(range: std::ops::Range<u64>) -> Vec<Record> {
    range
        .map(|index| Record {
            index,
            label: Some(index as u32 % 3),
            class: "T-shirt/top".into(),
            texts: vec![(guided_diffusion::recipe::KEYWORD.into(), format!("{{\"label\":{}}}", index % 3))],
        })
        .collect()
}

fn layout(count: usize, channels: usize) -> Layout {
    let grid = Grid { rows: 2, columns: count.div_ceil(2), by_column: true, gap: 1 };
    Layout {
        indices: 0..count as u32,
        height: 2,
        width: 3,
        channels,
        grid,
        texts: vec![("Software".into(), "test".into())],
        labels: (0..count as u32).map(|index| index % 3).collect(),
        run: serde_json::json!({"seed": 1}),
        low_bytes: 0,
    }
}

fn open(path: &Path, layout: Layout) -> guided_diffusion::Result<Output> {
    Output::open(path, layout, false, |index| records(index.into()..u64::from(index) + 1).remove(0))
}

/// Writes five images in batches of three and two.
fn write(path: &Path, channels: usize) -> Images {
    let mut all = images(3, channels);
    let mut output = open(path, layout(5, channels)).expect("writable");
    output.push(&all, &records(0..3)).expect("pushed");
    let rest = images(2, channels);
    output.push(&rest, &records(3..5)).expect("pushed");
    assert_eq!(output.finish().expect("finished").as_deref(), Some(path));
    all.append(&rest).expect("the same shape");
    all
}

fn rounded(images: &Images) -> Vec<u8> {
    images.to_u8()
}

#[test]
fn npz_reads_back_with_labels() {
    let folder = Folder::new("npz");
    for channels in [1, 3] {
        let written = write(&folder.join("a.npz"), channels);
        let read = input::images(&folder.join("a.npz")).expect("read");
        assert_eq!(read.labels.as_deref(), Some(&[0, 1, 2, 0, 1][..]));
        let again = Images::from_u8(5, 2, 3, channels, &rounded(&written)).expect("the shape");
        assert_eq!(read.images, again);
    }
    assert_eq!(folder.names(), ["a.npz"], "no temporary file is left");
}

#[test]
fn npy_keeps_the_floats() {
    let folder = Folder::new("npy");
    let written = write(&folder.join("a.npy"), 3);
    let read = input::noise(&folder.join("a.npy"), [5, 3, 2, 3]).expect("read");
    assert_eq!(read, written.to_nchw());
    assert_eq!(input::images(&folder.join("a.npy")).expect("read").images, written);
    assert_eq!(input::noise_count(&folder.join("a.npy")).expect("read"), 5);
}

#[test]
fn folders_and_grids_of_pngs() {
    let folder = Folder::new("png");
    let written = write(&folder.join("samples"), 1);
    let read = input::images(&folder.join("samples")).expect("read");
    assert_eq!(read.images.to_u8().len(), rounded(&written).len());
    assert_eq!(read.labels.as_deref(), Some(&[0, 1, 2, 0, 1][..]));
    assert!(folder.join("samples/000004-t-shirt-top.png").exists());

    write(&folder.join("grid.png"), 1);
    let bytes = std::fs::read(folder.join("grid.png")).expect("there");
    let (picture, texts) = png::read(std::io::Cursor::new(bytes)).expect("a PNG");
    assert_eq!((picture.height, picture.width), (2 * 3 - 1, 3 * 4 - 1));
    assert_eq!(texts, [("Software".to_string(), "test".to_string())]);
    // By column: image 1 is below image 0.
    assert_eq!(picture.bytes[3 * 11..][..3], rounded(&written)[6..9]);
    assert_eq!(folder.names(), ["grid.png", "samples"]);
}

#[test]
fn an_interrupted_run_goes_on_and_ends_with_the_same_bytes() {
    let folder = Folder::new("interrupted");
    let picture = "samples/000000-t-shirt-top.png";
    for (name, whole) in [("a.npz", "a.npz"), ("a.npy", "a.npy"), ("a.png", "a.png"), ("samples", picture)] {
        write(&folder.join(name), 1);
        let undisturbed = std::fs::read(folder.join(whole)).expect("there");
        let mut output = open(&folder.join(name), layout(5, 1)).expect("writable");
        output.push(&images(3, 1), &records(0..3)).expect("pushed");
        assert_eq!(output.finish().expect("not an error"), None, "{name}: two are missing");

        let mut output = open(&folder.join(name), layout(5, 1)).expect("the same run");
        assert_eq!((output.written(), output.is_complete()), (3, false));
        output.push(&images(2, 1), &records(3..5)).expect("pushed");
        // Killed before the file was put in its place.
        drop(output);
        let output = open(&folder.join(name), layout(5, 1)).expect("the same run");
        assert!(output.is_complete());
        output.finish().expect("finished").expect("complete");
        assert_eq!(std::fs::read(folder.join(whole)).expect("there"), undisturbed, "{name}");
    }
    assert_eq!(folder.names(), ["a.npy", "a.npz", "a.png", "samples"]);
    // A picture that was removed meanwhile, and those after it, are made again.
    let mut output = open(&folder.join("samples"), layout(5, 1)).expect("writable");
    output.push(&images(3, 1), &records(0..3)).expect("pushed");
    drop(output);
    std::fs::remove_file(folder.join("samples/000001-t-shirt-top.png")).expect("removed");
    assert_eq!(open(&folder.join("samples"), layout(5, 1)).expect("the same run").written(), 1);
    // Another run is refused until the first one is dropped.
    let other = Layout { run: serde_json::json!({"seed": 2}), ..layout(5, 1) };
    let text = open(&folder.join("samples"), other).expect_err("another run").to_string();
    assert!(text.contains("seed 1, here 2") && text.contains("--restart"), "{text}");
    // Parts of a run share the folder, if they have no image in common.
    let part = |indices| open(&folder.join("samples"), Layout { indices, ..layout(9, 1) });
    let text = part(0..6).expect_err("what did not end keeps its images").to_string();
    assert!(text.contains("images 0 to 4") && text.contains("--restart"), "{text}");
    std::fs::remove_dir_all(folder.join("samples/.partial-0-5")).expect("there");
    let first = part(0..6).expect("a first part");
    assert!(part(6..9).is_ok());
    let text = part(5..9).expect_err("image 5 is the other's").to_string();
    assert!(text.contains("images 0 to 5"), "{text}");
    drop(first);
}

#[test]
fn what_dead_processes_left_goes_and_nothing_else() {
    let folder = Folder::new("orphans");
    for name in ["a.npz", "c.npz", "c.npy", "c.png", "d"] {
        let output = open(&folder.join(name), layout(5, 1)).expect("writable");
        assert_eq!(output.finish().expect("not an error"), None);
    }
    assert!(folder.names().is_empty(), "no image was finished");
    let [dead, other, living] = [".a.npz.99999999.0.tmp", ".b.npz.99999999.0.tmp", ".a.npz.1.1.tmp"];
    for name in [dead, other, living, ".a.npz.tmp"] {
        std::fs::write(folder.join(name), "half").expect("written");
    }
    let held = std::fs::File::options().write(true).open(folder.join(living)).expect("there");
    held.lock().expect("as a living process does");
    write(&folder.join("a.npz"), 1);
    assert_eq!(folder.names(), [living, ".a.npz.tmp", other, "a.npz"]);
}

#[test]
fn outputs_that_cannot_be_written_are_refused_at_once() {
    let folder = Folder::new("unwritable");
    for name in ["missing/a.png", "missing/a.npz", "missing/a.npy", "missing/deep"] {
        assert!(matches!(open(&folder.join(name), layout(1, 1)), Err(Error::Io { .. })), "{name}");
    }
    std::fs::create_dir(folder.join("taken.npz")).expect("made");
    assert!(matches!(Format::of(&folder.join("taken.npz")), Ok(Format::Folder)));
    assert!(matches!(Format::of(Path::new("a.jpg")), Err(Error::Options(_))));
    for (name, channels) in [("a.png", 2), ("a", 4)] {
        assert!(matches!(open(&folder.join(name), layout(1, channels)), Err(Error::Options(_))));
    }
    let mut vast = layout(1 << 20, 3);
    vast.grid = Grid { rows: 1 << 10, columns: 1 << 10, by_column: false, gap: 0 };
    vast.height = 256;
    assert!(matches!(open(&folder.join("a.png"), vast), Err(Error::Options(_))));
    assert_eq!(folder.names(), ["taken.npz"]);
}

fn array(folder: &Folder, header: &Header, data: &[u8]) -> PathBuf {
    let path = folder.join("noise.npy");
    let mut bytes = header.to_bytes(0);
    bytes.extend(data);
    std::fs::write(&path, bytes).expect("written");
    path
}

#[test]
fn noise_in_either_order_and_width() {
    let folder = Folder::new("noise");
    let values: Vec<f32> = (0..24).map(|i| i as f32).collect();
    let f32s = |v: &[f32]| v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let shape = [2, 1, 3, 4];
    let row_major = Header::new(Dtype::F32, &shape);
    assert_eq!(input::noise(&array(&folder, &row_major, &f32s(&values)), shape).expect("read"), values);
    let doubles: Vec<u8> = values.iter().flat_map(|v| f64::from(*v).to_le_bytes()).collect();
    let path = array(&folder, &Header::new(Dtype::F64, &shape), &doubles);
    assert_eq!(input::noise(&path, shape).expect("read"), values);
    // The first index runs fastest: element (n, 0, h, w) lies at n + 2 h + 6 w.
    let mut fortran = vec![0.0; 24];
    for (i, v) in values.iter().enumerate() {
        let (n, h, w) = (i / 12, i / 4 % 3, i % 4);
        fortran[n + 2 * h + 6 * w] = *v;
    }
    let header = Header { fortran_order: true, ..row_major };
    assert_eq!(input::noise(&array(&folder, &header, &f32s(&fortran)), shape).expect("read"), values);
}

#[test]
fn hostile_noise_is_refused() {
    let folder = Folder::new("hostile");
    let shape = [1, 1, 2, 2];
    let header = Header::new(Dtype::F32, &shape);
    let good = [0u8; 16];
    let refused = |path: &Path| match input::noise(path, shape) {
        Err(Error::Options(message)) => message,
        other => panic!("{other:?}"),
    };
    assert!(refused(&array(&folder, &header, &good[..15])).contains("only 15"));
    assert!(refused(&array(&folder, &header, &[0; 17])).contains("more"));
    assert!(refused(&array(&folder, &Header::new(Dtype::F32, &[4]), &good)).contains("[1, 1, 2, 2]"));
    assert!(refused(&array(&folder, &Header::new(Dtype::I64, &shape), &[0; 32])).contains("float32"));
    let nan: Vec<u8> = [0.0, f32::NAN, 0.0, 0.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    assert!(refused(&array(&folder, &header, &nan)).contains("finite"));
    let vast = Header::new(Dtype::U8, &[1 << 20, 1 << 20, 1 << 20, 1 << 20]);
    assert!(input::images(&array(&folder, &vast, &good)).is_err());
    let large = Header::new(Dtype::U8, &[1 << 20, 16, 16, 3]);
    assert!(input::images(&array(&folder, &large, &good)).is_err());
    std::fs::write(folder.join("noise.npy"), b"not an array").expect("written");
    assert!(refused(&folder.join("noise.npy")).contains("not a .npy"));
    assert!(matches!(input::noise(&folder.join("none.npy"), shape), Err(Error::Io { .. })));
    assert!(input::noise(&folder.0, shape).is_err());
}

#[test]
fn hostile_archives_and_folders_are_refused() {
    let folder = Folder::new("archives");
    write(&folder.join("a.npz"), 1);
    let good = std::fs::read(folder.join("a.npz")).expect("there");
    let path = folder.join("b.npz");
    for at in 0..good.len() {
        let mut broken = good.clone();
        broken[at] ^= 0xa5;
        std::fs::write(&path, &broken).expect("written");
        let _ = input::images(&path); // An error or other images, but no panic.
        std::fs::write(&path, &good[..at]).expect("written");
        let Err(Error::Io { source, .. }) = input::images(&path) else { panic!("cut off at {at}") };
        assert!(source.to_string().contains("cut short or damaged"), "cut off at {at}: {source}");
    }
    std::fs::create_dir(folder.join("empty")).expect("made");
    assert!(input::images(&folder.join("empty")).is_err());
    assert!(input::images(&folder.join("a.jpg")).is_err());
    // Two sizes in one folder.
    let mixed = folder.join("mixed");
    write(&mixed, 1);
    let odd = Images::from_u8(1, 4, 4, 1, &[9; 16]).expect("the shape").pixels(0);
    guided_diffusion::cli::output::write_png(&mixed.join("z.png"), &odd, &[]).expect("written");
    assert!(matches!(input::images(&mixed), Err(Error::Options(_))));
}

#[test]
fn jpegs_are_read_and_brought_to_a_size() {
    let folder = Folder::new("jpeg");
    // 16x8 pixels of pure red, by Pillow at quality 90.
    let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/red.jpg")).expect("the fixture");
    let is_red = |pixel: &[f32]| pixel[0] > 0.98 && pixel[1] < -0.98 && pixel[2] < -0.98;
    // What a file is, its first bytes say.
    for name in ["a.jpg", "b.png"] {
        std::fs::write(folder.join(name), &bytes).expect("written");
        let read = input::images(&folder.join(name)).expect("read");
        let shape = [read.images.count(), read.images.height(), read.images.width(), read.images.channels()];
        assert_eq!((shape, read.labels), ([1, 8, 16, 3], None));
        assert!(read.images.data().chunks_exact(3).all(is_red));
    }
    // Padded, the four rows in the middle are red.
    for (fit, red) in [(Fit::Crop, 8 * 8), (Fit::Pad, 4 * 8)] {
        let read = input::images_in(&folder.join("a.jpg"), Some((8, fit))).expect("read").images;
        assert_eq!([read.height(), read.width()], [8, 8]);
        assert_eq!(read.data().chunks_exact(3).filter(|pixel| is_red(pixel)).count(), red);
    }
    // A header that describes more than the file can hold.
    let size = 5 + bytes.windows(2).position(|two| two == [0xff, 0xc0]).expect("a frame");
    let mut large = bytes.clone();
    large[size..size + 4].copy_from_slice(&[0x30, 0, 0x30, 0]);
    std::fs::write(folder.join("large.jpg"), &large).expect("written");
    let refused = input::images(&folder.join("large.jpg")).map_err(|error| error.to_string());
    assert!(refused.is_err_and(|text| text.contains("cannot hold the 12288 x 12288 pixels")));
    for cut in 0..bytes.len() {
        std::fs::write(folder.join("cut.jpg"), &bytes[..cut]).expect("written");
        let _ = input::images(&folder.join("cut.jpg")); // An error or an image, but no panic.
        let mut broken = bytes.clone();
        broken[cut] ^= 0x55;
        std::fs::write(folder.join("cut.jpg"), &broken).expect("written");
        let _ = input::images(&folder.join("cut.jpg"));
    }
    std::fs::write(folder.join("cut.jpg"), &bytes[..bytes.len() / 2]).expect("written");
    assert!(input::images(&folder.join("cut.jpg")).is_err());
    // Pictures of several sizes are brought to one each by itself.
    std::fs::create_dir(folder.join("several")).expect("made");
    std::fs::write(folder.join("several/a.jpg"), &bytes).expect("written");
    let small = Pixels { height: 3, width: 2, channels: 3, bytes: vec![9; 18] };
    png::write(std::fs::File::create(folder.join("several/b.png")).expect("made"), &small, &[]).expect("written");
    let message = input::images(&folder.join("several")).expect_err("two sizes").to_string();
    assert!(message.contains("--fit"), "{message}");
    let both = input::images_in(&folder.join("several"), Some((8, Fit::Crop))).expect("read").images;
    assert_eq!([both.count(), both.height(), both.width()], [2, 8, 8]);
}
