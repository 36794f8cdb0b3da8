# To be sourced: the environment in which the services run build.sh and what it builds, for one folder on this machine. Values are those
# of their images, as of 2026, but for what only their clang understands: the C++ of libFuzzer is built by the compiler that is here.

# The folder, and one of address, coverage and none.
oss_fuzz_environment() {
    export SRC=$1/src WORK=$1/work OUT=$1/out
    export SANITIZER=$2 FUZZING_ENGINE=libfuzzer FUZZING_LANGUAGE=rust ARCHITECTURE=x86_64
    export CFLAGS="-O1 -fno-omit-frame-pointer -DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION"
    export CXXFLAGS=$CFLAGS
    export RUSTUP_TOOLCHAIN=${RUSTUP_TOOLCHAIN:-nightly}
    export RUSTFLAGS="--cfg fuzzing -Cdebuginfo=1 -Cforce-frame-pointers"
    case $SANITIZER in
        address) RUSTFLAGS+=" -Zsanitizer=address" ;;
        coverage) RUSTFLAGS+=" -Cinstrument-coverage" ;;
    esac
    export FUZZER_ARGS="-rss_limit_mb=2560 -timeout=25"
    export ASAN_OPTIONS=$(
        IFS=:
        options=(alloc_dealloc_mismatch=0 allocator_may_return_null=1 check_malloc_usable_size=0 detect_leaks=1 detect_odr_violation=0
            detect_stack_use_after_return=1 handle_abort=1 handle_segv=1 handle_sigill=1 quarantine_size_mb=10 strict_memcmp=1
            use_sigaltstack=1)
        echo "${options[*]}"
    )
}
