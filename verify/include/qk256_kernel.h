/* The C ABI, version 2, by which `qk256 check --lib` calls kernels of any language in a shared library.
 *
 * A library exports one function, qk256_kernels. It returns a table of the kernels that the library holds: any
 * number, of any operations and formats. Include this header where you define that function: it gives it C linkage
 * and exports it. The kernels themselves need not be exported.
 *
 * Operations
 *
 *   unpack      out[i] = the code of element i, one a byte, for `cols` elements. rows is 1, out_len is cols.
 *   dequantize  out[i] = the weight of element i times its scale, for `cols` elements. rows is 1, out_len is cols.
 *               To the bit: infinities, -0.0 and subnormal numbers included; NaN for NaN, whatever its payload.
 *   gemv        out[r] = the sum over c of weight[r][c] * x[c], each term times its scale where there are scales.
 *               Added up in float or better, in any order, which is the same for every row.
 *   gemm        The same for `batch` vectors: vector b starts at x + b * x_stride, its results at
 *               out + b * out_stride, both in floats. What lies between is neither read nor written.
 *   dot         gemv with quantised x. rows and cols are whole blocks, of weights and of activations.
 *   gemv_fixed  gemv in fixed point, of qk256 without scales: x rounded to `digits` signed base-256 digits
 *               (docs/format.md).
 *
 *   A row of no columns gives 0, and where there are no rows nothing is written.
 *
 * Formats (docs/formats.md describes all; `qk256 formats NAME` draws a block)
 *
 *   qk256: a block is 256 elements in 64 bytes. Byte i of a block holds elements 4i to 4i+3, two bits each, the
 *   first in the lowest bits. The codes 0, 1, 2, 3 stand for the weights -2, -1, +1, +2. A block may have one float
 *   scale, in the buffer `scales`. The others are q2_0, q1_0, q4_0, tq2_0, tq1_0, q2_k, i2_s, i2_s_neon and iq2_bn,
 *   or what a file describes (`qk256 check --format mine.toml`).
 *
 *   A row is whole blocks; what is behind the last element of the last block (padding) may be read and must not
 *   matter. In most formats no code stands for zero: mask padding, or leave it alone. Zeros in place of x do not
 *   mask it, as a scale may be infinite, and infinity times zero is NaN.
 *
 * Activations
 *
 *   f32; and for dot: q8_0 (32 elements in 34 bytes: f16 scale, 32 int8_t), q8_1 (32 elements in 36 bytes: f16
 *   scale, f16 sum of the values times the scale, 32 int8_t), q8_k (256 elements in 292 bytes: float scale, 256
 *   int8_t, 16 int16_t sums of 16 values each) and i8 (int8_t, no scale).
 *
 * The contract, for every operation
 *
 *   Memory     All buffers belong to the caller and are valid for the time of the call only: keep no pointer. Read
 *              within the lengths given (and `over_read`), write the output and nothing else. Buffers may be longer
 *              than needed: the excess is never written and never matters. No output overlaps an input. Bytes may
 *              start at any address, floats at any multiple of 4, or as `alignment` says. Where a length is 0 the
 *              pointer points at nothing; of scales alone NULL has a meaning.
 *   Results    Every element of the output is overwritten, whatever it held (NaN, say); never add to it. The bits
 *              of a result depend on the contents of its inputs alone: not on addresses, earlier calls or threads,
 *              nor on where a row stands in the matrix or a vector in the batch, nor, without
 *              QK256_FLAG_VARIES_WITH_ROWS, on how many there are.
 *   The rest   Leave the floating-point mode (MXCSR), the file descriptors, standard output and every other part of
 *              the process as they were. Any number of threads may call at the same time. No C++ exception and no
 *              other unwinding may leave a function.
 *   Sizes      With QK256_FLAG_REFUSES_WRONG_SIZES, wrong sizes are answered with QK256_REFUSED before memory is
 *              touched, where the arithmetic overflows size_t too. Without it, only right sizes come.
 */
