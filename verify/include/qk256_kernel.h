/* The C ABI, version 1, by which `qk256 check --lib` calls kernels of any language in a shared library.
 *
 * A library exports qk256_abi_version and at least one of the three operations; the rest is optional.
 * Operations that it lacks are skipped, and the skips are counted. Include this header where you
 * define the functions: it gives them C linkage and exports them.
 *
 * The format, in short (docs/format.md is the long form)
 *
 *   A block is 256 elements in 64 bytes. Byte i of a block holds elements 4i to 4i+3, two bits each, the
 *   first in the lowest bits. The codes 0, 1, 2, 3 stand for the weights -2, -1, +1, +2. No code stands for
 *   zero, so what is behind the last element of a block (padding) must be masked or left alone: it may be
 *   read, and must not matter. Zeros in place of x do not mask it, as a scale may be infinite and infinity
 *   times zero is NaN.
 *
 * The contract, for every operation
 *
 *   Memory     All buffers belong to the caller and are valid for the time of the call only: keep no pointer.
 *              Lengths count items of the buffer's type, not bytes. Read within the lengths given, write the
 *              output and nothing else. Buffers may be longer than needed: the excess is never written and
 *              never matters. No output overlaps an input. A uint8_t buffer may start at any address, a float
 *              buffer at any multiple of 4. Where a length is 0 the pointer points at nothing; of the scales
 *              of a gemv, and of them alone, NULL has a meaning.
 *   Results    Every element of the output is overwritten, whatever it held (NaN, say); never add to it. The
 *              bits of a result depend on the contents of the inputs alone: not on addresses, earlier calls
 *              or threads, nor, for a gemv, on where a row stands in the matrix, nor, without
 *              QK256_FLAG_VARIES_WITH_ROWS, on how many rows there are.
 *   The rest   Leave the floating-point mode (MXCSR), the file descriptors, standard output and every other
 *              part of the process as they were. Any number of threads may call at the same time. No C++
 *              exception and no other unwinding may leave a function.
 *   Sizes      With QK256_FLAG_CHECKS_SIZES, wrong sizes are answered with QK256_REFUSED before memory is
 *              touched, where the arithmetic overflows size_t too. Without it, only right sizes come.
 */
#ifndef QK256_KERNEL_H
#define QK256_KERNEL_H

#include <stddef.h>
#include <stdint.h>

/* What qk256_abi_version returns. */
#define QK256_ABI_VERSION 1

/* Elements of a block. */
#define QK256_BLOCK_ELEMENTS 256

/* Bytes of a block. */
#define QK256_BLOCK_BYTES 64

/* Results of the operations. Any other number is a fault: a kernel that catches a panic or an exception of its
 * own answers -1, say, and not one of these. The output is written. */
#define QK256_DONE 0

/* Not supported: this library does not do that at all, or not on this CPU, or not with scales. Counted as a
 * skip. A kernel supports either all right sizes of a kind or none: what it does for 256 columns it must do
 * for 257. */
#define QK256_UNSUPPORTED 1

/* The sizes are wrong, and nothing was read or written. */
#define QK256_REFUSED 2

/* Bit 0 of qk256_flags: wrong sizes are refused. */
#define QK256_FLAG_CHECKS_SIZES 1

/* Bit 1 of qk256_flags: the bits of a row of a gemv may depend on the number of rows, since a matrix of few
 * rows takes another path. Each call is then held to the error bound; the report says "not invariant to the
 * number of rows". The other bits are reserved, and 0. */
#define QK256_FLAG_VARIES_WITH_ROWS 2

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

/* Required. Returns QK256_ABI_VERSION. If it is another number, nothing else is called. */
QK256_EXPORT uint32_t qk256_abi_version(void);

/* Optional; the name of the file where it is missing, or NULL. The name in reports: short, UTF-8, with a zero
 * byte behind it. It stays as it is for as long as the library is loaded. */
QK256_EXPORT const char *qk256_kernel_name(void);

/* Optional; 0 where it is missing. A sum of QK256_FLAG_ bits, the same at every call. */
QK256_EXPORT uint32_t qk256_flags(void);

/* Optional. codes[i] = the code of element i, 0 to 3, one a byte, for codes_len elements.
 *
 * packed   packed_len bytes, at least 64 * ceil(codes_len / 256)
 * codes    codes_len bytes to write, all of them
 */
QK256_EXPORT int32_t qk256_unpack(const uint8_t *packed, size_t packed_len, uint8_t *codes, size_t codes_len);

/* Optional. out[i] = the weight of element i times scales[i / 256], for out_len elements. To the bit:
 * infinities, -0.0 and numbers below the normal ones included; NaN for NaN, whatever its payload.
 *
 * packed   packed_len bytes, at least 64 * ceil(out_len / 256)
 * scales   scales_len floats, at least ceil(out_len / 256)
 * out      out_len floats to write, all of them
 */
QK256_EXPORT int32_t qk256_dequantize(const uint8_t *packed, size_t packed_len, const float *scales,
                                      size_t scales_len, float *out, size_t out_len);

/* Optional. y[r] = the sum over c of weight[r][c] * x[c], each term times the scale of its block where there
 * are scales, for `rows` rows; added up in float or better, in any order, which is the same for every row. A
 * row of no columns gives 0.
 *
 * With B = ceil(cols / 256) blocks a row:
 *
 * packed      Row r is the 64 * B bytes from byte r * row_stride on. packed_len is at least
 *             (rows - 1) * row_stride + 64 * B, or 0 for no rows: behind the last row there is no gap.
 * scales      NULL where there are no scales: scales_len is 0 then. Otherwise that of block b of row r is
 *             scales[r * B + b], whatever the stride, and scales_len is at least rows * B, which may be 0.
 * x           x_len floats, at least cols
 * y           y_len floats, at least rows. The first `rows` are written, and no others.
 * row_stride  Bytes from one row to the next, at least 64 * B, odd numbers included. With one row or none it
 *             means nothing, and may be anything.
 */
QK256_EXPORT int32_t qk256_gemv(const uint8_t *packed, size_t packed_len, const float *scales,
                                size_t scales_len, const float *x, size_t x_len, float *y, size_t y_len,
                                size_t rows, size_t cols, size_t row_stride);

#ifdef __cplusplus
}
#endif

#endif
