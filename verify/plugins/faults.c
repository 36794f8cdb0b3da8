/* The kernel of plain.c with one fault, chosen by -DFAULT_...; with none of them it is right. Each must come
 * out of `qk256 check --lib` as a finding (cli/tests/plugins has the table), but for the few that are no
 * faults.
 *
 * A fault is in the gemv. Where it takes the process with it, it shows at a few shapes only, as faults do
 * that get past a first try: one row, or columns in eights, is what people try.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <fenv.h>
#include <locale.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "qk256_kernel.h"

/* The right kernels, in a table that nobody looks for. */
#define qk256_kernels right_kernels
#include "plain.c"
#undef qk256_kernels

/* What a compiler may not leave out, whatever it knows of the memory. */
#define READ(address) ((void)*(const volatile uint8_t *)(address))
#define WRITE(address) (*(volatile float *)(address) = 1.0f)
#define RESTORE(type, address, other)                                                                        \
    do {                                                                                                     \
        volatile type *place = (volatile type *)(uintptr_t)(address);                                        \
        type value = *place;                                                                                 \
        *place = (other);                                                                                    \
        *place = value;                                                                                      \
    } while (0)

#ifdef FAULT_MISSING_SYMBOL
/* Is defined nowhere. */
extern int32_t qk256_test_missing(void);
#endif

/* In the table, and not supported: some of the operations, or all. */
#if defined(FAULT_GEMV_ALONE) || defined(FAULT_NOTHING)
#define ONLY_GEMV 1
#else
#define ONLY_GEMV 0
#endif

#ifndef FAULT_ONLY_GEMV
static int32_t faulty_unpack(const qk256_call *call) {
    return ONLY_GEMV ? QK256_UNSUPPORTED : unpack(call);
}

static int32_t faulty_dequantize(const qk256_call *call) {
    return ONLY_GEMV ? QK256_UNSUPPORTED : dequantize(call);
}
#endif

/* The shapes at which the kernel takes the process with it: few, as each costs the caller a process, and of a
 * loop its time limit as well. */
#if defined(FAULT_LOOP) || defined(FAULT_GARBAGE)
#define FALLS(rows, cols) ((rows) == 3 && (cols) == 33)
#elif defined(FAULT_STACK) || defined(FAULT_LITTLE_STACK)
#define FALLS(rows, cols) ((cols) >= 1024)
#else
#define FALLS(rows, cols) ((rows) == 2 && (cols) % 8 != 0)
#endif

/* What goes wrong there, whatever the operands. */
static void fall(size_t rows, size_t cols) {
    (void)rows;
    (void)cols;
    if (!FALLS(rows, cols)) {
        return;
    }
#if defined(FAULT_NULL)
    volatile uintptr_t null = 0;
    READ(null);
#elif defined(FAULT_TRAP)
    __builtin_trap();
#elif defined(FAULT_RECURSION)
    /* The frame is large and its contents matter, so that the call is no jump. */
    volatile char frame[1 << 12];
    frame[cols % sizeof frame] = 1;
    fall(rows + (size_t)frame[cols % sizeof frame] - 1, cols);
    frame[0] = 2;
#elif defined(FAULT_STACK) || defined(FAULT_LITTLE_STACK)
#ifdef FAULT_STACK
    const size_t bytes = 256 * cols;
#else
    const size_t bytes = 1 << 16;
#endif
    /* The far end comes first, as it does where a table is cleared. */
    volatile char *table = (volatile char *)__builtin_alloca(bytes);
    for (size_t at = 0; at < bytes; at += 64) {
        table[at] = 1;
    }
#elif defined(FAULT_LOOP)
    volatile int forever = 1;
    while (forever) {
    }
#elif defined(FAULT_EXIT)
    exit(0);
#elif defined(FAULT_ABORT)
    abort();
#elif defined(FAULT_HEAP)
    /* Too large for the lists that free() looks at no further; behind it lies the size of its neighbour. */
    size_t size = 2000;
    volatile uint8_t *scratch = (volatile uint8_t *)malloc(size);
    for (size_t i = 0; scratch && i < size + 24; i++) {
        scratch[i] = 0xff;
    }
    free((void *)scratch);
#elif defined(FAULT_CLOSE)
    for (int descriptor = 1; descriptor <= 20; descriptor++) {
        close(descriptor);
    }
#elif defined(FAULT_CLOSE_OUTPUT)
    close(1);
#elif defined(FAULT_CLOSE_OTHERS)
    for (int descriptor = 3; descriptor <= 20; descriptor++) {
        close(descriptor);
    }
#elif defined(FAULT_CLOSE_STANDARD)
    for (int descriptor = 0; descriptor <= 2; descriptor++) {
        close(descriptor);
    }
#elif defined(FAULT_CLOSE_ALL)
    for (int descriptor = 3; descriptor <= 1023; descriptor++) {
        close(descriptor);
    }
#elif defined(FAULT_KILL)
    raise(SIGKILL);
#elif defined(FAULT_KILLED_ONCE)
    /* What somebody else does to the process: once, whichever process is the first to make the file. */
    FILE *mark = fopen(getenv("QK256_TEST_MARK"), "wx");
    if (mark) {
        fclose(mark);
        raise(SIGKILL);
    }
#elif defined(FAULT_GARBAGE)
    /* Writes to whatever the process has open, the harness's pipe among it. */
    for (int descriptor = 3; descriptor <= 300; descriptor++) {
        dprintf(descriptor, "{\"Done\":{\"counts\":[nonsense\n");
    }
#elif defined(FAULT_MISSING_SYMBOL)
    (void)qk256_test_missing();
#elif defined(FAULT_PRINT)
    printf("gemv of %zu rows\n", rows);
    fflush(stdout);
#elif defined(FAULT_PRINT_BUFFERED)
    /* Stays in the buffer of stdio until somebody flushes it. */
    printf("gemv of %zu rows\n", rows);
#endif
}

