#!/usr/bin/env bash
# What the services do, without a container: builds into a folder in their environment, then checks what was built.
#   oss-fuzz/try.sh [address|coverage|none] [FOLDER]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/oss-fuzz/env.sh"

if [[ -n ${2:-} ]]; then
    mkdir -p "$2"
    folder=$(cd "$2" && pwd)
else
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
fi
mkdir -p "$folder"/{src,work,out}
ln -sfn "$root" "$folder/src/qk256"
# What is built here anyway need not be built twice.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
oss_fuzz_environment "$folder" "${1:-address}"
bash "$root/.clusterfuzzlite/build.sh"
bash "$root/oss-fuzz/check.sh"
