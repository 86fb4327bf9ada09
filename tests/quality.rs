//! fashion32's figure: the share of 200 samples that an independent classifier labels as asked. Minutes on a
//! software adapter, so this target runs only on request:
//!
//!     scripts/test-native.sh --test quality -- --nocapture

mod common;

use common::builtin::{ddim25, labelled_as_asked};
use common::gpu::gpus;

#[test]
fn an_independent_classifier_labels_most_samples_as_asked() {
    let right = labelled_as_asked(&gpus()[0], &ddim25(), 200, 20);
    println!("{right} of 200 labelled as asked");
    assert!(right >= 170, "only {right} of 200 samples are labelled as asked; 170 are expected");
}
