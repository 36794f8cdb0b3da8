/* dot of q4_0 and q8_0 in C with AVX2.
 *
 * Each block has one sum of integers in eight lanes, which is exact. It is multiplied by both scales and added to eight
 * sums in float, block by block; at the end lanes 4, 2 and 1 apart are added.
 *
 * vpmaddubsw wants one operand without signs, so those of the weights move to the activations (vpsignb). -128 has no
 * opposite in 8 bits: the kernel declares that activations are -127 at least, as the quantiser of ggml makes them.
 *
 * -DFAULT_... builds one of the faults that such kernels have; cli/tests/plugins/products.rs lists what each is found by.
 */
#include "dot.h"

static const block WEIGHTS = {32, 18}, X = {32, 34};

/* Where the codes and the values of a block start: behind its scale. */
enum { CODES_AT = 2, VALUES_AT = 2 };

#ifdef FAULT_MINIMUM
/* The minimum is not declared. */
#define ACTIVATION_MIN 0
#else
#define ACTIVATION_MIN (-127)
#endif

#if defined(__x86_64__)

/* The 32 weights of a block: low nibbles are the first half. */
AVX2_PART __m256i weights_of(const uint8_t *block) {
#ifdef FAULT_OVER_READ
    /* Loads 32 bytes and uses 16. */
    __m128i bytes = _mm256_castsi256_si128(*(const volatile __m256i_u *)(block + CODES_AT));
#else
    __m128i bytes = _mm_loadu_si128((const __m128i *)(block + CODES_AT));
#endif
    __m128i high = _mm_srli_epi16(bytes, 4);
#ifdef FAULT_NIBBLES
    __m256i both = _mm256_set_m128i(bytes, high);
#else
    __m256i both = _mm256_set_m128i(high, bytes);
#endif
    return _mm256_sub_epi8(_mm256_and_si256(both, _mm256_set1_epi8(15)), _mm256_set1_epi8(8));
}

/* The products of a block, four of them in each lane. */
AVX2_PART __m256 products(const uint8_t *block, const uint8_t *x) {
    __m256i weights = weights_of(block);
    __m256i magnitudes = _mm256_sign_epi8(weights, weights);
    __m256i values = _mm256_sign_epi8(load(x + VALUES_AT), weights);
    /* Two products come to 2 * 8 * 127 at most. */
    return _mm256_cvtepi32_ps(widen(_mm256_maddubs_epi16(magnitudes, values)));
}

AVX2_PART float scale_of(const uint8_t *block) {
#ifdef FAULT_SUBNORMAL
    /* Converts by moving bits, as kernels without F16C do, and takes subnormal numbers for zero. */
    uint16_t bits;
    memcpy(&bits, block, sizeof bits);
    if ((bits & 0x7c00) == 0) {
        return 0.0f;
    }
#endif
    return half(block);
}

AVX2 static float dot(const uint8_t *row, const uint8_t *x, size_t blocks) {
    __m256 sums = _mm256_setzero_ps();
#ifdef FAULT_LAST_BLOCK
    /* A loop of two blocks at a time, and nothing behind it. */
    blocks -= blocks % 2;
#endif
    for (size_t b = 0; b < blocks; b++, row += WEIGHTS.bytes, x += X.bytes) {
#ifdef FAULT_SCALE
        /* The scale of the next block, if there is one. */
        float of_weights = scale_of(b + 1 < blocks ? row + WEIGHTS.bytes : row);
#else
        float of_weights = scale_of(row);
#endif
        /* The product of two f16 is exact in float. */
        __m256 scale = _mm256_set1_ps(of_weights * half(x));
        sums = _mm256_fmadd_ps(scale, products(row, x), sums);
    }
    return total_f32(sums);
}

static int32_t run(const qk256_call *call) {
    if (!fits(call, WEIGHTS, X)) {
        return QK256_REFUSED;
    }
    size_t blocks = call->cols / WEIGHTS.elements, stride = call->row_stride;
#ifdef FAULT_STRIDE
    /* Takes rows for adjacent. */
    stride = blocks * WEIGHTS.bytes;
#endif
    for (size_t r = 0; r < call->rows; r++) {
        ((float *)call->out)[r] = dot(call->packed + r * stride, (const uint8_t *)call->x, blocks);
    }
    return QK256_DONE;
}

#else

static int32_t run(const qk256_call *call) {
    (void)call, (void)WEIGHTS, (void)X;
    return QK256_UNSUPPORTED;
}

#endif

static const qk256_kernel KERNELS[] = {{
    .size = sizeof(qk256_kernel),
    .name = "c_q4_0",
    .operation = "dot",
    .format = "q4_0",
    .activations = "q8_0",
    .features = "avx2 fma f16c",
    .flags = QK256_FLAG_REFUSES_WRONG_SIZES,
    .activation_min = ACTIVATION_MIN,
    .run = run,
}};

const qk256_kernel *qk256_kernels(uint32_t abi_version, size_t *count) {
    *count = sizeof KERNELS / sizeof KERNELS[0];
    return abi_version == QK256_ABI_VERSION ? KERNELS : NULL;
}
