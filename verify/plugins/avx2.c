/* Kernels in C with AVX2 and FMA. The table declares both features, so that no other CPU is asked to run them. On another
 * architecture nothing is supported.
 *
 * Order of summation: column c goes to lane c % 8 of the partial sum c / 8 % 8, from left to right. At the
 * end partial sums 4, 2 and 1 apart are added, then lanes 4, 2 and 1 apart: the same tree for each row,
 * however many there are.
 */
#include <string.h>

#include "qk256_kernel.h"

/* Blocks that hold N elements. */
static size_t blocks(size_t elements) {
    return elements / QK256_BLOCK_ELEMENTS + (elements % QK256_BLOCK_ELEMENTS != 0);
}

/* Whether the matrix of a call lies within its buffers. */
static int fits(const qk256_call *call) {
    size_t row_bytes, needed, n = blocks(call->cols);
    if (__builtin_mul_overflow(n, QK256_BLOCK_BYTES, &row_bytes)) {
        return 0;
    }
    if (call->scales && (__builtin_mul_overflow(call->rows, n, &needed) || call->scales_len < needed)) {
        return 0;
    }
    if (call->rows < 2) {
        return call->rows == 0 || call->packed_len >= row_bytes;
    }
    return call->row_stride >= row_bytes && !__builtin_mul_overflow(call->rows - 1, call->row_stride, &needed) &&
           !__builtin_add_overflow(needed, row_bytes, &needed) && call->packed_len >= needed;
}

#if defined(__x86_64__)

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma")))
/* Parts of such functions end up within them: a call for each register would cost more than its work. */
#define AVX2_PART __attribute__((target("avx2,fma"), always_inline)) static inline

/* Floats of a register, and partial sums of a row. */
enum { LANES = 8, PARTIALS = 8, GROUP = LANES * PARTIALS };

/* The four weights times a scale, in each half of a register: what the codes are looked up in. */
AVX2_PART __m256 table(float scale) {
    __m256 weights = _mm256_setr_ps(-2, -1, 1, 2, -2, -1, 1, 2);
    return _mm256_mul_ps(weights, _mm256_set1_ps(scale));
}

/* What brings code i of a register of copies to the low bits of lane i. */
AVX2_PART __m256i shifts(void) {
    return _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
}

/* What the table gives for the low two bits of each lane: the lookup takes these and no others. */
AVX2_PART __m256 look_up(__m256 table, __m256i codes) {
    return _mm256_permutevar_ps(table, codes);
}

/* What the table gives for the eight codes of two bytes. */
AVX2_PART __m256 look_up8(__m256 table, const uint8_t *codes) {
    uint16_t bits;
    memcpy(&bits, codes, sizeof bits);
    return look_up(table, _mm256_srlv_epi32(_mm256_set1_epi32(bits), shifts()));
}

/* All ones in the first `len` lanes. */
AVX2_PART __m256 mask(size_t len) {
    __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32((int)len), lanes));
}

/* Adds the products of `cols` columns, GROUP at most, to the partial sums. All lie in one block, whose bytes
 * are all there, so that codes may be read two bytes at a time. x ends where it ends. */
AVX2_PART void add_rest(__m256 *sums, __m256 table, const uint8_t *codes, const float *x, size_t cols) {
    size_t c = 0;
    for (; c + LANES <= cols; c += LANES) {
        __m256 weights = look_up8(table, codes + c / 4);
        sums[c / LANES] = _mm256_fmadd_ps(weights, _mm256_loadu_ps(x + c), sums[c / LANES]);
    }
    if (c < cols) {
        float last[LANES] = {0};
        memcpy(last, x + c, (cols - c) * sizeof *x);
        __m256 weights = look_up8(table, codes + c / 4);
#ifndef QK256_BUG
        /* The zeros behind x are not enough: the weight of padding may be infinite, and infinity times zero
         * is NaN. */
        weights = _mm256_and_ps(weights, mask(cols - c));
#endif
        sums[c / LANES] = _mm256_fmadd_ps(weights, _mm256_loadu_ps(last), sums[c / LANES]);
    }
}

