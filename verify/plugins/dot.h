/* What the kernels of dot in this folder share: sizes, and sums of registers. */
#ifndef QK256_PLUGINS_DOT_H
#define QK256_PLUGINS_DOT_H

#include <string.h>

#include "qk256_kernel.h"

/* Elements and bytes of a block. */
typedef struct block {
    size_t elements, bytes;
} block;

/* Writes the bytes of that many elements to *bytes; 0 if they are no whole blocks, or more than size_t counts. */
static inline int whole_blocks(block kind, size_t elements, size_t *bytes) {
    return elements % kind.elements == 0 && !__builtin_mul_overflow(elements / kind.elements, kind.bytes, bytes);
}

/* Whether the rows of a call lie within its buffers. Behind the last row there need be no gap. */
static inline int rows_fit(const qk256_call *call, size_t row_bytes) {
    size_t last_row;
    if (call->rows < 2) {
        return call->rows == 0 || call->packed_len >= row_bytes;
    }
    return call->row_stride >= row_bytes && !__builtin_mul_overflow(call->rows - 1, call->row_stride, &last_row) &&
           call->packed_len >= last_row && call->packed_len - last_row >= row_bytes;
}

/* Whether the sizes of a call are right, with such blocks of weights and of activations. */
static inline int fits(const qk256_call *call, block of_weights, block of_x) {
    size_t row_bytes, x_bytes;
    return whole_blocks(of_weights, call->cols, &row_bytes) && whole_blocks(of_x, call->cols, &x_bytes) &&
           rows_fit(call, row_bytes) && call->x_len >= x_bytes && call->out_len >= call->rows;
}

#if defined(__x86_64__)

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma,f16c")))
/* Parts of such functions end up within them: a call for each register would cost more than its work. */
#define AVX2_PART __attribute__((target("avx2,fma,f16c"), always_inline)) static inline

AVX2_PART __m256i load(const void *bytes) {
    return _mm256_loadu_si256((const __m256i *)bytes);
}

/* The f16 at any address, subnormal numbers, infinities and NaN included. */
AVX2_PART float half(const uint8_t *bytes) {
    uint16_t bits;
    memcpy(&bits, bytes, sizeof bits);
    return _cvtsh_ss(bits);
}

/* The sums of neighbours, in 32 bits. */
AVX2_PART __m256i widen(__m256i sums) {
    return _mm256_madd_epi16(sums, _mm256_set1_epi16(1));
}

/* The sum of all lanes: of those 4, 2 and 1 apart. */
AVX2_PART float total_f32(__m256 lanes) {
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

/* The sum of all lanes, which must fit into 32 bits. */
AVX2_PART int32_t total_i32(__m256i lanes) {
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, _MM_SHUFFLE(1, 0, 3, 2)));
    return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, _MM_SHUFFLE(2, 3, 0, 1))));
}

#endif

#endif
