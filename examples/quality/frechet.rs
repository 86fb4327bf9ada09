//! The Frechet distance between Gaussians fitted to features of real and of generated images (Heusel et al. 2017):
//!
//! ```text
//! |m - n|^2 + tr S + tr T - 2 tr sqrt(S T)
//! ```
//!
//! m, S: mean and covariance of the real images' features; n, T: those of the generated. There are fewer generated images
//! than features, so that the last trace comes from their Gram matrices: with F the features less m, a row an image, and
//! H F with their own mean removed, S T has the eigenvalues of (H F) S (H F)^T / (count - 1).

/// What the distance needs of the real images.
pub struct Real {
    mean: Vec<f64>,
    covariance: Vec<f64>,
}

impl Real {
    /// Of features of length `d`, an image after the other.
    pub fn new(features: &[f32], d: usize) -> Self {
        let count = (features.len() / d) as f64;
        let mut mean = vec![0.0; d];
        for row in features.chunks_exact(d) {
            mean.iter_mut().zip(row).for_each(|(m, v)| *m += f64::from(*v) / count);
        }
        let mut covariance = vec![0.0; d * d];
        for row in features.chunks_exact(d) {
            let centred: Vec<f64> = row.iter().zip(&mean).map(|(v, m)| f64::from(*v) - m).collect();
            for (sums, a) in covariance.chunks_exact_mut(d).zip(&centred) {
                sums.iter_mut().zip(&centred).for_each(|(sum, b)| *sum += a * b);
            }
        }
        covariance.iter_mut().for_each(|sum| *sum /= count - 1.0);
        Self { mean, covariance }
    }
}

/// Generated images' features, as products of any two images.
pub struct Generated<'a> {
    real: &'a Real,
    count: usize,
    /// F F^T.
    gram: Vec<f64>,
    /// F S F^T.
    through: Vec<f64>,
}

impl<'a> Generated<'a> {
    /// Of features as in [`Real::new`].
    pub fn new(real: &'a Real, features: &[f32]) -> Self {
        let d = real.mean.len();
        let count = features.len() / d;
        let f: Vec<f64> = features.iter().zip(real.mean.iter().cycle()).map(|(v, m)| f64::from(*v) - m).collect();
        let mut fs = vec![0.0; f.len()];
        for (row, out) in f.chunks_exact(d).zip(fs.chunks_exact_mut(d)) {
            for (a, s) in row.iter().zip(real.covariance.chunks_exact(d)) {
                out.iter_mut().zip(s).for_each(|(sum, s)| *sum += a * s);
            }
        }
        let products = |left: &[f64]| -> Vec<f64> {
            left.chunks_exact(d).flat_map(|a| f.chunks_exact(d).map(move |b| dot(a, b))).collect()
        };
        Self { real, count, gram: products(&f), through: products(&fs) }
    }

    /// The distance of those images that `chosen` takes.
    pub fn distance(&self, chosen: impl Fn(usize) -> bool) -> f64 {
        let d = self.real.mean.len();
        let chosen: Vec<usize> = (0..self.count).filter(|i| chosen(*i)).collect();
        let n = chosen.len() as f64;
        let of = |all: &[f64], i: usize, j: usize| all[chosen[i] * self.count + chosen[j]];
        let sum: f64 = (0..chosen.len())
            .flat_map(|i| (0..chosen.len()).map(move |j| (i, j)))
            .map(|(i, j)| of(&self.gram, i, j))
            .sum();
        let squares: f64 = (0..chosen.len()).map(|i| of(&self.gram, i, i)).sum();
        let means = sum / (n * n);
        let traces = (0..d).map(|i| self.real.covariance[i * d + i]).sum::<f64>() + (squares - n * means) / (n - 1.0);
        let rows: Vec<f64> =
            (0..chosen.len()).map(|i| (0..chosen.len()).map(|j| of(&self.through, i, j)).sum::<f64>() / n).collect();
        let all = rows.iter().sum::<f64>() / n;
        let mut centred: Vec<f64> = (0..chosen.len() * chosen.len())
            .map(|k| (k / chosen.len(), k % chosen.len()))
            .map(|(i, j)| (of(&self.through, i, j) - rows[i] - rows[j] + all) / (n - 1.0))
            .collect();
        let cross: f64 = eigenvalues(&mut centred, chosen.len()).iter().map(|v| v.max(0.0).sqrt()).sum();
        means + traces - 2.0 * cross
    }

    /// The distance's standard error, by leaving out each tenth of the images.
    pub fn standard_error(&self) -> f64 {
        const PARTS: usize = 10;
        let size = self.count.div_ceil(PARTS);
        let parts: Vec<f64> = (0..PARTS).map(|part| self.distance(|i| i / size != part)).collect();
        let mean = parts.iter().sum::<f64>() / PARTS as f64;
        let squares: f64 = parts.iter().map(|part| (part - mean).powi(2)).sum();
        (squares * (PARTS - 1) as f64 / PARTS as f64).sqrt()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Eigenvalues of a symmetric matrix, which is overwritten: Householder's reduction to a tridiagonal one, then QL steps with
/// implicit shifts (Press et al., Numerical Recipes, 11.3 and 11.4).
fn eigenvalues(a: &mut [f64], n: usize) -> Vec<f64> {
    let mut next = vec![0.0; n];
    for k in 0..n.saturating_sub(2) {
        let mut v: Vec<f64> = (k + 1..n).map(|i| a[i * n + k]).collect();
        let onto = -dot(&v, &v).sqrt().copysign(v[0]);
        next[k] = onto;
        v[0] -= onto;
        let length = dot(&v, &v).sqrt();
        if length == 0.0 {
            continue;
        }
        v.iter_mut().for_each(|x| *x /= length);
        let mut w: Vec<f64> = (k + 1..n).map(|i| dot(&a[i * n + k + 1..(i + 1) * n], &v)).collect();
        let along = dot(&w, &v);
        w.iter_mut().zip(&v).for_each(|(w, v)| *w -= along * v);
        for i in k + 1..n {
            let (vi, wi) = (2.0 * v[i - k - 1], 2.0 * w[i - k - 1]);
            let row = a[i * n + k + 1..(i + 1) * n].iter_mut();
            row.zip(v.iter().zip(&w)).for_each(|(x, (v, w))| *x -= vi * w + wi * v);
        }
    }
    if n > 1 {
        next[n - 2] = a[(n - 1) * n + n - 2];
    }
    let mut d: Vec<f64> = (0..n).map(|i| a[i * n + i]).collect();
    for l in 0..n {
        loop {
            let small = |i: &usize| *i + 1 == n || next[*i].abs() <= f64::EPSILON * (d[*i].abs() + d[*i + 1].abs());
            let m = (l..n).find(small).unwrap_or(n - 1);
            if m == l {
                break;
            }
            let slope = (d[l + 1] - d[l]) / (2.0 * next[l]);
            let mut g = d[m] - d[l] + next[l] / (slope + slope.hypot(1.0).copysign(slope));
            let (mut s, mut c, mut p) = (1.0, 1.0, 0.0);
            for i in (l..m).rev() {
                let (f, b) = (s * next[i], c * next[i]);
                let r = f64::hypot(f, g);
                next[i + 1] = r;
                (s, c) = if r == 0.0 { (0.0, 1.0) } else { (f / r, g / r) };
                g = d[i + 1] - p;
                let r = (d[i] - g) * s + 2.0 * c * b;
                p = s * r;
                d[i + 1] = g + p;
                g = c * r - b;
            }
            d[l] -= p;
            next[l] = g;
            next[m] = 0.0;
        }
    }
    d
}
