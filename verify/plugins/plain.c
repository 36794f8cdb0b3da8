/* A kernel in plain C: every operation, slow and short. A place to start from, in C11 and in C++17. */
#include "qk256_kernel.h"

static const float WEIGHTS[4] = {-2.0f, -1.0f, 1.0f, 2.0f};

/* The code of element i, where `packed` is the start of its row. */
static unsigned code(const uint8_t *packed, size_t i) {
    return packed[i / 4] >> (2 * (i % 4)) & 3;
}

/* Blocks that hold N elements. Rounded up without an addition that could overflow. */
static size_t blocks(size_t elements) {
    return elements / QK256_BLOCK_ELEMENTS + (elements % QK256_BLOCK_ELEMENTS != 0);
}

/* Writes a * b; 0 if that does not fit. Wrong sizes come on purpose, and a product that wraps around looks
 * small. */
static int product(size_t a, size_t b, size_t *result) {
    *result = a * b;
    return a == 0 || *result / a == b;
}

/* Whether a matrix of this shape, with its vectors, lies within these lengths. */
static int fits(size_t packed_len, const float *scales, size_t scales_len, size_t x_len, size_t y_len,
                size_t rows, size_t cols, size_t row_stride) {
    size_t row_bytes, scales_needed, last_row = 0;
    if (x_len < cols || y_len < rows) {
        return 0;
    }
    if (!product(blocks(cols), QK256_BLOCK_BYTES, &row_bytes)) {
        return 0;
    }
    if (scales && (!product(rows, blocks(cols), &scales_needed) || scales_len < scales_needed)) {
        return 0;
    }
    if (rows == 0) {
        return 1;
    }
    /* With one row nobody looks at the stride. */
    if (rows > 1 && (row_stride < row_bytes || !product(rows - 1, row_stride, &last_row))) {
        return 0;
    }
    return packed_len >= last_row && packed_len - last_row >= row_bytes;
}

/* The product of one row and x, added from left to right. `scales` are those of the row, if there are any. */
static float dot(const uint8_t *row, const float *scales, const float *x, size_t cols) {
    float sum = 0.0f;
#ifdef QK256_BUG
    /* What is left over from eights loses its last column. */
    cols -= cols % 8 == 7;
#endif
    for (size_t c = 0; c < cols; c++) {
        float weight = WEIGHTS[code(row, c)];
        /* Exact, unless it overflows: a weight only moves the exponent. */
        sum += (scales ? weight * scales[c / QK256_BLOCK_ELEMENTS] : weight) * x[c];
    }
    return sum;
}

uint32_t qk256_abi_version(void) {
    return QK256_ABI_VERSION;
}

const char *qk256_kernel_name(void) {
    return "plain";
}

uint32_t qk256_flags(void) {
    return QK256_FLAG_CHECKS_SIZES;
}

int32_t qk256_unpack(const uint8_t *packed, size_t packed_len, uint8_t *codes, size_t codes_len) {
    if (packed_len / QK256_BLOCK_BYTES < blocks(codes_len)) {
        return QK256_REFUSED;
    }
    for (size_t i = 0; i < codes_len; i++) {
        codes[i] = (uint8_t)code(packed, i);
    }
    return QK256_DONE;
}

int32_t qk256_dequantize(const uint8_t *packed, size_t packed_len, const float *scales, size_t scales_len,
                         float *out, size_t out_len) {
    if (packed_len / QK256_BLOCK_BYTES < blocks(out_len) || scales_len < blocks(out_len)) {
        return QK256_REFUSED;
    }
    for (size_t i = 0; i < out_len; i++) {
        out[i] = WEIGHTS[code(packed, i)] * scales[i / QK256_BLOCK_ELEMENTS];
    }
    return QK256_DONE;
}

int32_t qk256_gemv(const uint8_t *packed, size_t packed_len, const float *scales, size_t scales_len,
                   const float *x, size_t x_len, float *y, size_t y_len, size_t rows, size_t cols,
                   size_t row_stride) {
    if (!fits(packed_len, scales, scales_len, x_len, y_len, rows, cols, row_stride)) {
        return QK256_REFUSED;
    }
    for (size_t r = 0; r < rows; r++) {
        const float *row_scales = scales ? scales + r * blocks(cols) : NULL;
        y[r] = dot(packed + r * row_stride, row_scales, x, cols);
    }
    return QK256_DONE;
}
