/* Kernels in plain C for qk256: unpack, dequantize and gemv, slow and short. A place to start from, in C11 and in
 * C++17. */
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

/* Whether the matrix of a call lies within its buffers. */
static int fits(const qk256_call *call) {
    size_t row_bytes, scales_needed, last_row = 0;
    if (!product(blocks(call->cols), QK256_BLOCK_BYTES, &row_bytes)) {
        return 0;
    }
    if (call->scales &&
        (!product(call->rows, blocks(call->cols), &scales_needed) || call->scales_len < scales_needed)) {
        return 0;
    }
    if (call->rows == 0) {
        return 1;
    }
    /* With one row nobody looks at the stride. */
    if (call->rows > 1 &&
        (call->row_stride < row_bytes || !product(call->rows - 1, call->row_stride, &last_row))) {
        return 0;
    }
    return call->packed_len >= last_row && call->packed_len - last_row >= row_bytes;
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

static int32_t unpack(const qk256_call *call) {
    uint8_t *codes = (uint8_t *)call->out;
    if (!fits(call)) {
        return QK256_REFUSED;
    }
    for (size_t i = 0; i < call->cols; i++) {
        codes[i] = (uint8_t)code(call->packed, i);
    }
    return QK256_DONE;
}

static int32_t dequantize(const qk256_call *call) {
    float *out = (float *)call->out;
    if (!fits(call)) {
        return QK256_REFUSED;
    }
    for (size_t i = 0; i < call->cols; i++) {
        out[i] = WEIGHTS[code(call->packed, i)] * call->scales[i / QK256_BLOCK_ELEMENTS];
    }
    return QK256_DONE;
}

static int32_t gemv(const qk256_call *call) {
    float *y = (float *)call->out;
    if (!fits(call) || call->x_len < call->cols || call->out_len < call->rows) {
        return QK256_REFUSED;
    }
    for (size_t r = 0; r < call->rows; r++) {
        const float *scales = call->scales ? call->scales + r * blocks(call->cols) : NULL;
        y[r] = dot(call->packed + r * call->row_stride, scales, (const float *)call->x, call->cols);
    }
    return QK256_DONE;
}

/* Another kernel is one more line, whatever it computes. */
static const qk256_kernel KERNELS[] = {
    QK256_KERNEL("plain", "unpack", "qk256", "f32", "", QK256_FLAG_REFUSES_WRONG_SIZES, unpack),
    QK256_KERNEL("plain", "dequantize", "qk256", "f32", "", QK256_FLAG_REFUSES_WRONG_SIZES, dequantize),
    QK256_KERNEL("plain", "gemv", "qk256", "f32", "", QK256_FLAG_REFUSES_WRONG_SIZES, gemv),
};

const qk256_kernel *qk256_kernels(uint32_t abi_version, size_t *count) {
    *count = sizeof KERNELS / sizeof KERNELS[0];
    return abi_version == QK256_ABI_VERSION ? KERNELS : NULL;
}
