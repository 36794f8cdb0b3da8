#!/usr/bin/env bash
# Builds every fuzz target, with its seeds and options, for OSS-Fuzz and ClusterFuzzLite. The environment is theirs: the repository is
# $SRC/qk256, results go to $OUT, and $WORK is for what is needed on the way. oss-fuzz/try.sh sets it up without a container.
set -euo pipefail

refuse() {
    echo "oss-fuzz/build.sh: $1" >&2
    exit 1
}

engine=${FUZZING_ENGINE:-libfuzzer}
[[ $engine == libfuzzer ]] || refuse "FUZZING_ENGINE=$engine: the targets call libFuzzer's own mutator, so the engine must be libfuzzer"
architecture=${ARCHITECTURE:-x86_64}
[[ $architecture == x86_64 ]] || refuse "ARCHITECTURE=$architecture: the kernels worth fuzzing are those of x86_64"
case ${SANITIZER:-address} in
    address) sanitizer=address ;;
    # What measures coverage is in RUSTFLAGS.
    coverage | none) sanitizer=none ;;
    memory) refuse "SANITIZER=memory: not supported; .ci/run looks for undefined data with valgrind, in the machine code that ships" ;;
    undefined) refuse "SANITIZER=undefined: rustc has none; assertions and overflow checks are on with SANITIZER=address" ;;
    *) refuse "SANITIZER=$SANITIZER: not supported; address, coverage and none are" ;;
esac

cd "$SRC/qk256"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$WORK/target}
cargo fuzz build -O --debug-assertions --sanitizer "$sanitizer"

for target in $(cargo fuzz list); do
    cp "$CARGO_TARGET_DIR/x86_64-unknown-linux-gnu/release/$target" "$OUT/$target"
    cp oss-fuzz/default.options "$OUT/$target.options"
    rm -f "$OUT/${target}_seed_corpus.zip"
    zip -qj "$OUT/${target}_seed_corpus.zip" "corpus/$target"/*
done
