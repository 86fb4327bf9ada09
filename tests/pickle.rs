//! .pt files: both of PyTorch's formats give the same tensors bit for bit, and hostile files are refused.
//!
//! tests/fixtures/make_pt.py wrote the valid ones; the hostile ones are made here.

mod common;

use std::borrow::Cow;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use guided_diffusion::Error;
use guided_diffusion::checkpoint::{Checkpoint, DType, ReadAt};
use guided_diffusion::config::{Flags, NoiseSchedule, Origin, convert};

fn pt(name: &str) -> std::path::PathBuf {
    common::fixture("pt").join(name)
}

fn refusal(bytes: Vec<u8>) -> String {
    match Checkpoint::from_bytes("bad.pt", bytes) {
        Err(e @ Error::Checkpoint { .. }) => e.to_string(),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// A zip file of stored entries.
fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let (size, len) = ((data.len() as u32).to_le_bytes(), (name.len() as u16).to_le_bytes());
        directory
            .extend([b"PK\x01\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".as_slice(), &size, &size, &len, &[0; 12]].concat());
        directory.extend([&(out.len() as u32).to_le_bytes()[..], name.as_bytes()].concat());
        out.extend([b"PK\x03\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0".as_slice(), &size, &size, &len, &[0; 2]].concat());
        out.extend([name.as_bytes(), data].concat());
    }
    let (at, count) = (out.len() as u32, (entries.len() as u16).to_le_bytes());
    let size = directory.len() as u32;
    out.extend(directory);
    out.extend(
        [b"PK\x05\x06\0\0\0\0".as_slice(), &count, &count, &size.to_le_bytes(), &at.to_le_bytes(), &[0; 2]].concat(),
    );
    out
}

/// A file of the zip format with this pickle and one storage "0" of 16 bytes.
fn with_pickle(pickle: &[u8]) -> Vec<u8> {
    zip(&[("m/data.pkl", pickle), ("m/byteorder", b"little"), ("m/data/0", &[0; 16])])
}

/// The pickle of `{"w": tensor}` over storage "0" of `count` float32; the numbers are pickled as given.
fn tensor(count: &[u8], offset: &[u8], shape: &[u8], strides: &[u8]) -> Vec<u8> {
    [
        b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu",
        count,
        b"tQ",
        offset,
        shape,
        strides,
        b"\x89ccollections\nOrderedDict\n)RtRs.",
    ]
    .concat()
}

