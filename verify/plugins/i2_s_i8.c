/* dot of i2_s and i8 in C with AVX2.
 *
 * The codes are multiplied as they are, 0 to 3. Products are added in 16 bits, and these sums in 32 bits before they can
 * overflow. The sum of a row is one integer, and rounded once, when it becomes a float.
 *
 * Rows may lie at any address, x is read by aligned loads: the kernel declares that buffers are aligned to 32 bytes.
 *
 * -DFAULT_... builds one of the faults that such kernels have; cli/tests/plugins/products.rs lists what each is found by.
 * With -DDECLARED_... a kernel with such a limit declares it, and is right.
 */
#include "dot.h"

static const block WEIGHTS = {128, 32}, X = {1, 1};

/* Bytes of the codes of a block, and the pairs of bits in each. */
enum { GROUP = 32, SLOTS = 4 };

/* Blocks that are added in 16 bits. Each adds eight products to a sum, 8 * 3 * 128 = 3072 at most: ten are possible. */
#if defined(FAULT_NARROW) || defined(DECLARED_COLUMNS)
enum { NARROW = 32 };
#else
enum { NARROW = 8 };
#endif

/* The sum of a row is 3 * 128 times as much at most, which fits into 32 bits. With 16-bit sums of all blocks, ten. */
#ifdef DECLARED_COLUMNS
#define MAX_COLS (10 * 128)
#else
#define MAX_COLS (1 << 22)
#endif

/* A weight of -1 for code 3 is right as long as there is no such code, and its trick with signs as long as no activation is -128. */
#ifdef DECLARED_TERNARY
#define MAX_CODE 2
#else
#define MAX_CODE 0
#endif

#if defined(__x86_64__)

/* Products of the codes of one slot and 32 values, two in each sum of 16 bits. */
AVX2_PART __m256i products(__m256i bytes, int slot, const int8_t *x) {
    __m256i values = _mm256_load_si256((const __m256i *)x);
    /* The first code is in the most significant bits. */
    int shift = 2 * (SLOTS - 1 - slot);
#ifdef FAULT_SATURATE
    /* Moves all codes to the top, for one mask instead of a shift back, and divides the products. With code 3, 192 there, two of them
     * are more than 16 bits hold from |x| = 86 on, and vpmaddubsw saturates. Ternary weights never show it. */
    __m256i high = _mm256_and_si256(_mm256_slli_epi16(bytes, 6 - shift), _mm256_set1_epi8((char)0xc0));
    return _mm256_srai_epi16(_mm256_maddubs_epi16(high, values), 6);
#endif
    __m256i codes = _mm256_and_si256(_mm256_srli_epi16(bytes, shift), _mm256_set1_epi8(3));
#if defined(FAULT_CODE_3) || defined(DECLARED_TERNARY)
    /* A lookup of weights, in which code 3 is -1. */
    __m256i table = _mm256_set1_epi32((int)0xff020100);
    __m256i weights = _mm256_shuffle_epi8(table, codes);
    return _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(values, weights));
#else
    return _mm256_maddubs_epi16(codes, values);
#endif
}

/* The sums of some blocks: NARROW at most. */
AVX2_PART __m256i sums_of(const uint8_t *row, const int8_t *x, size_t blocks) {
    __m256i sums = _mm256_setzero_si256();
    for (size_t b = 0; b < blocks; b++) {
        const uint8_t *block = row + b * WEIGHTS.bytes;
#ifdef FAULT_TAIL
        /* A tail of two blocks takes the codes of the first twice. */
        block = blocks == 2 ? row : block;
#endif
        __m256i bytes = load(block);
        for (int slot = 0; slot < SLOTS; slot++, x += GROUP) {
            sums = _mm256_add_epi16(sums, products(bytes, slot, x));
        }
    }
    return widen(sums);
}

AVX2 static float dot(const uint8_t *row, const int8_t *x, size_t blocks) {
    __m256i sums = _mm256_setzero_si256();
    for (size_t b = 0; b < blocks; b += NARROW) {
        size_t count = blocks - b < NARROW ? blocks - b : NARROW;
        __m256i more = sums_of(row + b * WEIGHTS.bytes, x + b * WEIGHTS.elements, count);
        sums = _mm256_add_epi32(sums, more);
    }
    return (float)total_i32(sums);
}

AVX2 static void dot_rows(const qk256_call *call) {
    size_t blocks = call->cols / WEIGHTS.elements;
    float *out = (float *)call->out;
    for (size_t r = 0; r < call->rows; r++) {
        float sum = dot(call->packed + r * call->row_stride, (const int8_t *)call->x, blocks);
#ifdef FAULT_VECTOR
        /* Stores a register, of which one float is the result. The next rows correct the others. */
        _mm256_storeu_ps(out + r, _mm256_set1_ps(sum));
#else
        out[r] = sum;
#endif
    }
}

static int32_t run(const qk256_call *call) {
    if (!fits(call, WEIGHTS, X)) {
        return QK256_REFUSED;
    }
    dot_rows(call);
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
    .name = "c_i2_s",
    .operation = "dot",
    .format = "i2_s",
    .activations = "i8",
    .features = "avx2 fma f16c",
    .flags = QK256_FLAG_REFUSES_WRONG_SIZES,
    .cols_multiple = 128,
    .alignment = 32,
    .max_cols = MAX_COLS,
    .max_code = MAX_CODE,
    .run = run,
}};

const qk256_kernel *qk256_kernels(uint32_t abi_version, size_t *count) {
    *count = sizeof KERNELS / sizeof KERNELS[0];
    return abi_version == QK256_ABI_VERSION ? KERNELS : NULL;
}
