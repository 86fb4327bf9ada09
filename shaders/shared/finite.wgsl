// Whether x is a number: not NaN, not infinite. By its bits, since WGSL lets a driver assume that values are finite, and its
// min, max and clamp of NaN may be a number, which would hide a broken network from the check of the images.
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}
