#!/usr/bin/env bash
# Builds bert.c with its tests, warnings as errors, and runs them; installs what is missing first (Debian, Ubuntu).
#   ./test.sh            what a person waits for, and what takes longer: every test that needs no Python
#   ./test.sh --quick    the quick ones alone
#   ./test.sh --full     also holds the tokenizer and models against tokenizers and ONNX Runtime, in a Python environment under build/
# The last lines are ctest's summary.
set -euo pipefail
cd "$(dirname "$0")"
source .ci/packages.sh

labels=()
python=false
for option in "$@"; do
  case $option in
    --quick) labels=(-L quick) ;;
    --full) python=true ;;
    *) echo "usage: ./test.sh [--quick | --full]" >&2; exit 2 ;;
  esac
done

need_packages build test
configure build/release -DCMAKE_BUILD_TYPE=Release -DBERT_BUILD_TESTS=ON -DBERT_WARNINGS_AS_ERRORS=ON
cmake --build build/release
if $python; then
  need_packages python
  .ci/parity build/release
fi
ctest --test-dir build/release --output-on-failure --no-tests=error -j "$(nproc)" "${labels[@]}"