/* What the first call of the process leaves behind. */
static void leave(void) {
    static bool is_done;
    if (is_done) {
        return;
    }
    is_done = true;
#if defined(FAULT_HANDLER)
    /* To find out whether an instruction is there: the old handler is not put back (ruapu issue 189). */
    signal(SIGILL, SIG_IGN);
#elif defined(FAULT_MASK)
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
#elif defined(FAULT_SIGNAL_STACK)
    static char memory[1 << 16];
    stack_t stack = {.ss_sp = memory, .ss_size = sizeof memory};
    sigaltstack(&stack, NULL);
#elif defined(FAULT_AFFINITY)
    /* Pins the caller (OpenBLAS issue 4653). Where there is one CPU, nothing changes. */
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(sched_getcpu(), &set);
    sched_setaffinity(0, sizeof set, &set);
#elif defined(FAULT_ENVIRONMENT)
    setenv("OMP_WAIT_POLICY", "ACTIVE", 1);
#elif defined(FAULT_LIMIT)
    struct rlimit limit;
    getrlimit(RLIMIT_CORE, &limit);
    limit.rlim_cur = limit.rlim_cur == 4096 ? 8192 : 4096;
    limit.rlim_max = limit.rlim_max < limit.rlim_cur ? limit.rlim_cur : limit.rlim_max;
    setrlimit(RLIMIT_CORE, &limit);
#elif defined(FAULT_DIRECTORY)
    if (chdir("/proc")) {
        abort();
    }
#elif defined(FAULT_UMASK)
    umask(0171);
#elif defined(FAULT_LOCALE)
    setlocale(LC_NUMERIC, "C.UTF-8");
#elif defined(FAULT_NICE)
    setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + 1);
#elif defined(FAULT_TIMER)
    struct itimerval timer = {.it_value = {.tv_sec = 100000}};
    setitimer(ITIMER_REAL, &timer, NULL);
#elif defined(FAULT_OPEN)
    if (open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC) < 0) {
        abort();
    }
#elif defined(FAULT_ROUNDING)
    fesetround(FE_UPWARD);
#endif
}

#if defined(FAULT_THREADS) || defined(FAULT_POOL)
static void *wait_forever(void *ignored) {
    for (;;) {
        pause();
    }
    return ignored;
}

static void start_thread(void) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 1 << 16);
    pthread_t thread;
    if (pthread_create(&thread, &attributes, wait_forever, NULL)) {
        abort();
    }
}
#endif

