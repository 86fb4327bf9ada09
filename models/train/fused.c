/* act(x * scale + shift) over bfloat16 pixels of channels-last images, and its gradient: what a residual block does
   between two convolutions, in one pass where PyTorch's own operations take six.  fused.py compiles and calls it.

   x and y are [n][pixels][channels]; scale, shift and all sums are float [n][channels]. */

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t bf16;

static inline float up(bf16 x) {
    uint32_t bits = (uint32_t)x << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

static inline bf16 down(float f) { /* to the nearest, ties to even */
    uint32_t bits;
    memcpy(&bits, &f, 4);
    return (bf16)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static inline float sigmoid(float z) { return 1.0f / (1.0f + expf(-z)); }

/* first = the sums of x, second = of x^2. */
void moments(const bf16 *x, float *first, float *second, long n, long pixels, long channels) {
    for (long i = 0; i < n; i++, first += channels, second += channels) {
        memset(first, 0, channels * sizeof(float));
        memset(second, 0, channels * sizeof(float));
        for (long p = 0; p < pixels; p++, x += channels)
            for (long c = 0; c < channels; c++) {
                float v = up(x[c]);
                first[c] += v;
                second[c] += v * v;
            }
    }
}

/* y = silu(x * scale + shift) */
void forward(const bf16 *restrict x, const float *restrict scale, const float *restrict shift, bf16 *restrict y, long n, long pixels,
             long channels) {
    for (long i = 0; i < n; i++, scale += channels, shift += channels)
        for (long p = 0; p < pixels; p++, x += channels, y += channels)
            for (long c = 0; c < channels; c++) {
                float z = up(x[c]) * scale[c] + shift[c];
                y[c] = down(z * sigmoid(z));
            }
}

static inline float slope(float z) {
    float s = sigmoid(z);
    return s * (1 + z * (1 - s));
}

/* The gradients of shift and scale; dz, that of the activation's input, takes dy's place. */
void backward_sums(const bf16 *restrict x, bf16 *restrict dy, const float *restrict scale, const float *restrict shift,
                   float *restrict dshift, float *restrict dscale, long n, long pixels, long channels) {
    for (long i = 0; i < n; i++, scale += channels, shift += channels, dshift += channels, dscale += channels) {
        memset(dshift, 0, channels * sizeof(float));
        memset(dscale, 0, channels * sizeof(float));
        for (long p = 0; p < pixels; p++, x += channels, dy += channels)
            for (long c = 0; c < channels; c++) {
                float v = up(x[c]), dz = up(dy[c]) * slope(v * scale[c] + shift[c]);
                dshift[c] += dz;
                dscale[c] += dz * v;
                dy[c] = down(dz);
            }
    }
}

/* dx = dz * scale + x * slope + offset, in dz's place */
void backward(const bf16 *restrict x, bf16 *restrict dz, const float *restrict scale, const float *restrict slopes,
              const float *restrict offset, long n, long pixels, long channels) {
    for (long i = 0; i < n; i++, scale += channels, slopes += channels, offset += channels)
        for (long p = 0; p < pixels; p++, x += channels, dz += channels)
            for (long c = 0; c < channels; c++)
                dz[c] = down(up(dz[c]) * scale[c] + up(x[c]) * slopes[c] + offset[c]);
}
