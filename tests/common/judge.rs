//! An independent classifier of real pictures (models/train/judge.py made it), which says what a generated image shows. A few
//! plain layers, evaluated on the CPU.

use guided_diffusion::checkpoint::Checkpoint;
use serde_json::Value;

use super::fixture;

/// Side of the images.
const SIDE: usize = 32;

/// The judge's layers.
pub struct Judge(Vec<Layer>);

enum Layer {
    /// 3x3, stride 1, zeros around the image, then ReLU: weights [out, in, 3, 3] and biases.
    Conv(Vec<f32>, Vec<f32>),
    /// 2x2, stride 2.
    MaxPool,
    /// Weights [out, in] and biases.
    Linear(Vec<f32>, Vec<f32>),
}

/// What it sees in an image.
pub struct Seen {
    /// One per class.
    pub logits: Vec<f32>,
    /// The last layer's input, one value per feature.
    pub features: Vec<f32>,
}

impl Seen {
    /// The class that the image shows.
    pub fn label(&self) -> usize {
        self.logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0
    }
}

impl Judge {
    /// Opens the judge in `tests/fixtures/NAME`.
    pub fn open(name: &str) -> Self {
        let file = Checkpoint::open(fixture(name)).unwrap();
        let described: Value = serde_json::from_str(&file.header().metadata["judge"]).unwrap();
        let layer = |layer: &Value| {
            let named = |part| file.tensor_f32(&format!("{}.{part}", layer["name"].as_str().unwrap())).unwrap();
            match layer["op"].as_str().unwrap() {
                "conv" => Layer::Conv(named("weight"), named("bias")),
                "max_pool" => Layer::MaxPool,
                "linear" => Layer::Linear(named("weight"), named("bias")),
                other => panic!("the judge has a layer {other}"),
            }
        };
        Self(described["layers"].as_array().unwrap().iter().map(layer).collect())
    }

    /// Looks at one 32x32 image, values in [-1, 1], one channel after the other.
    pub fn read(&self, image: &[f32]) -> Seen {
        let (mut x, mut side, mut features) = (image.to_vec(), SIDE, Vec::new());
        for layer in &self.0 {
            match layer {
                Layer::Conv(weight, bias) => x = conv(&x, side, weight, bias),
                Layer::MaxPool => {
                    side /= 2;
                    let at = |k: usize| (k / side * 2) * side * 2 + k % side * 2;
                    let most =
                        |k| [0, 1, 2 * side, 2 * side + 1].map(|by| x[at(k) + by]).into_iter().fold(f32::MIN, f32::max);
                    x = (0..x.len() / 4).map(most).collect();
                }
                Layer::Linear(weight, bias) => {
                    let dot = |row: &[f32]| row.iter().zip(&x).map(|(w, v)| w * v).sum::<f32>();
                    let logits = weight.chunks_exact(x.len()).zip(bias).map(|(row, bias)| dot(row) + bias).collect();
                    features = std::mem::replace(&mut x, logits);
                }
            }
        }
        Seen { logits: x, features }
    }
}

fn conv(x: &[f32], side: usize, weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let area = side * side;
    let mut out = Vec::with_capacity(bias.len() * area);
    for (bias, taps) in bias.iter().zip(weight.chunks_exact(weight.len() / bias.len())) {
        let mut sums = vec![*bias; area];
        for (channel, taps) in x.chunks_exact(area).zip(taps.chunks_exact(9)) {
            for (k, tap) in taps.iter().enumerate() {
                let (down, right) = (k / 3, k % 3);
                // Where the tap lies within the image.
                for y in 1usize.saturating_sub(down)..side.min(side + 1 - down) {
                    let (from, to) = (1usize.saturating_sub(right), side.min(side + 1 - right));
                    let source = &channel[(y + down - 1) * side + from + right - 1..][..to - from];
                    sums[y * side + from..y * side + to].iter_mut().zip(source).for_each(|(sum, v)| *sum += tap * v);
                }
            }
        }
        out.extend(sums.iter().map(|sum| sum.max(0.0)));
    }
    out
}