#ifndef QK256_KERNEL_H
#define QK256_KERNEL_H

#include <stddef.h>
#include <stdint.h>

/* The version of this header, which qk256_kernels is asked for. */
#define QK256_ABI_VERSION 2

/* Elements and bytes of a block of qk256. */
#define QK256_BLOCK_ELEMENTS 256
#define QK256_BLOCK_BYTES 64

/* Results of `run` and `prepare`. Any other number is a fault: a kernel that catches a panic or an exception of its
 * own answers -1, say, and not one of these. The output is written. */
#define QK256_DONE 0

/* Not supported: not on this machine, or not with scales. Counted as a skip. A kernel supports either all right
 * sizes within its requirements or none: what it does for 256 columns it must do for 257. */
#define QK256_UNSUPPORTED 1

/* The sizes are wrong, or gemv_fixed got an x that is not finite; nothing was written. */
#define QK256_REFUSED 2

/* Bits of `flags`. The other bits are reserved, and 0. */
enum {
    /* Wrong sizes are refused. */
    QK256_FLAG_REFUSES_WRONG_SIZES = 1,
    /* scales is always NULL. A format without separate scales needs no flag. */
    QK256_FLAG_NO_SCALES = 2,
    /* scales is never NULL. */
    QK256_FLAG_SCALES_REQUIRED = 4,
    /* The last row of the matrix owns a full row_stride too. */
    QK256_FLAG_WHOLE_LAST_STRIDE = 8,
    /* No NaN and no infinities come, neither in x nor as scales. */
    QK256_FLAG_FINITE_ONLY = 16,
    /* The bits of a row may depend on the number of rows or vectors, since few take another path. Each call is then
     * held to the error bound; the report says "not invariant to the number of rows". */
    QK256_FLAG_VARIES_WITH_ROWS = 32
};

/* `rounds_x` of a kernel with one scale for the whole row. */
#define QK256_ROUNDS_X_BY_ROW UINT32_MAX

/* The arguments of one call.
 *
 * With B blocks a row, that is cols divided by the elements of a block and rounded up, and R = B times the bytes of
 * a block (iq2_bn: and 4 bytes before them, if B > 0) bytes a row, right sizes are
 *
 *   packed_len  at least (rows - 1) * row_stride + R, or 0 for no rows: behind the last row there is no gap
 *   row_stride  at least R, odd numbers included. With one row or none it means nothing, and may be anything
 *   scales_len  at least rows * B where scales is not NULL: that of block b of row r is scales[r * B + b]. Of a format
 *               with one scale a tensor at least 1: scales[0] is that of all
 *   x_len       at least (batch - 1) * x_stride + cols floats, or 0 for no vectors; of dot at least the bytes of
 *               the blocks
 *   out_len     at least (batch - 1) * out_stride + rows floats, or 0 for no vectors
 *   x_stride    at least cols, and out_stride at least rows. With one vector or none they mean nothing
 *   digits      1 to 4
 */
typedef struct qk256_call {
    const uint8_t *packed; /* the weights: rows of whole blocks, row_stride bytes apart */
    size_t packed_len;     /* bytes */
    const float *scales;   /* one a block, row-major, whatever the stride; NULL: none, or they are in the blocks */
    size_t scales_len;     /* floats */
    const void *x;         /* const float *; of dot the quantised activations, const uint8_t *; otherwise nothing */
    size_t x_len;          /* floats; of dot bytes */
    void *out;             /* float *; of unpack uint8_t * */
    size_t out_len;        /* floats; of unpack bytes */
    const void *prepared;  /* what `prepare` wrote; NULL of a kernel without that step */
    size_t prepared_len;   /* bytes: what prepared_bytes returned */
    size_t rows, cols;     /* rows of the matrix, and elements of each; of a vector operation 1 and its elements */
    size_t batch;          /* vectors; 1 but for gemm */
    size_t row_stride;     /* bytes from one row to the next */
    size_t x_stride;       /* floats from one vector to the next */
    size_t out_stride;     /* floats from the results of one vector to those of the next */
    uint32_t digits;       /* of gemv_fixed */
} qk256_call;

