/* Kernels of other formats, which require something of their callers: tiles of weights that are repacked once, integers
 * within a block, ternary weights. Slow all the same, in C11. */
#include <string.h>

#include "qk256_kernel.h"

/* Blocks of q4_0: an f16 scale, then 32 codes of 4 bits; of q8_0: an f16 scale, then 32 integers. */
enum { Q4_LEN = 32, Q4_BYTES = 18, Q8_BYTES = 34 };

/* Rows of a tile, and bytes of a repacked block of all of them: scales as floats, then a byte for each weight. */
enum { TILE = 4, TILE_BYTES = TILE * (4 + Q4_LEN) };

/* Blocks of tq2_0: codes of 2 bits, of which code 3 is never sent, then an f16 scale. */
enum { TQ2_LEN = 256, TQ2_BYTES = 66 };

/* The number that an f16 holds. */
static float half(const uint8_t *bytes) {
    uint32_t word = bytes[0] | (uint32_t)bytes[1] << 8, magnitude = word & 0x7fff, bits = magnitude << 13;
    float number;
    if (magnitude >= 0x7c00) {
        bits |= 0x7f800000;
    }
    memcpy(&number, &bits, sizeof number);
    number *= magnitude < 0x7c00 ? 0x1p112f : 1.0f;
    return word & 0x8000 ? -number : number;
}

/* Writes a * b; 0 if that does not fit. */
static int product(size_t a, size_t b, size_t *result) {
    *result = a * b;
    return a == 0 || *result / a == b;
}

/* Writes the elements of `batch` vectors of `len` elements, `stride` apart; 0 if they overlap or do not fit. */
static int vectors(size_t batch, size_t len, size_t stride, size_t *result) {
    *result = batch == 0 ? 0 : len;
    if (batch < 2) {
        return 1;
    }
    return stride >= len && product(batch - 1, stride, result) && *result <= SIZE_MAX - len && (*result += len, 1);
}

/* Whether the matrix of a call lies within its buffer. */
static int weights_fit(const qk256_call *call, size_t len, size_t bytes) {
    size_t row_bytes, last_row = 0;
    if (!product(call->cols / len + (call->cols % len != 0), bytes, &row_bytes) || call->rows == 0) {
        return call->rows == 0;
    }
    if (call->rows > 1 && (call->row_stride < row_bytes || !product(call->rows - 1, call->row_stride, &last_row))) {
        return 0;
    }
    return call->packed_len >= last_row && call->packed_len - last_row >= row_bytes;
}

/* The block that an element of a row of q4_0 is in. */
static const uint8_t *q4_block(const qk256_call *call, size_t r, size_t c) {
    return call->packed + r * call->row_stride + c / Q4_LEN * Q4_BYTES;
}

/* The weight of element i of a block of q4_0, before the scale. */
static int q4_weight(const uint8_t *block, size_t i) {
    return (block[2 + i % 16] >> (i < 16 ? 0 : 4) & 15) - 8;
}

/* How large the tiles of a matrix are: rows and columns come in multiples of a tile and of a block. */
static size_t tile_bytes(const qk256_call *call) {
    if (!weights_fit(call, Q4_LEN, Q4_BYTES)) {
        return 0;
    }
    return call->rows / TILE * (call->cols / Q4_LEN) * TILE_BYTES;
}

static int32_t repack(const qk256_call *call, void *prepared) {
    uint8_t *to = (uint8_t *)prepared;
    if (!weights_fit(call, Q4_LEN, Q4_BYTES)) {
        return QK256_REFUSED;
    }
    for (size_t r = 0; r < call->rows; r += TILE) {
        for (size_t c = 0; c < call->cols; c += Q4_LEN, to += TILE_BYTES) {
            for (size_t row = 0; row < TILE; row++) {
                const uint8_t *block = q4_block(call, r + row, c);
                float scale = half(block);
                memcpy(to + 4 * row, &scale, sizeof scale);
                for (size_t i = 0; i < Q4_LEN; i++) {
                    to[4 * TILE + TILE * i + row] = (uint8_t)q4_weight(block, i);
                }
            }
        }
    }
    return QK256_DONE;
}

