#!/bin/sh
# Builds a fuzz target with clang, ASan and UBSan, and runs it: tests/fuzz/run.sh TARGET SECONDS [libFuzzer options]
# ("loader 600"). What it finds it leaves in build/fuzz/found/TARGET; the corpus grows in build/fuzz/corpus/TARGET.
set -eu
if [ $# -lt 2 ]; then
    echo "usage: tests/fuzz/run.sh TARGET SECONDS [libFuzzer options]" >&2
    exit 2
fi
target=$1
seconds=$2
shift 2
cd "$(dirname "$0")/../.."
build=build/fuzz
cmake -S . -B $build -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_COMPILER=clang -DBERT_SANITIZE=address,undefined \
    -DBERT_FUZZ=ON >/dev/null
cmake --build $build --target "fuzz_$target"
mkdir -p "$build/corpus/$target" "$build/seeds/$target" "$build/found/$target"
# A target may have a program that makes its seeds.
if [ -f "tests/fuzz/seeds_$target.c" ]; then
    cmake --build $build --target "seeds_$target"
    $build/tests/fuzz/seeds_$target "$build/seeds/$target"
fi
exec "$build/tests/fuzz/fuzz_$target" -max_total_time="$seconds" -max_len=65536 -rss_limit_mb=3000 -timeout=20 \
    -artifact_prefix="$build/found/$target/" "$@" "$build/corpus/$target" "$build/seeds/$target"
