//! safetensors files, synthetic weights and the writer: what is read, and what hostile files get.

mod common;

use std::collections::BTreeMap;
use std::io::Write;

use guided_diffusion::checkpoint::writer::{self, AtomicFile, TensorSpec};
use guided_diffusion::checkpoint::{Checkpoint, DType, Header, Stream, decode_f32, encode};
use guided_diffusion::config::presets;
use guided_diffusion::{Error, Result};

/// A file with this header text and data.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(data);
    out
}

fn refusal(bytes: Vec<u8>) -> String {
    match Checkpoint::from_bytes("bad.safetensors", bytes) {
        Err(e @ Error::Checkpoint { .. }) => e.to_string(),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn folder(test: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("guided-diffusion-{test}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Two tensors of each type, with values that all types hold exactly.
fn sample() -> Vec<u8> {
    let header = r#"{"__metadata__":{"note":"hello"},"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},
        "b":{"dtype":"F16","shape":[2],"data_offsets":[8,12]},"c":{"dtype":"BF16","shape":[2],"data_offsets":[12,16]},
        "d":{"dtype":"F32","shape":[],"data_offsets":[16,20]},"e":{"dtype":"F32","shape":[0,3],"data_offsets":[20,20]}}"#;
    let data: Vec<u8> =
        [DType::F32, DType::F16, DType::BF16].iter().flat_map(|t| encode(&[1.5, -2.0], *t).unwrap()).collect();
    file(header, &[data, 3f32.to_le_bytes().to_vec()].concat())
}

#[test]
fn all_element_types_are_read() {
    let c = Checkpoint::from_bytes("sample", sample()).unwrap();
    for name in ["a", "b", "c"] {
        assert_eq!(c.tensor_f32(name).unwrap(), [1.5, -2.0]);
        assert_eq!(c.tensor_f16(name).unwrap(), [1.5, -2.0].map(half::f16::from_f32));
    }
    assert_eq!(c.tensor_f32("d").unwrap(), [3.0]);
    assert!(c.tensor_f32("e").unwrap().is_empty());
    assert_eq!(c.header().metadata["note"], "hello");
    assert_eq!((c.info("a").unwrap().shape.as_slice(), c.info("b").unwrap().dtype), (&[2, 1][..], DType::F16));
    assert!(c.tensor_f32("z").unwrap_err().to_string().contains("no tensor \"z\""));
}

#[test]
fn a_stream_needs_only_the_first_bytes() {
    let bytes = sample();
    let need = Header::prefix_len("s", &bytes[..8]).unwrap() as usize;
    let header = Header::parse("s", &bytes[..need], bytes.len() as u64).unwrap();
    let names: Vec<_> = header.in_file_order().iter().map(|(n, _)| n.to_string()).collect();
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    let info = &header.tensors["b"];
    let piece = &bytes[info.range.start as usize..info.range.end as usize];
    assert_eq!(decode_f32("s", "b", info, piece).unwrap(), [1.5, -2.0]);
    assert!(decode_f32("s", "b", info, &piece[1..]).unwrap_err().to_string().contains("needs 4 bytes, 3 came"));
    assert!(Header::parse("s", &bytes[..need - 1], bytes.len() as u64).is_err());
    assert!(Header::prefix_len("s", &bytes[..7]).is_err());
}

/// A file by pieces of at most `size` bytes: its tensors in the order in which they came.
fn streamed(bytes: &[u8], size: usize) -> Result<Vec<(String, Vec<f32>)>> {
    let mut stream = Stream::new("s", None);
    let mut tensors = Vec::new();
    for mut piece in bytes.chunks(size) {
        while !piece.is_empty() {
            piece = &piece[stream.push(piece)?..];
            while stream.is_ready() {
                tensors.extend(stream.take()?);
            }
        }
    }
    stream.finish()?;
    Ok(tensors)
}

#[test]
fn a_stream_gives_what_the_file_holds() {
    let bytes = sample();
    let whole = Checkpoint::from_bytes("s", bytes.clone()).unwrap();
    // Pieces that end within elements, within the header, and after everything.
    for size in [1, 2, 3, 5, 7, 64, bytes.len()] {
        let tensors = streamed(&bytes, size).unwrap();
        let names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "d", "e"], "pieces of {size}");
        tensors.iter().for_each(|(name, values)| assert_eq!(*values, whole.tensor_f32(name).unwrap(), "{name}"));
    }
}

#[test]
fn a_stream_refuses_what_a_file_refuses() {
    let whole = sample();
    for n in 0..whole.len() {
        let error = streamed(&whole[..n], 16).unwrap_err().to_string();
        assert!(error.contains("cut short"), "{n}: {error}");
    }
    let longer = [whole.clone(), vec![0; 9]].concat();
    assert!(streamed(&longer, 16).unwrap_err().to_string().contains("bytes follow its last tensor"));
    let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    let data: Vec<u8> = [1.0, f32::NAN].iter().flat_map(|v| v.to_le_bytes()).collect();
    assert!(streamed(&file(header, &data), 3).unwrap_err().to_string().contains("element 1 of tensor \"a\""));
    assert!(streamed(b"<!doctype html><title>404</title>", 16).unwrap_err().to_string().contains("is a web page"));
    for name in ["zip.pt", "legacy.pt"] {
        let pt = std::fs::read(common::fixture("pt").join(name)).unwrap();
        assert!(streamed(&pt, 16).unwrap_err().to_string().contains("guided-diffusion convert"), "{name}");
    }
    // Where the length is known, the header suffices.
    let mut stream = Stream::new("s", Some(whole.len() as u64 - 1));
    assert!(stream.push(&whole).unwrap_err().to_string().contains("cut short"));
    // 1 EiB is described, and no memory is taken for them.
    let huge = r#"{"a":{"dtype":"F32","shape":[288230376151711744],"data_offsets":[0,1152921504606846976]}}"#;
    let error = streamed(&file(huge, &[]), 16).unwrap_err().to_string();
    assert!(error.contains("more than memory holds"), "{error}");
}

#[test]
fn every_truncation_is_refused() {
    let whole = sample();
    for n in 0..whole.len() {
        refusal(whole[..n].to_vec());
    }
    assert!(refusal([whole.clone(), vec![0]].concat()).contains("bytes follow its last tensor"));
    assert!(refusal(whole[..whole.len() - 1].to_vec()).contains("cut short"));
}

#[test]
fn every_flipped_byte_is_survived() {
    let whole = sample();
    for i in 0..whole.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[i] ^= flip;
            if let Ok(c) = Checkpoint::from_bytes("flipped", bytes) {
                for name in c.header().tensors.keys() {
                    let _ = c.tensor_f32(name);
                }
            }
        }
    }
}

