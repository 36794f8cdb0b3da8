#!/usr/bin/env bash
# ClusterFuzzLite builds what OSS-Fuzz builds. The script is called where it lies, so that it is the one of the commit under test.
set -euo pipefail
exec bash "$SRC/qk256/oss-fuzz/build.sh"