/* The sum of all lanes of all partial sums. */
AVX2_PART float total(const __m256 *sums) {
    __m256 four[4], all;
    for (int i = 0; i < 4; i++) {
        four[i] = _mm256_add_ps(sums[i], sums[i + 4]);
    }
    all = _mm256_add_ps(_mm256_add_ps(four[0], four[2]), _mm256_add_ps(four[1], four[3]));
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

/* The product of one row and x. The partial sums stay in registers, as every index is known to the compiler.
 */
AVX2 static float dot(const uint8_t *row, const float *scales, const float *x, size_t cols) {
    __m256 sums[PARTIALS];
    __m256 weights = table(1.0f);
    size_t c = 0;
    for (int i = 0; i < PARTIALS; i++) {
        sums[i] = _mm256_setzero_ps();
    }
    for (; c + GROUP <= cols; c += GROUP) {
        if (scales && c % QK256_BLOCK_ELEMENTS == 0) {
            weights = table(scales[c / QK256_BLOCK_ELEMENTS]);
        }
        const uint8_t *codes = row + c / 4;
#pragma GCC unroll 4
        for (int i = 0; i < PARTIALS; i += 2) {
            /* Four bytes are two registers of codes, for one load. */
            int32_t bits;
            memcpy(&bits, codes + i * LANES / 4, sizeof bits);
            __m256i low = _mm256_srlv_epi32(_mm256_set1_epi32(bits), shifts());
            __m256i high = _mm256_srli_epi32(low, 16);
            const float *at = x + c + i * LANES;
            sums[i] = _mm256_fmadd_ps(look_up(weights, low), _mm256_loadu_ps(at), sums[i]);
            sums[i + 1] = _mm256_fmadd_ps(look_up(weights, high), _mm256_loadu_ps(at + LANES), sums[i + 1]);
        }
    }
    if (c < cols) {
        /* A copy, so that the loop above need not keep its sums in memory for an index known only here. */
        __m256 rest[PARTIALS];
        memcpy(rest, sums, sizeof rest);
        weights = scales ? table(scales[c / QK256_BLOCK_ELEMENTS]) : weights;
        add_rest(rest, weights, row + c / 4, x + c, cols - c);
        return total(rest);
    }
    return total(sums);
}

AVX2 static void gemv(const uint8_t *packed, const float *scales, const float *x, float *y, size_t rows,
                      size_t cols, size_t row_stride) {
    for (size_t r = 0; r < rows; r++) {
        y[r] = dot(packed + r * row_stride, scales ? scales + r * blocks(cols) : NULL, x, cols);
    }
}

/* Writes the 128 codes of 32 bytes. Plane k has code k of each byte; interleaved they are in order, half by
 * half. */
AVX2_PART void unpack128(const uint8_t *packed, uint8_t *codes) {
    __m256i bytes = _mm256_loadu_si256((const __m256i *)packed);
    __m256i three = _mm256_set1_epi8(3);
    __m256i plane0 = _mm256_and_si256(bytes, three);
    __m256i plane1 = _mm256_and_si256(_mm256_srli_epi16(bytes, 2), three);
    __m256i plane2 = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), three);
    __m256i plane3 = _mm256_and_si256(_mm256_srli_epi16(bytes, 6), three);
    __m256i low01 = _mm256_unpacklo_epi8(plane0, plane1), low23 = _mm256_unpacklo_epi8(plane2, plane3);
    __m256i high01 = _mm256_unpackhi_epi8(plane0, plane1), high23 = _mm256_unpackhi_epi8(plane2, plane3);
    __m256i a = _mm256_unpacklo_epi16(low01, low23), b = _mm256_unpackhi_epi16(low01, low23);
    __m256i c = _mm256_unpacklo_epi16(high01, high23), d = _mm256_unpackhi_epi16(high01, high23);
    __m256i *out = (__m256i *)codes;
    _mm256_storeu_si256(out, _mm256_permute2x128_si256(a, b, 0x20));
    _mm256_storeu_si256(out + 1, _mm256_permute2x128_si256(c, d, 0x20));
    _mm256_storeu_si256(out + 2, _mm256_permute2x128_si256(a, b, 0x31));
    _mm256_storeu_si256(out + 3, _mm256_permute2x128_si256(c, d, 0x31));
}

