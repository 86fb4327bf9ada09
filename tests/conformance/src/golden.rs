//! The golden fixtures: cases, and what the reference computes of them.

use guided_diffusion::Checkpoint;
use serde_json::Value;

use crate::solvers::Solvers;

/// This sample is chaotic: a relative change of 1e-10 in its start changes the reference's own end by 7.5e-4, and the
/// reference in float32 ends 5.6e-2 from itself in float64. So its steps are compared one by one, each from where the
/// reference stood, and its end at `CALM_SCALE`, where the reference's float32 is within 1e-6 of itself, while
/// guidance still moves the sample by a quarter of its size.
pub const CHAOTIC: &str = "ancestral_guided";
pub(crate) const CALM_SCALE: f32 = 30.0;

/// tests/fixtures.
#[derive(Debug)]
pub struct Golden {
    cases: Vec<Value>,
    outputs: Checkpoint,
    calm: Checkpoint,
    pub(crate) steps: Checkpoint,
    /// The samplers' own fixtures.
    pub solvers: Solvers,
}

impl Golden {
    /// The files cases.json, and under their stems outputs, guided and guided_steps.
    ///
    /// # Panics
    /// cases.json is not the list of cases.
    pub fn new(
        cases: &str,
        outputs: Checkpoint,
        guided: Checkpoint,
        guided_steps: Checkpoint,
        solvers: Solvers,
    ) -> Self {
        let cases = serde_json::from_str(cases).unwrap();
        Self { cases, outputs, calm: guided, steps: guided_steps, solvers }
    }

    /// Every case.
    pub fn cases(&self) -> &[Value] {
        &self.cases
    }

    /// The cases of one kind (unet, classifier, sampler, schedule or preset) with their places.
    pub fn of(&self, kind: &str) -> impl Iterator<Item = (usize, &Value)> {
        self.cases.iter().enumerate().filter(move |(_, case)| case["kind"] == kind)
    }

    /// [`Golden::of`] without whole public architectures, which take minutes; of their outputs the fixtures keep a part.
    pub fn small(&self, kind: &str) -> impl Iterator<Item = (usize, &Value)> {
        self.of(kind).filter(|(_, case)| case.get("stride").is_none())
    }

    /// A case's name.
    ///
    /// # Panics
    /// There is no such case.
    pub fn name(&self, i: usize) -> &str {
        self.cases[i]["name"].as_str().unwrap()
    }

    /// Every expected output, as `kind/name/output`.
    pub fn outputs(&self) -> &Checkpoint {
        &self.outputs
    }

    /// What a case must give as `output`.
    ///
    /// # Panics
    /// There is no such case or output.
    pub fn expected(&self, i: usize, output: &str) -> Vec<f32> {
        let file = if self.name(i) == CHAOTIC { &self.calm } else { &self.outputs };
        let kind = self.cases[i]["kind"].as_str().unwrap();
        file.tensor_f32(&format!("{kind}/{}/{output}", self.name(i))).unwrap()
    }
}
