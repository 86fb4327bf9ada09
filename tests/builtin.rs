//! The small reference model, fashion32: its images from given noise equal the reference's, and show what was asked for.

mod common;

use common::builtin::{ddim25, labelled_as_asked, session};
use common::gpu::{gpus, on_each};
use common::{fixture, synth};
use guided_diffusion::device::Precision;
use guided_diffusion::run::{Noise, SampleOptions};
use pollster::block_on;
use safetensors::SafeTensors;

/// Of one sample per class; the whole figure (0.85 of 200) is tests/quality.rs's, which takes minutes. The seeds are fixed, so
/// this cannot fail by chance, only after a change.
const AS_ASKED: usize = 7;

#[test]
fn images_from_given_noise_equal_the_reference() {
    let file = std::fs::read(fixture("builtin.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&file).unwrap();
    let expected: Vec<f32> = bytemuck::pod_collect_to_vec(golden.tensor("images").unwrap().data());
    let labels: Vec<u32> = bytemuck::pod_collect_to_vec(golden.tensor("labels").unwrap().data());
    on_each(|gpu| {
        // Float16 arithmetic too, where the adapter can: nobody sees one level.
        let half = gpu.caps().shader_f16.then_some(Precision::F16);
        for precision in [Precision::F32].into_iter().chain(half) {
            let mut session = session(gpu, labels.len(), precision);
            let start = synth::noise_of("start", &[labels.len(), 1, 32, 32], 0);
            let options =
                SampleOptions { count: labels.len(), labels: labels.clone(), noise: Noise::Start(start), ..ddim25() };
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
    let right = labelled_as_asked(gpu, 10, 10);
    println!("{}: {right} of 10 labelled as asked", gpu.summary().name);
    assert!(right >= AS_ASKED, "only {right} of 10 are labelled as asked");
}
