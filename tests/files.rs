//! What the command line program writes and reads: formats, and files that are not what they claim.
#![cfg(feature = "cli")]

mod common;

use std::path::{Path, PathBuf};

use common::folder::Folder;
use guided_diffusion::Error;
use guided_diffusion::cli::input;
use guided_diffusion::cli::npy::{Dtype, Header};
use guided_diffusion::cli::output::{Format, Layout, Output, Record};
use guided_diffusion::image::{Grid, Images};
use guided_diffusion::png;

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
    Layout { count, height: 2, width: 3, channels, grid, texts: vec![("Software".into(), "test".into())] }
}

/// Writes five images in batches of three and two.
fn write(path: &Path, channels: usize) -> Images {
    let mut all = images(3, channels);
    let mut output = Output::create(path, layout(5, channels)).expect("writable");
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
fn an_interrupted_run_keeps_what_is_finished() {
    let folder = Folder::new("interrupted");
    for name in ["a.npz", "a.npy", "b"] {
        let mut output = Output::create(&folder.join(name), layout(5, 1)).expect("writable");
        output.push(&images(2, 1), &records(0..2)).expect("pushed");
        output.finish().expect("finished").expect("something");
        assert_eq!(input::images(&folder.join(name)).expect("read").images.count(), 2, "{name}");
    }
    let before = folder.names();
    for name in ["c.npz", "c.npy", "c.png", "d"] {
        let output = Output::create(&folder.join(name), layout(5, 1)).expect("writable");
        assert_eq!(output.finish().expect("finished"), None);
        // Dropped on an error: nothing is left behind either.
        if name != "d" {
            drop(Output::create(&folder.join(name), layout(5, 1)).expect("writable"));
        }
    }
    assert_eq!(folder.names(), before);
}

#[test]
fn outputs_that_cannot_be_written_are_refused_at_once() {
    let folder = Folder::new("unwritable");
    for name in ["missing/a.png", "missing/a.npz", "missing/a.npy", "missing/deep"] {
        assert!(matches!(Output::create(&folder.join(name), layout(1, 1)), Err(Error::Io { .. })), "{name}");
    }
    std::fs::create_dir(folder.join("taken.npz")).expect("made");
    assert!(matches!(Format::of(&folder.join("taken.npz")), Ok(Format::Folder)));
    assert!(matches!(Format::of(Path::new("a.jpg")), Err(Error::Options(_))));
    for (name, channels) in [("a.png", 2), ("a", 4)] {
        assert!(matches!(Output::create(&folder.join(name), layout(1, channels)), Err(Error::Options(_))));
    }
    let mut vast = layout(1 << 20, 3);
    vast.grid = Grid { rows: 1 << 10, columns: 1 << 10, by_column: false, gap: 0 };
    vast.height = 256;
    assert!(matches!(Output::create(&folder.join("a.png"), vast), Err(Error::Options(_))));
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
        assert!(input::images(&path).is_err(), "cut off at {at}");
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
