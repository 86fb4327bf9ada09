// Whether a float of these bits is a number: not NaN, not infinite. WGSL lets a driver assume that values are finite, and its
// min, max and clamp of NaN may be a number, which would hide a broken network from the check of the images. Ask it of what
// was just read from a buffer: of results of arithmetic, and of a function's float arguments, a compiler with fast math
// (Metal's default) may conclude that the answer is yes.
fn is_finite(bits: u32) -> bool {
    return (bits & 0x7f800000u) != 0x7f800000u;
}
