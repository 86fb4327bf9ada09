// A weight matrix in rows of vec4, by the define F16: 0 is float32, 1 float16 that is read as float32 (which needs no
// feature), 2 float16.
#import factors
#if F16 == 1
@auto var<storage, read> w: array<vec2<u32>>;

fn weight(i: u32) -> vec4<f32> {
    let packed = w[i];
    return vec4<f32>(unpack2x16float(packed.x), unpack2x16float(packed.y));
}
#else
@auto var<storage, read> w: array<Factor4>;

fn weight(i: u32) -> Factor4 {
    return w[i];
}
#end
