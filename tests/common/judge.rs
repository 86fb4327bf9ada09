//! An independent classifier of real Fashion-MNIST images (models/train/judge.py made it), which says what a generated
//! image shows. A few plain layers, evaluated on the CPU through the ops' own references.

use guided_diffusion::checkpoint::Checkpoint;
use guided_diffusion::op::{Conv2d, Op, Operator, Unary};
use guided_diffusion::tensor::{Shape, Tensor};
use serde_json::Value;

use super::fixture;

/// The judge's file and its layers.
pub struct Judge {
    weights: Checkpoint,
    layers: Vec<Value>,
}

impl Judge {
    pub fn open() -> Self {
        let weights = Checkpoint::open(fixture("judge.safetensors")).unwrap();
        let described: Value = serde_json::from_str(&weights.header().metadata["judge"]).unwrap();
        Self { layers: described["layers"].as_array().unwrap().clone(), weights }
    }

    /// The class that one 32x32 image (values in [-1, 1]) shows, and the features that the last layer reads.
    pub fn read(&self, image: &[f32]) -> (usize, Vec<f32>) {
        let mut features = Vec::new();
        let mut x = Tensor { shape: Shape::new(1, 32, 32, 1), data: image.to_vec() };
        for layer in &self.layers {
            let named = |part: &str| {
                let name = format!("{}.{part}", layer["name"].as_str().unwrap());
                (self.weights.tensor_f32(&name).unwrap(), self.weights.info(&name).unwrap().shape.clone())
            };
            x = match layer["op"].as_str().unwrap() {
                "conv" => {
                    let ((weight, shape), (bias, _)) = (named("weight"), named("bias"));
                    let output = x.shape.with_channels(shape[0]);
                    let h = Op::from(Conv2d::new(3, 1)).operator().reference(&[&x], &[&weight, &bias], output);
                    Unary::RELU.reference(&[&h], &[], output)
                }
                "max_pool" => {
                    let s = Shape { h: x.shape.h / 2, w: x.shape.w / 2, ..x.shape };
                    Tensor::from_fn(s, |n, y, column, c| {
                        let at = |dy, dx| x.at(n, 2 * y + dy, 2 * column + dx, c);
                        at(0, 0).max(at(0, 1)).max(at(1, 0).max(at(1, 1)))
                    })
                }
                "linear" => {
                    features.clone_from(&x.data);
                    let ((weight, shape), (bias, _)) = (named("weight"), named("bias"));
                    // The features are flattened channel by channel.
                    let s = x.shape;
                    let at = |i: usize| f64::from(x.at(0, i / s.w % s.h, i % s.w, i / s.pixels()));
                    let logit = |o: usize| {
                        let row = &weight[o * shape[1]..][..shape[1]];
                        let sum: f64 = row.iter().enumerate().map(|(i, w)| f64::from(*w) * at(i)).sum();
                        sum as f32 + bias[o]
                    };
                    Tensor { shape: Shape::vector(1, shape[0]), data: (0..shape[0]).map(logit).collect() }
                }
                other => panic!("the judge has a layer {other}"),
            };
        }
        let best = x.data.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        (best.unwrap().0, features)
    }
}