#[test]
fn both_formats_give_the_same_bits() {
    let expected = Checkpoint::open(pt("expected.safetensors")).unwrap();
    let files = [
        "zip.pt",
        "legacy.pt",
        "dict_protocol4.pt",
        "legacy_protocol4.pt",
        "parameters.pt",
        "data_parallel.pt",
        "nested.pt",
    ];
    let mut opened: Vec<_> = files.iter().map(|name| Checkpoint::open(pt(name)).unwrap()).collect();
    // Several state dicts: the key decides.
    for name in ["training.pt", "training_legacy.pt"] {
        let text = Checkpoint::open(pt(name)).unwrap_err().to_string();
        assert!(text.contains(r#"["model", "ema"]"#), "{text}");
        assert!(Checkpoint::open_nested(pt(name), Some("best")).unwrap_err().to_string().contains("\"best\""));
        assert!(Checkpoint::open_nested(pt(name), Some("step")).is_err());
        let other = Checkpoint::open_nested(pt(name), Some("model")).unwrap();
        assert_ne!(other.bytes("scalar").unwrap(), expected.bytes("scalar").unwrap());
        opened.push(Checkpoint::open_nested(pt(name), Some("ema")).unwrap());
    }
    // Averages one level deeper are not overlooked, but the key can still choose what is there.
    let text = Checkpoint::open(pt("training_averages.pt")).unwrap_err().to_string();
    assert!(text.contains(r#"["model", "ema/..."]"#), "{text}");
    opened.push(Checkpoint::open_nested(pt("training_averages.pt"), Some("model")).unwrap());
    opened.push(Checkpoint::from_bytes("zip.pt", std::fs::read(pt("zip.pt")).unwrap()).unwrap());
    for c in opened {
        assert!(c.header().tensors.keys().eq(expected.header().tensors.keys()), "{}", c.name());
        for (name, want) in &expected.header().tensors {
            let info = c.info(name).unwrap();
            assert_eq!((info.dtype, &info.shape), (want.dtype, &want.shape), "{}: {name}", c.name());
            assert_eq!(c.bytes(name).unwrap(), expected.bytes(name).unwrap(), "{}: {name}", c.name());
            assert_eq!(c.tensor_f32(name).unwrap(), expected.tensor_f32(name).unwrap());
        }
    }
}

/// A file that counts what is read of it, as a browser's is read.
struct Counted {
    bytes: Vec<u8>,
    read: Arc<AtomicU64>,
}

impl ReadAt for Counted {
    fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, range: Range<u64>) -> Option<Cow<'_, [u8]>> {
        self.read.fetch_add(range.end - range.start, Ordering::Relaxed);
        self.bytes.as_slice().read(range).map(|part| Cow::Owned(part.into_owned()))
    }
}

#[test]
fn a_file_that_is_read_in_parts_is_the_same_file() {
    let expected = Checkpoint::open(pt("expected.safetensors")).unwrap();
    let read = Arc::new(AtomicU64::new(0));
    let open = |bytes| Checkpoint::from_parts("zip.pt", Box::new(Counted { bytes, read: read.clone() }));
    let parts = open(std::fs::read(pt("zip.pt")).unwrap()).unwrap();
    for name in expected.header().tensors.keys() {
        read.store(0, Ordering::Relaxed);
        assert_eq!(parts.tensor_f32(name).unwrap(), expected.tensor_f32(name).unwrap(), "{name}");
        let range = &parts.info(name).unwrap().range;
        assert_eq!(read.load(Ordering::Relaxed), range.end - range.start, "{name}: no more than where it lies");
    }
    // The format before PyTorch 1.6 has no directory: it is refused, as is a file that is cut short.
    let mut whole = std::fs::read(pt("zip.pt")).unwrap();
    assert!(open(std::fs::read(pt("legacy.pt")).unwrap()).is_err());
    whole.truncate(whole.len() - 1);
    assert!(open(whole).unwrap_err().to_string().contains("cut short"));
}

#[test]
fn valid_files_that_hold_no_state_dict_say_so() {
    for (name, words) in [
        ("integers.pt", "elements of type int64"),
        ("double.pt", "elements of type float64"),
        ("module.pt", "\"torch.nn.modules.linear.Linear\""),
        ("tensor.pt", "no state dict"),
    ] {
        let text = Checkpoint::open(pt(name)).unwrap_err().to_string();
        assert!(text.contains(words) && text.contains(name), "{text}");
    }
    let text = refusal(zip(&[("word/document.xml", b"<w/>")]));
    assert!(text.contains("not one that torch.save wrote") && !text.contains("arrays"), "{text}");
    let text = Checkpoint::from_bytes("x.NPZ", zip(&[("arr_0.npy", b"")])).unwrap_err().to_string();
    assert!(text.contains("x.NPZ: ") && text.contains("an archive of arrays, no checkpoint"), "{text}");
    let text = refusal(zip(&[("m/data.pkl", b"}."), ("m/constants.pkl", b")."), ("m/code/x.py", b"")]));
    assert!(text.contains("TorchScript"), "{text}");
    let text = refusal(zip(&[("m/data.pkl", b"}."), ("m/byteorder", b"big")]));
    assert!(text.contains("big-endian"), "{text}");
}

#[test]
fn a_network_converts_from_both_formats() {
    let folder = std::env::temp_dir().join(format!("guided-diffusion-convert-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let flags = Flags {
        image_size: Some(8),
        num_heads: Some(1),
        noise_schedule: Some(NoiseSchedule::Cosine),
        predict_xstart: Some(true),
        ..Flags::default()
    };
    let go = |_, _| ControlFlow::Continue(());
    let mut files = Vec::new();
    for name in ["network.pt", "network_legacy.pt"] {
        let source = Checkpoint::open(pt(name)).unwrap();
        let config = source.config(&flags).unwrap().config;
        let out = folder.join(name).with_extension("safetensors");
        convert(&source, &config, None, &out, go).unwrap();
        let made = Checkpoint::open(&out).unwrap();
        let found = made.config(&Flags::default()).unwrap();
        assert_eq!((&found.config, found.origin), (&config, Origin::Metadata));
        for tensor in source.header().tensors.keys() {
            assert_eq!(made.bytes(tensor).unwrap(), source.bytes(tensor).unwrap(), "{tensor}");
        }
        files.push(std::fs::read(&out).unwrap());

        let wide = folder.join("wide.safetensors");
        convert(&made, &config, Some(DType::F32), &wide, go).unwrap();
        let made = Checkpoint::open(&wide).unwrap();
        for (tensor, info) in &made.header().tensors {
            assert_eq!(info.dtype, if info.shape.len() > 1 { DType::F32 } else { DType::F16 });
            assert_eq!(made.tensor_f32(tensor).unwrap(), source.tensor_f32(tensor).unwrap());
        }
        std::fs::remove_file(wide).unwrap();
        std::fs::remove_file(out).unwrap();

        // Stopped half-way: nothing is left.
        let mut calls = 0;
        let stop = |_, _| {
            calls += 1;
            if calls < 9 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let text = convert(&source, &config, None, folder.join("stopped"), stop).unwrap_err().to_string();
        assert!(text.contains("nothing was written"), "{text}");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    }
    assert!(files[0] == files[1], "both formats convert to the same bytes");
    let text = Checkpoint::open(pt("zip.pt")).unwrap().config(&flags).unwrap_err().to_string();
    assert!(text.contains("not a guided-diffusion network"), "{text}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn every_truncation_and_flipped_byte_is_survived() {
    for name in ["zip.pt", "legacy.pt", "training_legacy.pt"] {
        let whole = std::fs::read(pt(name)).unwrap();
        for n in 0..whole.len() {
            refusal(whole[..n].to_vec());
        }
        for i in 0..whole.len() {
            for flip in [1, 0x20, 0xff] {
                let mut bytes = whole.clone();
                bytes[i] ^= flip;
                if let Ok(c) = Checkpoint::from_bytes("flipped", bytes) {
                    c.header().tensors.keys().for_each(|name| drop(c.tensor_f32(name)));
                }
            }
        }
    }
}

#[test]
fn pickles_that_call_are_refused_by_name() {
    let calls: [(&[u8], &str); 8] = [
        (b"\x80\x02cos\nsystem\nX\x04\0\0\0echo\x85R.", "os.system"),
        (b"cposix\nsystem\n(S'echo'\ntR.", "posix.system"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.", "builtins.eval"),
        (b"c__builtin__\nexec\n.", "__builtin__.exec"),
        (b"ctorch\nload\n.", "torch.load"),
        (b"ctorch.hub\nload\n.", "torch.hub.load"),
        (b"ccollections\nabc.os\n.", "collections.abc.os"),
        (b"}ccollections\nOrderedDict.__reduce__\n.", "OrderedDict.__reduce__"),
    ];
    for (pickle, name) in calls {
        let text = refusal(with_pickle(pickle));
        assert!(text.contains(name) && text.contains("ever executed"), "{text}");
    }
    // INST, OBJ, NEWOBJ, extensions, text persistent ids, sets, byte arrays, buffers.
    for opcode in b"ioPIFLSV\x81\x82\x83\x84\x8b\x8f\x90\x91\x92\x96\x97\x98\xff" {
        let text = refusal(with_pickle(&[b'N', *opcode, 0, 0, 0, 0, b'.']));
        assert!(text.contains("opcode"), "{text}");
    }
    for pickle in [
        &b"ccollections\nOrderedDict\nX\x01\0\0\0xR."[..],
        b"ccollections\nOrderedDict\nN\x85R.",
        b"ccollections\nOrderedDict\n))\x86R.",
        b"ctorch\nFloatStorage\n)R.",
        b"ctorch._utils\n_rebuild_parameter\n}\x85R.",
        b"ctorch._utils\n_rebuild_tensor_v2\n)R.",
        b"ctorch\nSize\n)R.",
        b")N\x86R.",
        b"NNb.",
        b"X\x03\0\0\0abcQ.",
        b")Q.",
        b"N.",
        b"}.",
        b"}}.",
    ] {
        refusal(with_pickle(pickle));
    }
}

#[test]
fn pickles_that_exhaust_are_refused() {
    let many = |piece: &[u8], n: usize, end: &[u8]| refusal(with_pickle(&[piece.repeat(n), end.to_vec()].concat()));
    // Deep nesting in every way there is; none may cost stack.
    assert!(many(b"(", 1_000_000, b"t.").contains("deep"));
    many(b"\x85", 900_000, b".");
    refusal(with_pickle(&[b"N".to_vec(), b"\x85".repeat(1_000_000), b".".to_vec()].concat()));
    refusal(with_pickle(&[b"]".repeat(400_000), b"a".repeat(400_000), b".".to_vec()].concat()));
    assert!(many(b"N0", 1_000_000, b"N.").contains("operations"));
    assert!(many(b"]0", 1_000_000, b"N.").contains("operations"));
    // Lengths beyond the file.
    for pickle in [
        &b"X\xff\xff\xff\xffabc."[..],
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc.",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
        b"B\xff\xff\xff\xffabc.",
        b"\x8a\xff\x01.",
        b"\x8c\xff.",
        b"c",
        b"K",
        b"",
    ] {
        assert!(!refusal(with_pickle(pickle)).is_empty());
    }
    let name = [b"c".to_vec(), b"a".repeat(10_000_000)].concat();
    assert!(refusal(with_pickle(&name)).contains("without end"));
    // The memo: a sparse index, one never set, cycles, and copies of copies of copies.
    refusal(with_pickle(b"Nr\xff\xff\xff\xffj\xff\xff\xff\xff\x86."));
    assert!(refusal(with_pickle(b"h\x07.")).contains("never stored"));
    refusal(with_pickle(b"}q\0X\x01\0\0\0kh\0s."));
    refusal(with_pickle(b"]q\0h\0a."));
    refusal(with_pickle(&[b"N".to_vec(), b"q\0h\0h\0h\0\x87".repeat(100_000), b".".to_vec()].concat()));
    let laughs = [b"}q\0".to_vec(), b"}(X\x01\0\0\0ah\0X\x01\0\0\0bh\0uq\0".repeat(10_000), b".".to_vec()].concat();
    refusal(with_pickle(&laughs));
    // Many references to one large dict, at each of two levels: looked at once.
    let item = |i: u32, get: &[u8]| [b"X\x04\0\0\0", &i.to_le_bytes()[..], get].concat();
    let level = |get: &[u8], put: &[u8]| {
        [
            b"}(".to_vec(),
            (0..50u32).flat_map(|i| item(i, get)).collect::<Vec<_>>().repeat(1000),
            b"u".to_vec(),
            put.to_vec(),
        ]
        .concat()
    };
    refusal(with_pickle(
        &[level(b"N", b"q\x01"), level(b"h\x01", b"q\x02"), level(b"h\x02", b"q\x03"), b".".to_vec()].concat(),
    ));
    // A call copies its list of pairs; a large list and many calls do not multiply.
    let list = [b"](X\x01\0\0\0aN\x86q\x01".to_vec(), b"h\x01".repeat(400_000), b"eq\x02".to_vec()].concat();
    let call = b"ccollections\nOrderedDict\nh\x02\x85R";
    let calls = |n: usize| with_pickle(&[&list[..], &call.repeat(n), b"."].concat());
    assert!(!refusal(calls(2)).contains("copies"), "a valid pickle may copy");
    let text = refusal(calls(20_000));
    assert!(text.contains("copies more than"), "{text}");
    // Nor do tensors of as many dimensions.
    let shape = [b"](".to_vec(), b"K\x01".repeat(400_000), b"eq\x02".to_vec()].concat();
    assert!(refusal(with_pickle(&tensor(b"K\x04", b"K\0", &shape, b"h\x02"))).contains("tensor"));
    // The stack: taking what is not there, across marks too.
    for pickle in
        [&b"0."[..], b"1.", b"t.", b"(0.", b"N(\x85.", b"N(R.", b"a.", b"s.", b"u.", b"e.", b"(Nu.", b"q\0.", b"."]
    {
        refusal(with_pickle(pickle));
    }
}

#[test]
fn tensors_must_lie_in_their_storage() {
    let good = with_pickle(&tensor(b"K\x04", b"K\0", b"K\x02K\x02\x86", b"K\x02K\x01\x86"));
    assert_eq!(Checkpoint::from_bytes("good", good).unwrap().tensor_f32("w").unwrap(), [0.0; 4]);
    let max = b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f".as_slice();
    let pair = |a: &[u8], b: &[u8]| [a, b, b"\x86"].concat();
    let bad = [
        tensor(b"K\x05", b"K\0", b"K\x02\x85", b"K\x01\x85"),
        tensor(max, b"K\0", b"K\x02\x85", b"K\x01\x85"),
        tensor(b"K\x04", b"K\x01", b"K\x04\x85", b"K\x01\x85"),
        tensor(b"K\x04", max, b"K\x04\x85", b"K\x01\x85"),
        tensor(b"K\x04", b"J\xff\xff\xff\xff", b"K\x04\x85", b"K\x01\x85"),
        tensor(b"K\x04", b"K\0", b"K\x05\x85", b"K\x01\x85"),
        tensor(b"K\x04", b"K\0", &pair(max, max), b"K\x01K\x01\x86"),
        tensor(b"K\x04", b"K\0", b"K\x02K\x02\x86", &pair(max, max)),
        // Expanded: a storage of four elements claims a million.
        tensor(b"K\x04", b"K\0", b"J\x40\x42\x0f\0\x85", b"K\0\x85"),
        tensor(b"K\x04", b"K\0", b"K\x04\x85", b"K\x02\x85"),
        tensor(b"K\x04", b"K\0", b"K\x04\x85", b"K\x01K\x01\x86"),
        tensor(b"K\x04", b"K\0", b"N\x85", b"K\x01\x85"),
        tensor(b"N", b"K\0", b"K\x04\x85", b"K\x01\x85"),
    ];
    for pickle in bad {
        let text = refusal(with_pickle(&pickle));
        assert!(text.contains("tensor") || text.contains("storage"), "{text}");
    }
    let pickle = tensor(b"K\x04", b"K\0", b"K\x02K\x02\x86", b"K\x02K\x01\x86");
    assert!(refusal(zip(&[("m/data.pkl", &pickle)])).contains("storage \"0\", which is missing"));
    assert!(refusal(zip(&[("m/data.pkl", &pickle), ("m/data/0", &[0; 15])])).contains("15 bytes"));
    let mut nan = [0u8; 16];
    nan[2..4].copy_from_slice(&[0xc0, 0x7f]);
    let c = Checkpoint::from_bytes("nan.pt", zip(&[("m/data.pkl", &pickle), ("m/data/0", &nan)])).unwrap();
    assert!(c.tensor_f32("w").unwrap_err().to_string().contains("element 0 of tensor \"w\" is NaN"));
}

#[test]
fn hostile_zips_are_refused() {
    let good = with_pickle(&tensor(b"K\x04", b"K\0", b"K\x04\x85", b"K\x01\x85"));
    Checkpoint::from_bytes("good", good.clone()).unwrap();
    let directory = good.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    let change = |at: usize, bytes: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        refusal(bad)
    };
    assert!(change(directory + 10, &[8]).contains("compressed"));
    assert!(change(directory + 8, &[1]).contains("encrypted"));
    // A bomb: small when packed, four gigabytes when not.
    assert!(change(directory + 24, &[0xff, 0xff, 0xff, 0xfe]).contains("compressed"));
    assert!(change(directory + 20, &[0xfe; 8]).contains("outside the file"));
    assert!(change(directory + 42, &[0xff, 0xff, 0xff, 0x7f]).contains("outside the file"));
    assert!(change(directory + 42, &[1]).contains("does not start"));
    assert!(change(directory + 46, &[0xff]).contains("UTF-8"));
    let end = good.len() - 22;
    change(end + 10, &[0xff, 0xff]);
    change(end + 12, &[0xff; 4]);
    change(end + 16, &[0xff; 4]);
    assert!(refusal(zip(&[("m/data.pkl", b"}."), ("m/data.pkl", b"}.")])).contains("twice"));
    assert!(refusal(zip(&[("m/data.pkl", b"}."), ("n/data.pkl", b"}.")])).contains("no single data.pkl"));
    refusal(b"PK\x03\x04".to_vec());
    // A zip64 record that points anywhere.
    for offset in [0u64, 1, u64::MAX, u64::MAX - 40, 30] {
        let locator = [b"PK\x06\x07\0\0\0\0".as_slice(), &offset.to_le_bytes(), &[0; 4]].concat();
        refusal([&good[..end], &locator, &good[end..]].concat());
    }
}
