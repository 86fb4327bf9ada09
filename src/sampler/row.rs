//! The step table: every step of every sampler as 4 x 8 numbers, in float64, before the first step.
//!
//! A step is linear in at most eight images
//!
//! ```text
//! T = (x, x0, h1, h2, h3, noise, grad, known)
//! ```
//!
//! with coefficients that depend on the schedule alone. A row means
//!
//! ```text
//! F, v       = network(c_in x, time),  g = gradient(c_in x, time)      only where c_in is not 0
//! x0         = skip x + out F + guide g, clamped to [-clip, clip] where clip is not 0
//! s          = exp(1/2 (log_low + (log_high - log_low) (v + 1) / 2))   v is 0 without variance channels
//! T          = (x, x0, h1, h2, h3, s * normal draw, s^2 g, known)
//! x'         = next . T + P(proj . T)
//! h1, h2, h3 = keep . T, h1, h2                                        only where keep is not 0
//! ```
//!
//! g is the scaled gradient of the guidance classifier's log probability (0 without one), `known` the image of an edit
//! and P its projection. A draw is made where a noise coefficient is not 0; never in both of `next` and `proj`. `keep`
//! uses only x and x0; `proj` only x, x0, noise and known. `op::sampling` and `op::project` have the kernels.

use std::ops::{Add, Mul, Sub};

/// A linear combination of the eight images of T, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Combination(pub [f64; 8]);

const fn unit(i: usize) -> Combination {
    let mut c = [0.0; 8];
    c[i] = 1.0;
    Combination(c)
}

/// The image that is stepped.
pub const X: Combination = unit(0);
/// The predicted x_0.
pub const X0: Combination = unit(1);
/// What the last row that keeps something kept.
pub const H1: Combination = unit(2);
/// What the one before it kept.
pub const H2: Combination = unit(3);
/// The oldest that is kept.
pub const H3: Combination = unit(4);
/// A draw, times the row's standard deviation.
pub const NOISE: Combination = unit(5);
/// The guidance gradient, times the row's variance.
pub const GRAD: Combination = unit(6);
/// The image of an edit.
pub const KNOWN: Combination = unit(7);
/// Nothing.
pub const ZERO: Combination = Combination([0.0; 8]);

impl Combination {
    /// Whether every coefficient is 0.
    pub fn is_zero(&self) -> bool {
        *self == ZERO
    }

    /// The coefficient of a base image.
    pub fn of(&self, base: Self) -> f64 {
        self.0.iter().zip(base.0).map(|(a, b)| a * b).sum()
    }

    fn zip(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl Add for Combination {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
}

impl Sub for Combination {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
}

impl Mul<Combination> for f64 {
    type Output = Combination;

    fn mul(self, c: Combination) -> Combination {
        Combination(c.0.map(|a| self * a))
    }
}

/// How a row calls the network, and the predicted x_0 from its output.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Call {
    /// The time as the network takes it.
    pub time: f64,
    /// The network's input is x times this; 0: no call.
    pub c_in: f64,
    /// Weight of x in x_0.
    pub skip: f64,
    /// Weight of the network's output in x_0.
    pub out: f64,
    /// Weight of the guidance gradient in x_0, before it is clamped.
    pub guide: f64,
}

/// One row of a step table.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Row {
    /// The network's call.
    pub call: Call,
    /// x_0 is clamped to this range around 0; 0: it is not.
    pub clip: f64,
    /// The log variances between which the network interpolates; equal where it does not.
    pub log_variance: [f64; 2],
    /// x' outside the projection.
    pub next: Combination,
    /// x' within the projection.
    pub proj: Combination,
    /// What is kept for later rows.
    pub keep: Combination,
}

impl Row {
    /// A row that calls no network.
    pub fn of(next: Combination) -> Self {
        Self { next, ..Self::default() }
    }

    /// A row with a call.
    pub fn call(call: Call, clip: bool, next: Combination) -> Self {
        Self { call, clip: if clip { 1.0 } else { 0.0 }, next, ..Self::default() }
    }

    /// Whether the network runs.
    pub fn calls(&self) -> bool {
        self.call.c_in != 0.0
    }

    /// Evaluations of the network: two where it guides itself, `freely`, without a classifier.
    pub fn evaluations(&self, freely: bool) -> usize {
        usize::from(self.calls()) + usize::from(freely && self.guides())
    }

    /// Whether noise is drawn.
    pub fn draws(&self) -> bool {
        self.next.of(NOISE) != 0.0 || self.proj.of(NOISE) != 0.0
    }

    /// Whether the guidance classifier's gradient is used.
    pub fn guides(&self) -> bool {
        self.calls() && (self.call.guide != 0.0 || self.next.of(GRAD) != 0.0)
    }

    /// Whether the image of an edit or its projection is used.
    pub fn edits(&self) -> bool {
        self.next.of(KNOWN) != 0.0 || !self.proj.is_zero()
    }

    /// Scales the guidance gradient; 0: none.
    pub fn scale_guidance(&mut self, scale: f64) {
        self.call.guide *= scale;
        self.next = self.next + (scale - 1.0) * (self.next.of(GRAD) * GRAD);
    }

    /// Guides without a classifier (Ho & Salimans 2022): x_0 becomes u + scale (x_0 - u), with u the unconditional one, before
    /// it is clamped. `grad` is the network's output for the null class then.
    pub fn guide_freely(&mut self, scale: f64) {
        self.next = self.next - self.next.of(GRAD) * GRAD;
        self.call.guide = (1.0 - scale) * self.call.out;
        self.call.out *= scale;
    }

    /// The row as it is laid out for the device: head, next, proj, keep.
    pub fn numbers(&self) -> [[f64; 8]; 4] {
        let Call { time, c_in, skip, out, guide } = self.call;
        let [low, high] = self.log_variance;
        [[time, c_in, skip, out, guide, self.clip, low, high], self.next.0, self.proj.0, self.keep.0]
    }
}