#[test]
fn hostile_headers_are_refused() {
    let one = |entry: &str, bytes: usize| refusal(file(&format!("{{{entry}}}"), &vec![0; bytes]));
    assert!(
        one(r#""a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}"#, 8).contains("\"a\" has elements of type I64")
    );
    assert!(one(r#""a":{"dtype":"F128","shape":[1],"data_offsets":[0,16]}"#, 16).contains("F128"));
    // Overlap, hole, reversed, beyond the end, wrong size, overflow, negative.
    for (shape, offsets) in [
        ("[2]", "4,12"),
        ("[2]", "12,20"),
        ("[2]", "16,8"),
        ("[2]", "8,99999"),
        ("[3]", "8,16"),
        ("[4611686018427387904,4]", "8,8"),
        ("[9223372036854775807,9223372036854775807,9223372036854775807]", "8,16"),
        ("[2]", "8,18446744073709551615"),
        ("[-1]", "8,16"),
        ("[1e30]", "8,16"),
        ("[2]", "-8,8"),
    ] {
        one(
            &format!(
                r#""a":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}},"b":{{"dtype":"F32","shape":{shape},"data_offsets":[{offsets}]}}"#
            ),
            16,
        );
    }
    one(r#""__metadata__":{"adm":3}"#, 0);
    one(r#""__metadata__":[]"#, 0);
    for text in ["", "[]", "{", "null", "{\"a\":3}", &"[".repeat(100_000), &"{\"a\":".repeat(50_000)] {
        refusal(file(text, &[]));
    }
    let mut not_utf8 = file(r#"{"xx":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, &[0; 4]);
    not_utf8[10] = 0xff;
    assert!(refusal(not_utf8).contains("not UTF-8 from byte 10"));
    for length in [u64::MAX, u64::MAX - 7, 1 << 62, (16 << 20) + 1, 1000] {
        refusal([&length.to_le_bytes()[..], b"{}"].concat());
    }
    for (start, what) in [
        (&b"%PDF-1.7 whatever"[..], "a document, not a model"),
        (b"\x89PNG\r\n\x1a\n", "a picture, not a model"),
        (b"\xff\xd8\xff\xe0 JFIF", "a picture, not a model"),
        (b"\xfe\xfe\xfe\xfe\xfe\xfe\xfe\xfe", "not a model, or damaged"),
    ] {
        assert!(refusal(start.to_vec()).contains(what), "{what}");
    }
    refusal(Vec::new());
}

#[test]
fn weights_that_are_no_numbers_are_named() {
    let header = r#"{"w.bias":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}"#;
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let data: Vec<u8> = [1.0, bad, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let c = Checkpoint::from_bytes("nan.safetensors", file(header, &data)).unwrap();
        let text = c.tensor_f32("w.bias").unwrap_err().to_string();
        assert!(text.contains("nan.safetensors") && text.contains("element 1 of tensor \"w.bias\""), "{text}");
        assert!(c.tensor_f16("w.bias").is_err());
    }
    let data: Vec<u8> = [1f32, 65_504.0, 1e5].iter().flat_map(|v| v.to_le_bytes()).collect();
    let c = Checkpoint::from_bytes("large.safetensors", file(header, &data)).unwrap();
    assert!(c.tensor_f32("w.bias").is_ok());
    assert!(c.tensor_f16("w.bias").unwrap_err().to_string().contains("too large for f16"));
    assert!(encode(&[1e5], DType::F16).is_none() && encode(&[f32::MAX], DType::BF16).is_none());
}

#[test]
fn conversions_hold_over_chunks() {
    let values: Vec<f32> = (0..5000).map(|i| (i % 4001 - 2000) as f32).collect();
    for dtype in [DType::F32, DType::F16] {
        let header = format!(
            r#"{{"w":{{"dtype":"{}","shape":[5000],"data_offsets":[0,{}]}}}}"#,
            dtype.to_string().to_uppercase(),
            5000 * dtype.size()
        );
        let c = Checkpoint::from_bytes("w", file(&header, &encode(&values, dtype).unwrap())).unwrap();
        assert!(c.tensor_f32("w").unwrap() == values);
        assert!(c.tensor_f16("w").unwrap().iter().map(|v| v.to_f32()).eq(values.iter().copied()));
    }
}

#[test]
fn files_are_mapped_written_and_replaced_whole() {
    let folder = folder("writer");
    let path = folder.join("m.safetensors");
    let specs = || {
        vec![
            TensorSpec { name: "z".into(), dtype: DType::F32, shape: vec![2, 2] },
            TensorSpec { name: "a".into(), dtype: DType::F16, shape: vec![3] },
        ]
    };
    let metadata =
        BTreeMap::from([("adm".to_owned(), "{}".to_owned()), ("b".to_owned(), "\u{1F600} \"quoted\"".to_owned())]);
    let fill = |spec: &TensorSpec, out: &mut dyn Write| -> Result<()> {
        for i in 0..spec.shape.iter().product::<usize>() {
            out.write_all(&encode(&[i as f32], spec.dtype).unwrap()).map_err(|e| Error::io("m", e))?;
        }
        Ok(())
    };
    writer::write(&path, specs(), &metadata, fill).unwrap();
    let first = std::fs::read(&path).unwrap();
    let c = Checkpoint::open(&path).unwrap();
    assert_eq!(c.tensor_f32("z").unwrap(), [0.0, 1.0, 2.0, 3.0]);
    assert_eq!(c.tensor_f32("a").unwrap(), [0.0, 1.0, 2.0]);
    assert_eq!(c.header().metadata, metadata);
    assert_eq!(c.info("z").unwrap().range.start % 8, 0);
    writer::write(&path, specs(), &metadata, fill).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), first, "equal content gives equal files");

    // A failure half-way, too few bytes, and a dropped file leave the old file and nothing else.
    writer::write(&path, specs(), &metadata, |spec, out| match spec.name.as_str() {
        "a" => Err(Error::Options("stopped".into())),
        _ => fill(spec, out),
    })
    .unwrap_err();
    writer::write(&path, specs(), &metadata, |_, _| Ok(())).unwrap_err();
    let mut dropped = AtomicFile::create(&path).unwrap();
    dropped.write_all(b"half").unwrap();
    drop(dropped);
    assert_eq!(std::fs::read(&path).unwrap(), first);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    assert!(writer::write(folder.join("none/m"), specs(), &metadata, fill).unwrap_err().to_string().contains("none/m"));
    assert!(writer::write(&folder, specs(), &metadata, fill).is_err());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_file_cut_short_while_open_is_an_error() {
    let folder = folder("cut");
    let path = folder.join("m.safetensors");
    std::fs::write(&path, sample()).unwrap();
    let c = Checkpoint::open(&path).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(20).unwrap();
    let text = c.tensor_f32("d").unwrap_err().to_string();
    assert!(text.contains("cut short, to"), "{text}");
    assert!(Checkpoint::open(folder.join("none")).unwrap_err().to_string().contains("none"));
    assert!(Checkpoint::open(&folder).unwrap_err().to_string().contains("not a regular file"));
    std::fs::write(&path, b"").unwrap();
    assert!(Checkpoint::open(&path).is_err());
    std::fs::remove_dir_all(folder).unwrap();
}

/// Bits that the reference implementation computes.
#[test]
fn synthetic_streams_equal_the_reference() {
    use common::synth::{noise, uniform, weight};
    let bits = |values: Vec<f32>| values.iter().take(4).map(|v| v.to_bits()).collect::<Vec<_>>();
    let stream = |name, seed| bits(uniform(name, seed).take(4).collect());
    assert_eq!(stream("x", 0), [0x3e4e0988, 0x3f4efb9c, 0x3f24b0db, 0x3f53fefa]);
    assert_eq!(stream("step/25", 7), [0x3f092a63, 0x3ee831bc, 0x3e0cc7d8, 0x3f339c23]);
    let weights: [(&str, &[usize], [u32; 4]); 5] = [
        ("label_emb.weight", &[2, 2], [0x3f48435a, 0xbec95780, 0xbf0f5f66, 0xbf7a7de8]),
        ("out.2.positional_embedding", &[3, 2], [0xbe8baf94, 0x3e102cd8, 0xbde54090, 0xbef47214]),
        ("a.0.weight", &[2, 3, 3, 3], [0xbd5e5136, 0x3e216d9b, 0x3e202c4e, 0xbd73294b]),
        ("n.weight", &[4], [0x3f986428, 0x3f4d6bc2, 0x3f926d31, 0x3f41987a]),
        ("n.bias", &[4], [0xbda810d8, 0x3c1eb35a, 0x3d7fa03d, 0xbcb936e7]),
    ];
    for (name, shape, want) in weights {
        assert_eq!(bits(weight(name, shape, 3)), want, "{name}");
    }
    assert_eq!(bits(noise("start", 4, 1)), [0xbe38c79b, 0xbfb3b267, 0xbe9677c8, 0x3e2bba43]);
    let xor = |values: Vec<f32>| values.iter().fold(0, |x, v| x ^ v.to_bits());
    assert_eq!(xor(weight("input_blocks.3.0.in_layers.2.weight", &[64, 32, 3, 3], 0)), 7_948_155);
    assert_eq!(xor(noise("x", 100_003, 5)), 3_289_744_163);
}

#[test]
fn synthetic_checkpoints_make_tensors_on_demand() {
    let config = presets::by_name("64x64_classifier").unwrap().config();
    let c = Checkpoint::synthetic(&config, 7).unwrap();
    assert_eq!(c.header().parameters(), 65_438_568);
    let name = "input_blocks.1.0.in_layers.2.weight";
    let want = common::synth::weight(name, &[128, 128, 3, 3], 7);
    assert_eq!(c.tensor_f32(name).unwrap(), want);
    assert_eq!(*c.bytes(name).unwrap(), *want.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>());
    assert_eq!(c.tensor_f16(name).unwrap()[5], half::f16::from_f32(want[5]));
    assert_ne!(Checkpoint::synthetic(&config, 8).unwrap().tensor_f32(name).unwrap(), want);
}

#[test]
fn golden_outputs_are_readable() {
    let outputs = common::golden().outputs();
    for case in common::golden().cases() {
        for key in case["outputs"].as_array().into_iter().flatten() {
            let name = format!(
                "{}/{}/{}",
                case["kind"].as_str().unwrap(),
                case["name"].as_str().unwrap(),
                key.as_str().unwrap()
            );
            assert!(!outputs.tensor_f32(&name).unwrap().is_empty(), "{name}");
        }
    }
}
