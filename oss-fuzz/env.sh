# To be sourced: the environment in which the services run build.sh, for one folder on this machine. Values are those of their builder as
# of August 2026, but for what only its clang understands: the C++ of libFuzzer is built here, by the compiler that is here.

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
}
