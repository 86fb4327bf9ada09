//! The sampling loop's ops, at rows with a value in every place.

use guided_diffusion::Result;
use guided_diffusion::op::probe::{noise, spread, words};
use guided_diffusion::op::project::{edit, mask};
use guided_diffusion::op::sampling::{HISTORY, projecting, row};
use guided_diffusion::op::{DrawNoise, PredictXStart, Project, SamplerStep, ScaleInput, StartFromNoise, Threshold};
use guided_diffusion::tensor::Shape;

use super::Case;

pub(super) fn cases() -> Result<Vec<Case>> {
    let x = Shape::new(2, 5, 7, 3);
    let mut cases = vec![Case::new("odd elements", StartFromNoise, vec![noise(x), noise(x)], &[])?];
    for (name, key, shape) in [
        ("seed 0", [0, 0, 0, 0], Shape::new(2, 4, 4, 3)),
        ("blocks with a tail, one pixel", [1, 0, 7, 24], Shape::new(3, 1, 1, 1)),
        ("a seed of 64 bits, a late index", [u32::MAX, 0x9ABC_DEF0, u32::MAX - 4, 999], Shape::new(3, 5, 5, 3)),
    ] {
        cases.push(Case::new(name, DrawNoise { shape }, vec![words(&key)], &[])?);
    }
    cases.push(Case::new("odd elements", ScaleInput, vec![noise(x), row(|_| ())], &[])?);
    for (name, channels, guided, clip) in
        [("clipped", 6, false, 0.9), ("unclipped", 3, false, 0.0), ("guided", 6, true, 0.9)]
    {
        let mut operands = vec![noise(x), noise(x.with_channels(channels)), row(|row| row[5] = clip)];
        operands.extend(guided.then(|| noise(x)));
        cases.push(Case::new(name, PredictXStart { guided }, operands, &[])?);
    }
    for (name, shape, scale) in [
        ("above 1", Shape::new(2, 9, 7, 3), 3.0),
        ("below 1", Shape::new(2, 4, 4, 1), 0.1),
        ("a single value", Shape::new(3, 1, 1, 1), 2.0),
        ("many values", Shape::new(1, 24, 24, 3), 2.0),
    ] {
        cases.push(Case::new(name, Threshold, vec![spread(shape, scale, 0.0)], &[])?);
    }
    for (name, shape, projection) in [
        ("no projection", x, None),
        ("mask", x, Some(edit(1, false, true))),
        ("luma", x, Some(edit(1, true, false))),
        ("pool", Shape::new(2, 8, 12, 3), Some(edit(4, false, false))),
        ("all", Shape::new(2, 6, 4, 3), Some(edit(2, true, true))),
        ("all of one channel", Shape::new(1, 6, 4, 1), Some(edit(2, true, true))),
    ] {
        let projects = projection.is_some();
        let row = row(|row| if projects { projecting(row) } else { row[15] = 0.8 });
        let mut operands = vec![noise(shape), noise(shape), noise(shape), noise(shape), mask(shape.with_channels(1))];
        operands.extend([projection.unwrap_or_else(|| edit(3, true, true)), row]);
        cases.push(Case::new(name, Project, operands, &[])?);
    }
    for learn_sigma in [true, false] {
        for guided in [true, false] {
            let name = format!("learned sigma: {learn_sigma}, guided: {guided}");
            let (model, past) = (x.with_channels(if learn_sigma { 6 } else { 3 }), Shape { n: HISTORY * x.n, ..x });
            let mut operands = vec![noise(x), noise(x), noise(model), noise(x)];
            operands.extend([row(projecting), noise(past), noise(x)]);
            operands.extend(guided.then(|| noise(x)));
            cases.push(Case::new(name, SamplerStep { learn_sigma, guided }, operands, &[])?);
        }
    }
    Ok(cases)
}
