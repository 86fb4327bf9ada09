//! The project's own models. The small reference model, fashion32: its images from given noise equal the reference's, and show what was
//! asked for. Emoji: the classifier guides to its classes, and the upsampler keeps what it enlarges.

mod common;

use common::builtin::{ddim25, fashion32, labelled_as_asked, open};
use common::gpu::{gpus, on_each};
use common::judge::Judge;
use common::{fixture, synth};
use guided_diffusion::Images;
use guided_diffusion::device::Precision;
use guided_diffusion::run::{Noise, SampleOptions};
use guided_diffusion::sampler::Settings;
use pollster::block_on;
use safetensors::SafeTensors;

/// Of one sample per class in the default steps; tests/quality.rs has the whole figure of 25 steps (0.85 of 200), and takes minutes.
/// The seeds are fixed, so this cannot fail by chance, only after a change.
const AS_ASKED: usize = 7;

#[test]
fn images_from_given_noise_equal_the_reference() {
    let file = std::fs::read(fixture("builtin.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&file).unwrap();
    let expected: Vec<f32> = bytemuck::pod_collect_to_vec(golden.tensor("images").unwrap().data());
    let labels: Vec<u32> = bytemuck::pod_collect_to_vec(golden.tensor("labels").unwrap().data());
    on_each(|gpu| {
        // Float16 arithmetic too, where the adapter can, of one image, for it is slow there: nobody sees one level.
        let half = gpu.caps().shader_f16.then_some((Precision::F16, 1));
        for (precision, count) in [(Precision::F32, labels.len())].into_iter().chain(half) {
            let mut session = fashion32(gpu, count, precision);
            let start = synth::noise_of("start", &[labels.len(), 1, 32, 32], 0)[..count * 32 * 32].to_vec();
            let (labels, settings) = (labels[..count].to_vec(), ddim25());
            let options =
                SampleOptions { count, labels, settings, noise: Noise::Start(start), ..SampleOptions::default() };
            let images = block_on(session.sample(options).unwrap().finish()).unwrap();
            let levels = images.to_nchw().iter().zip(&expected).map(|(a, e)| (a - e).abs() * 127.5).fold(0.0, f32::max);
            let found =
                format!("{}, {}: at most {levels:.4} of 255 levels apart", gpu.summary().name, precision.as_str());
            println!("{found}");
            assert!(levels <= 1.0, "{found}");
        }
    });
}

#[test]
fn samples_show_what_was_asked_for() {
    let gpu = &gpus()[0];
    let right = labelled_as_asked(gpu, &Settings::default(), 10, 10);
    println!("{}: {right} of 10 labelled as asked", gpu.summary().name);
    assert!(right >= AS_ASKED, "only {right} of 10 are labelled as asked");
}

/// Classes that few steps leave vague: animal, plant, fruit & veg, food & drink.
const VAGUE: [u32; 4] = [2, 6, 7, 8];

#[test]
fn the_emoji_classifier_guides_to_the_class_that_is_asked_for() {
    let (gpu, judge) = (&gpus()[0], Judge::open("judge-emoji.safetensors"));
    let mut session = open(gpu, "emoji32", Some("emoji32-classifier"), VAGUE.len(), Precision::F16Weights);
    // The logarithm of the asked classes' probability, as the judge sees it: the mean of images from the same noise.
    let mut sure = |guidance| {
        let settings =
            Settings { guidance: Some(guidance), steps: Some("4".parse().unwrap()), seed: 1, ..Settings::default() };
        let options =
            SampleOptions { count: VAGUE.len(), labels: VAGUE.to_vec(), settings, ..SampleOptions::default() };
        let images = block_on(async { session.sample(options)?.finish().await }).unwrap();
        let pixels = images.to_nchw();
        let log_p = |(image, label): (&[f32], &u32)| {
            let logits = judge.read(image).logits;
            logits[*label as usize] - logits.iter().map(|logit| logit.exp()).sum::<f32>().ln()
        };
        pixels.chunks_exact(pixels.len() / VAGUE.len()).zip(&VAGUE).map(log_p).sum::<f32>() / VAGUE.len() as f32
    };
    let (without, with) = (sure(0.0), sure(8.0));
    // The classifier knows the twelve classes that images show, and not the thirteenth, which stands for none.
    assert_eq!(session.classes(), 12);
    let none = SampleOptions { count: 1, labels: vec![12], ..SampleOptions::default() };
    assert!(session.sample(none).is_err_and(|error| error.to_string().contains("classes 0 to 11")));
    println!("{}: log p of the class {without:.2} without guidance, {with:.2} at 8", gpu.summary().name);
    // By lavapipe -2.48 and -0.93.
    assert!(with > without + 0.5, "guided {with}, without {without}");
}

#[test]
fn the_emoji_upsampler_keeps_what_it_enlarges() {
    // A heart of the contact sheet of models/README.md, whose pictures have 32 pixels and lie 2 apart, a row per class.
    let (sheet, _) =
        guided_diffusion::png::read(std::io::Cursor::new(include_bytes!("../models/emoji32.png"))).unwrap();
    let row = |y: usize| &sheet.bytes[(3 * 34 + y) * sheet.width * 3..][..32 * 3];
    let small = Images::from_u8(1, 32, 32, 3, &(0..32).flat_map(row).copied().collect::<Vec<u8>>()).unwrap();
    let gpu = &gpus()[0];
    let mut session = open(gpu, "emoji32-to-64", None, 1, Precision::F16Weights);
    let options = SampleOptions { count: 1, labels: vec![3], low_res: Some(small.clone()), ..SampleOptions::default() };
    let large = block_on(async { session.sample(options)?.finish().await }).unwrap();
    assert_eq!((large.height(), large.width()), (64, 64));
    // Each pixel the mean of four, as the upsampler's inputs were reduced in training.
    let at = |y: usize, x: usize, c: usize| large.data()[(y * 64 + x) * 3 + c];
    let four = |k: usize, c: usize| {
        let (y, x) = (k / 32 * 2, k % 32 * 2);
        (at(y, x, c) + at(y, x + 1, c) + at(y + 1, x, c) + at(y + 1, x + 1, c)) / 4.0
    };
    let reduced = (0..32 * 32).flat_map(|k| [0, 1, 2].map(|c| four(k, c))).collect();
    let [mean, _] = Images::new(1, 32, 32, 3, reduced).unwrap().distances(&small)[0];
    println!("{}: {mean:.1} of 255 levels from what was enlarged", gpu.summary().name);
    // 3.0 is the mean of 96 images (models/README.md); here it is 1.2.
    assert!(mean < 3.0, "the enlarged image, reduced again, is {mean} levels away");
}