/* What each call leaves behind. */
static void leave_more(size_t rows, size_t cols) {
    (void)rows;
    (void)cols;
#if defined(FAULT_LEAK)
    volatile char *lost = (volatile char *)malloc(1 << 14);
    lost[0] = lost[1 << 13] = 1;
#elif defined(FAULT_LEAK_A_LITTLE)
    volatile char *lost = (volatile char *)malloc(48);
    lost[0] = 1;
#elif defined(FAULT_LEAK_WHERE_LARGE)
    if (rows * cols >= 1 << 12) {
        volatile char *lost = (volatile char *)malloc(1 << 11);
        lost[0] = lost[1 << 10] = 1;
    }
#elif defined(FAULT_LEAK_MAPPING)
    /* Address space alone; every hundredth call, as the number of mappings of a process is limited. */
    static unsigned calls;
    if (calls++ % 100 == 0) {
        mmap(NULL, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
#elif defined(FAULT_THREADS)
    static unsigned calls;
    if (calls++ % 8 == 0 && calls < 4096) {
        start_thread();
    }
#elif defined(FAULT_POOL)
    /* No fault: a pool of two threads and of memory, made when it is first needed, and grown once. */
    static unsigned calls;
    static char *pool;
    if (calls == 0) {
        start_thread();
        start_thread();
    }
    if (calls == 0 || calls == 2000) {
        free(pool);
        pool = (char *)malloc((size_t)(calls + 1) << 11);
        memset(pool, 1, (size_t)(calls + 1) << 11);
    }
    calls++;
#elif defined(FAULT_DIRECTION) && defined(__x86_64__)
    __asm__ volatile("std" : : : "memory");
#elif defined(FAULT_UPPER) && defined(__x86_64__)
    __asm__ volatile("vpcmpeqd %%ymm3, %%ymm3, %%ymm3" : : : "xmm3");
#endif
}

#if defined(FAULT_READY_TOO_EARLY) || defined(FAULT_FLAG_BEFORE_POINTER)
/* What is prepared by the first call, and no lock is held for it. */
static volatile int is_ready;
static volatile float table[4];
typedef float (*weigh_fn)(unsigned);
static volatile weigh_fn weigh;

static float by_table(unsigned code) {
    return table[code];
}

static void prepare(void) {
    if (!is_ready) {
        is_ready = 1;
#if defined(FAULT_READY_TOO_EARLY)
        weigh = by_table;
#endif
        /* What takes its time, as asking a CPU for its features does. */
        for (volatile int turn = 0; turn < 200; turn++) {
        }
        for (int c = 0; c < 4; c++) {
            table[c] = WEIGHTS[c];
        }
        weigh = by_table;
    }
}

static float prepared_dot(const uint8_t *row, const float *scales, const float *x, size_t cols) {
    float sum = 0.0f;
    for (size_t c = 0; c < cols; c++) {
        float weight = weigh(code(row, c));
        sum += (scales ? weight * scales[c / QK256_BLOCK_ELEMENTS] : weight) * x[c];
    }
    return sum;
}
#endif

/* The product in another order, which loses more than most and is as legal as any: one sum of the odd columns
 * from the last to the first, then of the even ones. Not one to imitate. */
#if defined(FAULT_LEGAL_ORDER) || defined(FAULT_VARIES) || defined(FAULT_VARIES_DECLARED)
static float poor_dot(const uint8_t *row, const float *scales, const float *x, size_t cols) {
    float sum = 0.0f;
    for (int parity = 1; parity >= 0; parity--) {
        for (size_t c = cols; c-- > 0;) {
            if (c % 2 == (size_t)parity) {
                float weight = WEIGHTS[code(row, c)];
                sum += (scales ? weight * scales[c / QK256_BLOCK_ELEMENTS] : weight) * x[c];
            }
        }
    }
    return sum;
}
#endif

static int32_t faulty_gemv(const qk256_call *call) {
    const uint8_t *packed = call->packed;
    const float *scales = call->scales, *x = (const float *)call->x;
    float *y = (float *)call->out;
    size_t packed_len = call->packed_len, scales_len = call->scales_len, x_len = call->x_len;
    size_t y_len = call->out_len, rows = call->rows, cols = call->cols, row_stride = call->row_stride;
    /* Each fault uses some of them. */
    (void)packed, (void)packed_len, (void)scales, (void)scales_len, (void)x, (void)x_len;
    (void)y, (void)y_len, (void)row_stride;
#if defined(FAULT_REFUSE) || defined(FAULT_REFUSE_AND_ACCEPT)
    if (rows > 1 && cols % 4 == 3) {
        return QK256_REFUSED;
    }
#endif
#if defined(FAULT_ACCEPT) || defined(FAULT_REFUSE_AND_ACCEPT)
    /* What is not there is left out, and the caller is not told. */
    cols = x_len < cols ? x_len : cols;
#endif
#if defined(FAULT_ALIGNED_STACK)
    /* Takes the stack at the call for aligned to 32 bytes, where the ABI has 16. Below are a return address and
     * a frame pointer. */
    if (FALLS(rows, cols) && (uintptr_t)__builtin_frame_address(0) % 32 != 16) {
        __builtin_trap();
    }
#endif
#if defined(FAULT_READY_TOO_EARLY) || defined(FAULT_FLAG_BEFORE_POINTER)
    prepare();
#endif
#if defined(FAULT_NOTHING)
    return QK256_UNSUPPORTED;
#elif defined(FAULT_NO_SCALES)
    if (scales) {
        return QK256_UNSUPPORTED;
    }
#elif defined(FAULT_ACCUMULATE) || defined(FAULT_LEAVE_ROWS)
    float *old = (float *)malloc(y_len * sizeof *y + 1);
    memcpy(old, y, y_len * sizeof *y);
#endif
    qk256_call right = *call;
    right.cols = cols;
    int32_t result = gemv(&right);
    if (result == QK256_DONE && rows > 0 && cols > 0) {
        fall(rows, cols);
        leave();
        leave_more(rows, cols);
#if defined(FAULT_READY_TOO_EARLY) || defined(FAULT_FLAG_BEFORE_POINTER)
        for (size_t r = 0; r < rows; r++) {
            y[r] = prepared_dot(packed + r * row_stride, scales ? scales + r * blocks(cols) : NULL, x, cols);
        }
#endif
#if defined(FAULT_VARIES) || defined(FAULT_VARIES_DECLARED)
        /* A row alone takes another path. */
        if (rows == 1) {
            y[0] = poor_dot(packed, scales, x, cols);
        }
#endif
#if defined(FAULT_READ_BEFORE_PACKED)
        READ(packed - 1);
#elif defined(FAULT_READ_PAST_PACKED)
        READ(packed + packed_len);
#elif defined(FAULT_READ_BEFORE_X)
        READ((const uint8_t *)x - 1);
#elif defined(FAULT_READ_PAST_X)
        READ(x + x_len);
#elif defined(FAULT_READ_BEFORE_SCALES)
        if (scales) {
            READ((const uint8_t *)scales - 1);
        }
#elif defined(FAULT_READ_PAST_SCALES)
        if (scales) {
            READ(scales + scales_len);
        }
#elif defined(FAULT_WRITE_BEFORE_Y)
        WRITE(y - 1);
#elif defined(FAULT_WRITE_PAST_Y)
        WRITE(y + y_len);
#elif defined(FAULT_WRITE_SLACK_Y)
        if (y_len > rows) {
            y[rows] = 0.0f;
        }
#elif defined(FAULT_RESTORE_PACKED)
        /* Anything else, and what was there: whoever looks only afterwards sees nothing. */
        RESTORE(uint8_t, packed, packed[0] ^ 0xff);
#elif defined(FAULT_RESTORE_SCALES)
        if (scales) {
            RESTORE(float, scales, -scales[0]);
        }
#elif defined(FAULT_RESTORE_X)
        RESTORE(float, x + cols - 1, -x[cols - 1]);
#elif defined(FAULT_RESTORE_SLACK)
        if (y_len > rows) {
            RESTORE(float, y + rows, y[rows]);
        }
#elif defined(FAULT_FTZ) && defined(__x86_64__)
        _MM_SET_FLUSH_ZERO_MODE(_MM_FLUSH_ZERO_ON);
#elif defined(FAULT_STALE)
        /* A scratch that is never cleared: the first call is right. */
        static float scratch[64];
        for (size_t r = 0; r < rows && r < 64; r++) {
            scratch[r] += y[r];
            y[r] = scratch[r];
        }
#elif defined(FAULT_ACCUMULATE)
        for (size_t r = 0; r < rows; r++) {
            y[r] += old[r];
        }
#elif defined(FAULT_LEAVE_ROWS)
        /* What is left over from fours is not written. */
        for (size_t r = rows - rows % 4; r < rows; r++) {
            y[r] = old[r];
        }
#elif defined(FAULT_AFTER_WIDE)
        /* The first call after one of more than two blocks is wrong, wherever the columns are fewer. */
        static size_t last;
        if (last > 512 && cols <= 512) {
            y[0] += 1.0f;
        }
        last = cols;
#elif defined(FAULT_GARBAGE)
        y[0] += cols == 1 ? 1.0f : 0.0f;
#elif defined(FAULT_SECOND_THREAD)
        /* The first thread that calls is served well. */
        static int threads;
        static __thread int mine;
        if (mine == 0) {
            mine = __atomic_add_fetch(&threads, 1, __ATOMIC_RELAXED);
        }
        y[0] = mine > 1 ? y[0] + y[0] + 1.0f : y[0];
#elif defined(FAULT_LEGAL_ORDER)
        for (size_t r = 0; r < rows; r++) {
            y[r] = poor_dot(packed + r * row_stride, scales ? scales + r * blocks(cols) : NULL, x, cols);
        }
#endif
    }
#if defined(FAULT_ACCUMULATE) || defined(FAULT_LEAVE_ROWS)
    free(old);
#endif
    return result;
}

#if defined(FAULT_CLOBBER) && defined(__x86_64__)
/* As hand-written assembly does that forgets to save two registers. */
int32_t saved_gemv(const qk256_call *call);
int32_t clobbering_gemv(const qk256_call *call);

int32_t saved_gemv(const qk256_call *call) {
    return faulty_gemv(call);
}

__asm__(".text\n.globl clobbering_gemv\n.type clobbering_gemv, @function\nclobbering_gemv:\n"
        "movq $7, %rbx\nmovq $7, %r14\njmp saved_gemv@PLT\n");
#define GEMV clobbering_gemv
#else
#define GEMV faulty_gemv
#endif

#if defined(FAULT_NO_FLAGS)
/* Wrong sizes never come. */
#define FLAGS 0
#elif defined(FAULT_VARIES_DECLARED)
#define FLAGS (QK256_FLAG_REFUSES_WRONG_SIZES | QK256_FLAG_VARIES_WITH_ROWS)
#else
#define FLAGS QK256_FLAG_REFUSES_WRONG_SIZES
#endif

#ifdef FAULT_NO_NAME
#define NAME NULL
#else
#define NAME "faults"
#endif

static const qk256_kernel FAULTY[] = {
#ifndef FAULT_ONLY_GEMV
    QK256_KERNEL(NAME, "unpack", "qk256", "f32", "", FLAGS, faulty_unpack),
    QK256_KERNEL(NAME, "dequantize", "qk256", "f32", "", FLAGS, faulty_dequantize),
#endif
    QK256_KERNEL(NAME, "gemv", "qk256", "f32", "", FLAGS, GEMV),
};

#if defined(FAULT_OLD_VERSION)
/* What a plugin of version 1 exports, beside its operations. */
QK256_EXPORT uint32_t qk256_abi_version(void);

uint32_t qk256_abi_version(void) {
    return 1;
}
#endif

#if defined(FAULT_NO_VERSION) || defined(FAULT_OLD_VERSION)
/* The table has another name. */
#define qk256_kernels table_of_kernels
QK256_EXPORT const qk256_kernel *qk256_kernels(uint32_t abi_version, size_t *count);
#endif

const qk256_kernel *qk256_kernels(uint32_t abi_version, size_t *count) {
    (void)right_kernels;
#ifdef FAULT_NO_OPERATION
    *count = 0;
#else
    *count = sizeof FAULTY / sizeof FAULTY[0];
#endif
#ifdef FAULT_VERSION
    /* Knows another version. */
    return abi_version == 77 ? FAULTY : NULL;
#else
    return abi_version == QK256_ABI_VERSION ? FAULTY : NULL;
#endif
}
