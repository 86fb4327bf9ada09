// What an edit adds to a row's x': known's share of `next`, and P z with z the row's `proj`. P = A^+ A is the orthogonal
// projection on what a degradation A sees: a mask m (1: known), a mix of the channels by weights w, the average of blocks.
//
//     (P z)_c = m w_c sum(m w . z) / sum(m w . w)      sums over a block and all channels
//
// or each channel by itself where no mix is given. A block without a known pixel gives 0. One invocation per block.
struct Params {
    samples: u32,
    height: u32,
    width: u32,
    channels: u32,
}
struct Edit {
    pool: u32, // side of a block
    mixes: u32, // 1 where the channels are mixed
    masked: u32, // 1 where there is a mask
    unused: u32,
    weights: array<f32, 4>,
}
#import row
@auto var<uniform> p: Params;
@auto var<storage, read> x: array<f32>;
@auto var<storage, read> x0: array<f32>;
@auto var<storage, read> noise: array<f32>;
@auto var<storage, read> known: array<f32>;
@auto var<storage, read> mask: array<f32>;
@auto var<storage, read> edit: Edit;
@auto var<storage, read> row: Row;
@auto var<storage, read_write> out: array<f32>;

fn term(coefficient: f32, value: f32) -> f32 {
    return select(0.0, coefficient * value, coefficient != 0.0);
}

fn z(i: u32) -> f32 {
    return term(row.proj[0], x[i]) + term(row.proj[1], x0[i]) + term(row.proj[5], noise[i])
        + term(row.proj[7], known[i]);
}

fn shown(pixel: u32) -> f32 {
    return select(1.0, mask[pixel], edit.masked == 1u);
}

fn weight(channel: u32) -> f32 {
    return select(1.0, edit.weights[min(channel, 3u)], edit.mixes == 1u);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    // Without a projection every pixel is a block, and `edit` may be of another run.
    let projects = row.proj[0] != 0.0 || row.proj[1] != 0.0 || row.proj[5] != 0.0 || row.proj[7] != 0.0;
    let pool = select(1u, edit.pool, projects);
    let columns = p.width / pool;
    let blocks = columns * (p.height / pool);
    let block = id.y * 4194240u + id.x; // 65,535 workgroups a row of the grid
    if (id.x >= 4194240u || block >= p.samples * blocks) {
        return;
    }
    let corner = (block / blocks * p.height + block % blocks / columns * pool) * p.width + block % columns * pool;
    let mixes = projects && edit.mixes == 1u;
    for (var c = 0u; c < p.channels; c++) {
        // A mix is one sum over all channels; else each channel has its own.
        var sum = 0.0;
        var norm = 0.0;
        for (var i = 0u; i < pool * pool; i++) {
            let pixel = corner + i / pool * p.width + i % pool;
            if (projects) {
                let m = shown(pixel);
                for (var d = select(c, 0u, mixes); d < select(c + 1u, p.channels, mixes); d++) {
                    sum += m * weight(d) * z(pixel * p.channels + d);
                    norm += m * weight(d) * weight(d);
                }
            }
        }
        let mean = select(0.0, sum / norm, norm > 0.0);
        for (var i = 0u; i < pool * pool; i++) {
            let pixel = corner + i / pool * p.width + i % pool;
            let at = pixel * p.channels + c;
            let projected = select(0.0, shown(pixel) * weight(c) * mean, projects);
            out[at] = term(row.next[7], known[at]) + projected;
        }
    }
}