/* A kernel and what it requires of its callers. Whatever is 0 or NULL is not required: leave it out, as in
 * `{.size = sizeof(qk256_kernel), .name = ...}` in C. For a kernel that requires nothing there is QK256_KERNEL.
 *
 * What a kernel requires is kept, right up to its edge, and the report shows it. What it does not require is owed. */
typedef struct qk256_kernel {
    size_t size;             /* sizeof(qk256_kernel), so that fields can be added */
    const char *name;        /* in reports: short, UTF-8. Kernels of one operation and format need different names */
    const char *operation;   /* "gemv": one of those above */
    const char *format;      /* "qk256": one of those above, or that of a file given by --format */
    const char *activations; /* "f32"; of dot "q8_0", "q8_1", "q8_k" or "i8" */
    const char *features;    /* every CPU feature that the code uses, such as "avx2 fma" (avx2 does not imply fma), in
                                the spelling of Rust's is_x86_feature_detected. Where one is missing the kernel is not
                                called, and the skip is shown. NULL or "": none */
    uint32_t flags;          /* a sum of QK256_FLAG_ bits */
    uint32_t cols_multiple;  /* cols is a multiple of it */
    uint32_t rows_multiple;  /* rows is a multiple of it */
    uint32_t max_batch;      /* the most vectors of a gemm */
    uint32_t alignment;      /* bytes that the start of each buffer is a multiple of: a power of two, 4096 at most */
    uint32_t over_read;      /* bytes past the end of each input that may be read, 2048 at most; they hold anything */
    uint64_t max_cols;       /* the most columns */
    uint32_t max_code;       /* the largest code that weights have: 2 of a ternary kernel of 2-bit codes */
    int32_t activation_min;  /* the least quantised activation: -128 (as 0), or -127 for tricks with signs */
    uint32_t rounds_x;       /* float x is rounded to int8 inside, with one scale for N elements, or for each row
                                (QK256_ROUNDS_X_BY_ROW): an accuracy class of its own, which the report names */

    /* A step that repacks the weights once, for any number of calls with them: both or none.
     *
     * prepared_bytes says how many bytes it needs for a call; it reads the sizes only. prepare gets that much memory,
     * aligned like all buffers, and writes all of it. x and out are not there yet (NULL, lengths 0), and prepared is
     * NULL. Afterwards that memory is in each call, and may only be read. */
    size_t (*prepared_bytes)(const qk256_call *call);
    int32_t (*prepare)(const qk256_call *call, void *prepared);

    /* Performs the operation. */
    int32_t (*run)(const qk256_call *call);
} qk256_kernel;

/* A kernel without requirements, as an item of a table in C and in C++. */
#define QK256_KERNEL(name, operation, format, activations, features, flags, run)                                   \
    {                                                                                                              \
        sizeof(qk256_kernel), name, operation, format, activations, features, flags, 0, 0, 0, 0, 0, 0, 0, 0, 0,   \
            NULL, NULL, run                                                                                        \
    }

/* Exports a function, also where everything else is hidden (-fvisibility=hidden). */
#if defined(_WIN32)
#define QK256_EXPORT __declspec(dllexport)
#elif defined(__GNUC__)
#define QK256_EXPORT __attribute__((visibility("default")))
#else
#define QK256_EXPORT
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Returns the kernels and writes their number to *count; NULL if abi_version is not QK256_ABI_VERSION. The table and
 * its strings stay as they are for as long as the library is loaded: a static array is best. */
QK256_EXPORT const qk256_kernel *qk256_kernels(uint32_t abi_version, size_t *count);

#ifdef __cplusplus
}
#endif

#endif