/* Blocks are whole, so there are always 32 bytes to read; the codes that nobody asked for go to a buffer of
 * our own. */
AVX2 static void unpack(const uint8_t *packed, uint8_t *codes, size_t len) {
    size_t i = 0;
    for (; i + 128 <= len; i += 128) {
        unpack128(packed + i / 4, codes + i);
    }
    if (i < len) {
        uint8_t last[128];
        unpack128(packed + i / 4, last);
        memcpy(codes + i, last, len - i);
    }
}

AVX2 static void dequantize(const uint8_t *packed, const float *scales, float *out, size_t len) {
    for (size_t start = 0; start < len; start += QK256_BLOCK_ELEMENTS) {
        size_t end = len - start < QK256_BLOCK_ELEMENTS ? len : start + QK256_BLOCK_ELEMENTS, i = start;
        __m256 weights = table(scales[start / QK256_BLOCK_ELEMENTS]);
        for (; i + LANES <= end; i += LANES) {
            _mm256_storeu_ps(out + i, look_up8(weights, packed + i / 4));
        }
        if (i < end) {
            float last[LANES];
            _mm256_storeu_ps(last, look_up8(weights, packed + i / 4));
            memcpy(out + i, last, (end - i) * sizeof *out);
        }
    }
}

static int32_t run_unpack(const qk256_call *call) {
    if (!fits(call)) {
        return QK256_REFUSED;
    }
    unpack(call->packed, (uint8_t *)call->out, call->cols);
    return QK256_DONE;
}

static int32_t run_dequantize(const qk256_call *call) {
    if (!fits(call)) {
        return QK256_REFUSED;
    }
    dequantize(call->packed, call->scales, (float *)call->out, call->cols);
    return QK256_DONE;
}

static int32_t run_gemv(const qk256_call *call) {
    if (!fits(call) || call->x_len < call->cols || call->out_len < call->rows) {
        return QK256_REFUSED;
    }
    gemv(call->packed, call->scales, (const float *)call->x, (float *)call->out, call->rows, call->cols,
         call->row_stride);
    return QK256_DONE;
}

#else

static int32_t run_unpack(const qk256_call *call) {
    (void)call, (void)fits;
    return QK256_UNSUPPORTED;
}

static int32_t run_dequantize(const qk256_call *call) {
    return run_unpack(call);
}

static int32_t run_gemv(const qk256_call *call) {
    return run_unpack(call);
}

#endif

static const qk256_kernel KERNELS[] = {
    QK256_KERNEL("c_avx2", "unpack", "qk256", "f32", "avx2 fma", QK256_FLAG_REFUSES_WRONG_SIZES, run_unpack),
    QK256_KERNEL("c_avx2", "dequantize", "qk256", "f32", "avx2 fma", QK256_FLAG_REFUSES_WRONG_SIZES, run_dequantize),
    QK256_KERNEL("c_avx2", "gemv", "qk256", "f32", "avx2 fma", QK256_FLAG_REFUSES_WRONG_SIZES, run_gemv),
};

const qk256_kernel *qk256_kernels(uint32_t abi_version, size_t *count) {
    *count = sizeof KERNELS / sizeof KERNELS[0];
    return abi_version == QK256_ABI_VERSION ? KERNELS : NULL;
}
