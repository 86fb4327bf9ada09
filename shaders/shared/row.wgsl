// One row of a step table; src/sampler/row.rs has its meaning. The eight images: x, x0, h1, h2, h3, noise, grad, known.
struct Row {
    time: f32,
    c_in: f32,
    skip: f32,
    out: f32,
    guide: f32,
    clip: f32,
    log_low: f32,
    log_high: f32,
    next: array<f32, 8>,
    proj: array<f32, 8>,
    keep: array<f32, 8>,
}
