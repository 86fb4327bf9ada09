// A weight matrix in rows of vec4, stored as float32 or as float16 (unpacking needs no feature).
#if F16
@auto var<storage, read> w: array<vec2<u32>>;

fn weight(i: u32) -> vec4<f32> {
    let packed = w[i];
    return vec4<f32>(unpack2x16float(packed.x), unpack2x16float(packed.y));
}
#else
@auto var<storage, read> w: array<vec4<f32>>;

fn weight(i: u32) -> vec4<f32> {
    return w[i];
}
#end