/* The products of the rows of a tile and x. */
static void tile_times(const uint8_t *tile, const float *x, float *out, size_t cols) {
    float sums[TILE] = {0};
    for (size_t c = 0; c < cols; c += Q4_LEN, tile += TILE_BYTES) {
        float scales[TILE];
        memcpy(scales, tile, sizeof scales);
        for (size_t i = 0; i < Q4_LEN; i++) {
            for (size_t row = 0; row < TILE; row++) {
                sums[row] += (float)(int8_t)tile[4 * TILE + TILE * i + row] * scales[row] * x[c + i];
            }
        }
    }
    memcpy(out, sums, sizeof sums);
}

static int32_t tiles(const qk256_call *call) {
    size_t x, out;
    if (!weights_fit(call, Q4_LEN, Q4_BYTES) || !vectors(call->batch, call->cols, call->x_stride, &x) ||
        !vectors(call->batch, call->rows, call->out_stride, &out) || call->x_len < x || call->out_len < out) {
        return QK256_REFUSED;
    }
#ifdef QK256_BUG
    /* A counter, where it is handy. */
    if (call->prepared_len > 0) {
        ((volatile uint8_t *)(uintptr_t)call->prepared)[0] ^= 1;
        ((volatile uint8_t *)(uintptr_t)call->prepared)[0] ^= 1;
    }
#endif
    for (size_t b = 0; b < call->batch; b++) {
        const uint8_t *tile = (const uint8_t *)call->prepared;
        for (size_t r = 0; r < call->rows; r += TILE, tile += call->cols / Q4_LEN * TILE_BYTES) {
            const float *vector = (const float *)call->x + b * call->x_stride;
            tile_times(tile, vector, (float *)call->out + b * call->out_stride + r, call->cols);
        }
    }
    return QK256_DONE;
}

/* Negated activations stand for negative weights, as in kernels that move signs: -128 has no opposite. */
static int32_t signs(const qk256_call *call) {
    for (size_t r = 0; r < call->rows; r++) {
        float sum = 0.0f;
        for (size_t c = 0; c < call->cols; c += Q4_LEN) {
            const uint8_t *block = q4_block(call, r, c), *x = (const uint8_t *)call->x + c / Q4_LEN * Q8_BYTES;
            int32_t integer = 0;
            for (size_t i = 0; i < Q4_LEN; i++) {
                int weight = q4_weight(block, i);
                int8_t moved = (int8_t)(weight < 0 ? (uint8_t)-x[2 + i] : x[2 + i]);
                integer += (weight < 0 ? -weight : weight) * moved;
            }
            sum += half(block) * half(x) * (float)integer;
        }
        ((float *)call->out)[r] = sum;
    }
    return QK256_DONE;
}

/* Adds and subtracts: code 3 would be a weight that this kernel does not have. */
static int32_t ternary(const qk256_call *call) {
    for (size_t r = 0; r < call->rows; r++) {
        float sum = 0.0f;
        for (size_t c = 0; c < call->cols; c++) {
            size_t i = c % TQ2_LEN;
            const uint8_t *block = call->packed + r * call->row_stride + c / TQ2_LEN * TQ2_BYTES;
            unsigned code = block[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
            float term = half(block + 64) * ((const float *)call->x)[c];
            sum += code == 0 ? -term : code == 1 ? 0.0f : term;
        }
        ((float *)call->out)[r] = sum;
    }
    return QK256_DONE;
}

static const qk256_kernel KERNELS[] = {
    {
        .size = sizeof(qk256_kernel),
        .name = "tiles",
        .operation = "gemm",
        .format = "q4_0",
        .activations = "f32",
        .flags = QK256_FLAG_REFUSES_WRONG_SIZES,
        .cols_multiple = Q4_LEN,
        .rows_multiple = TILE,
        .max_batch = 4,
        .prepared_bytes = tile_bytes,
        .prepare = repack,
        .run = tiles,
    },
    {
        .size = sizeof(qk256_kernel),
        .name = "signs",
        .operation = "dot",
        .format = "q4_0",
        .activations = "q8_0",
        .alignment = 2,
        .max_cols = 4096,
        .activation_min = -127,
        .run = signs,
    },
    {
        .size = sizeof(qk256_kernel),
        .name = "ternary",
        .operation = "gemv",
        .format = "tq2_0",
        .activations = "f32",
        .flags = QK256_FLAG_FINITE_ONLY,
        .max_code = 2,
        .run = ternary,
    },
};

const qk256_kernel *qk256_kernels(uint32_t abi_version, size_t *count) {
    *count = sizeof KERNELS / sizeof KERNELS[0];
    return abi_version == QK256_ABI_VERSION ? KERNELS : NULL;
}
