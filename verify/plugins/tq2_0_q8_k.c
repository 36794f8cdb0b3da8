/* dot of tq2_0 and q8_k in C with AVX2.
 *
 * The codes 0 to 3 stand for the weights -1 to 2. Codes are multiplied as they are, without signs (vpmaddubsw), and the sum of
 * the activations, which q8_k has for each 16 of them, is subtracted at the end of a block. All of that is in integers, in
 * eight lanes. Then comes the product of both scales, and a sum in float for each lane, block by block; at the end lanes
 * 4, 2 and 1 apart are added.
 *
 * -DFAULT_... builds one of the faults that such kernels have; cli/tests/plugins/products.rs lists what each is found by.
 */
#include "dot.h"

static const block WEIGHTS = {256, 66}, X = {256, 292};

/* Bytes of a group of codes, the pairs of bits in its bytes, and the groups of a block. */
enum { GROUP = 32, SLOTS = 4, GROUPS = 2 };

/* Where the scale of a block of weights is, and the values and the sums of a block of activations. */
enum { SCALE_AT = 64, VALUES_AT = 4, SUMS_AT = 260 };

#if defined(__x86_64__)

/* The 32 codes that belong to the values of the same number, in bytes. */
AVX2_PART __m256i codes(const uint8_t *block, int group, int slot) {
    __m256i three = _mm256_set1_epi8(3);
#if defined(FAULT_GROUP)
    /* Takes groups for 16 bytes long. */
    __m128i bytes = _mm_loadu_si128((const __m128i *)(block + GROUP * group + GROUP / 2 * (slot / 2)));
    __m128i low = _mm_srli_epi16(bytes, 4 * (slot % 2)), high = _mm_srli_epi16(low, 2);
    return _mm256_and_si256(_mm256_set_m128i(high, low), three);
#elif defined(FAULT_ORDER)
    /* The first code from the most significant bits. */
    return _mm256_and_si256(_mm256_srli_epi16(load(block + GROUP * group), 2 * (SLOTS - 1 - slot)), three);
#else
    return _mm256_and_si256(_mm256_srli_epi16(load(block + GROUP * group), 2 * slot), three);
#endif
}

/* The products of a block, 32 of them in each lane. */
AVX2_PART __m256i products(const uint8_t *block, const uint8_t *x) {
    const uint8_t *values = x + VALUES_AT;
    /* Sixteen products come to 16 * 3 * 128 at most: 16 bits are enough. */
    __m256i sums = _mm256_setzero_si256();
    for (int group = 0; group < GROUPS; group++) {
        for (int slot = 0; slot < SLOTS; slot++, values += GROUP) {
            sums = _mm256_add_epi16(sums, _mm256_maddubs_epi16(codes(block, group, slot), load(values)));
        }
    }
    return widen(sums);
}

AVX2_PART float scale_of(const uint8_t *block, const uint8_t *x) {
    float of_x;
    memcpy(&of_x, x, sizeof of_x);
    return half(block + SCALE_AT) * of_x;
}

AVX2 static float dot(const uint8_t *row, const uint8_t *x, size_t blocks) {
    __m256 sums = _mm256_setzero_ps();
    for (size_t b = 0; b < blocks; b++, row += WEIGHTS.bytes, x += X.bytes) {
        const uint8_t *sums_of_x = x + SUMS_AT;
#ifdef FAULT_NEIGHBOUR
        /* The sums of the block before. */
        sums_of_x -= b > 0 ? X.bytes : 0;
#endif
        /* The offset of the codes, 1, times the activations. */
        __m256i offset = widen(load(sums_of_x));
#ifdef FAULT_LAST_SUMS
        /* What is subtracted a block late is missing for the last. */
        offset = b + 1 < blocks ? offset : _mm256_setzero_si256();
#endif
        __m256i integers = _mm256_sub_epi32(products(row, x), offset);
        sums = _mm256_fmadd_ps(_mm256_set1_ps(scale_of(row, x)), _mm256_cvtepi32_ps(integers), sums);
    }
    return total_f32(sums);
}

static int32_t run(const qk256_call *call) {
    if (!fits(call, WEIGHTS, X)) {
        return QK256_REFUSED;
    }
    size_t blocks = call->cols / WEIGHTS.elements;
    float *out = (float *)call->out;
    for (size_t r = 0; r < call->rows; r++) {
        float sum = dot(call->packed + r * call->row_stride, (const uint8_t *)call->x, blocks);
#ifdef FAULT_ACCUMULATE
        out[r] += sum;
#else
        out[r] = sum;
#endif
    }
    return QK256_DONE;
}

#else

static int32_t run(const qk256_call *call) {
    (void)call, (void)WEIGHTS, (void)X;
    return QK256_UNSUPPORTED;
}

#endif

static const qk256_kernel KERNELS[] = {
    QK256_KERNEL("c_tq2_0", "dot", "tq2_0", "q8_k", "avx2 fma f16c", QK256_FLAG_REFUSES_WRONG_SIZES, run),
};

const qk256_kernel *qk256_kernels(uint32_t abi_version, size_t *count) {
    *count = sizeof KERNELS / sizeof KERNELS[0];
    return abi_version == QK256_ABI_VERSION ? KERNELS : NULL;
}
