#!/usr/bin/env bash
# Installs the build into a folder of its own, builds consumer.c against it by pkg-config and by CMake (shared and static),
# and runs the results on the bundled model. run.sh BUILD SOURCE WORK
set -euo pipefail
build=$1 source=$2 work=$3
rm -rf "$work"
mkdir -p "$work/consumer"
cmake --install "$build" --prefix "$work/root" >"$work/install.log"
libdir=$(dirname "$(find "$work/root" -name 'libbertc.so' | head -1)")
cp "$source/tests/install/consumer.c" "$work/consumer/"
cp "$source/tests/install/consumer.cmake.txt" "$work/consumer/CMakeLists.txt"
model=$source/models/zh-sentiment/model.onnx

check() {
  local answer
  answer=$(LD_LIBRARY_PATH=$libdir "$@" "$model")
  echo "$1: $answer"
  [[ $answer == "bert.c "*": positive" ]]
}

cd "$work/consumer"
export PKG_CONFIG_PATH=$libdir/pkgconfig
# The prefix of the .pc file is where the package was configured for: say where it is now.
${CC:-cc} -std=c11 -Wall -Wextra -Werror consumer.c -o by-pkg-config \
  $(pkg-config --define-variable=prefix="$work/root" --cflags --libs bertc)
check ./by-pkg-config
cmake -S . -B build -DCMAKE_PREFIX_PATH="$work/root" >"$work/configure.log"
cmake --build build >"$work/build.log"
check build/consumer_bertc
check build/consumer_bertc_static
LD_LIBRARY_PATH=$libdir "$work/root/bin/bertc" --version
