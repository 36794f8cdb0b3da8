#!/usr/bin/env bash
# Whether what build.sh left in $OUT is fit to be sent to other machines. Reports every target and everything that is wrong with it;
# fails if anything is. OUT and SANITIZER are those of the build.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

MIN_COUNTERS=1000
MIN_ASAN_CALLS=1000
RUNS=4
# With these the services start a program. The last option is ClusterFuzz's; the file of options must undo it.
LIMITS=(-rss_limit_mb=2560 -timeout=25)
OPTIONS=alloc_dealloc_mismatch=0:allocator_may_return_null=1:check_malloc_usable_size=0:detect_leaks=1:detect_odr_violation=0
OPTIONS+=:detect_stack_use_after_return=1:handle_abort=1:handle_segv=1:handle_sigbus=1:handle_sigfpe=1:handle_sigill=1
OPTIONS+=:quarantine_size_mb=10:strict_memcmp=1:use_sigaltstack=1:allow_user_segv_handler=0

# Programs run on machines that have neither $OUT nor the repository: from a copy, elsewhere.
there=$(mktemp -d)
trap 'rm -rf "$there"' EXIT
cp -R "$OUT"/. "$there"
cd "$there"
log=$there/log
bad=0

complain() {
    echo "BAD: $target: $1"
    bad=$((bad + 1))
}

complain_with_log() {
    complain "$1"
    cat "$log"
}

# Without an input, and with the options of its own file behind those of all.
run() {
    local own
    own=$(sed -n '/^\[asan\]/,/^\[libfuzzer\]/{/=/p}' "$target.options" 2>/dev/null | paste -sd:)
    env -u OUT -u SRC -u WORK ASAN_OPTIONS="$OPTIONS:$own" "./$target" "${LIMITS[@]}" "$@" </dev/null >"$log" 2>&1
}

# The number behind a mark in the log, or 0.
number() {
    sed -n "s/.*$1\([0-9][0-9]*\).*/\1/p" "$log" | tail -n 1 | grep . || echo 0
}

check_program() {
    local machine
    machine=$(od -An -tx1 -N20 "$target" | tr -d ' \n')
    [[ $machine == 7f454c46*3e00 ]] || complain "no program for x86_64"
    grep -q LLVMFuzzerTestOneInput "$target" || complain "the services know a fuzz target by LLVMFuzzerTestOneInput, which it lacks"
}

check_sanitizer() {
    local calls
    calls=$(objdump -d --no-show-raw-insn "$target" | grep -c 'call.*<__asan_report_' || true)
    if [[ $SANITIZER == address ]]; then
        ((calls >= MIN_ASAN_CALLS)) || complain "calls AddressSanitizer $calls times: that part is not built with it"
    else
        ((calls == 0)) || complain "calls AddressSanitizer, with SANITIZER=$SANITIZER"
    fi
}

check_options() {
    grep -qx 'allow_user_segv_handler=1' "$target.options" 2>/dev/null || complain "may not handle faults, its options are missing"
}

check_start() {
    run -seed=1 -runs="$RUNS" || {
        complain_with_log "does not start"
        return
    }
    grep -q "Done $RUNS runs" "$log" || complain "ends before $RUNS inputs are done"
    [[ $SANITIZER == coverage ]] || (($(number 'INFO: Loaded [0-9]* modules *(') >= MIN_COUNTERS)) ||
        complain "has fewer than $MIN_COUNTERS counters: it is not instrumented"
}

# Every seed once; each must be read, none may fail, and the counters must move.
check_seeds() {
    local seeds
    seeds=$(find seeds -type f -size +0 | wc -l)
    ((seeds > 0)) || complain "has no seeds"
    run -runs=0 seeds || {
        complain_with_log "fails on a seed"
        return
    }
    (($(number 'seed corpus: files: ') == seeds)) || complain "does not read all of its $seeds seeds"
    (($(number 'INITED cov: ') > 0)) || complain "runs its seeds without a counter that moves"
}

# As the services measure coverage.
check_profile() {
    mkdir merged
    LLVM_PROFILE_FILE=$there/profiles/%p.profraw run -merge=1 merged seeds || complain_with_log "fails on a seed"
    [[ -n $(find profiles -name '*.profraw' -size +0 2>/dev/null) ]] || complain_with_log "writes no profile"
    rm -rf merged profiles
}

for source in "$root"/fuzz/fuzz_targets/*.rs; do
    target=$(basename "$source" .rs)
    before=$bad
    if [[ ! -x $target ]]; then
        complain "was not built"
        continue
    fi
    check_program
    check_sanitizer
    check_options
    check_start
    rm -rf seeds && mkdir seeds
    if ! unzip -q "${target}_seed_corpus.zip" -d seeds 2>"$log"; then
        complain_with_log "has no archive of seeds"
    elif [[ $SANITIZER == coverage ]]; then
        check_profile
    else
        check_seeds
    fi
    ((bad > before)) || echo "good: $target, $(find seeds -type f | wc -l) seeds"
done
((bad == 0))
