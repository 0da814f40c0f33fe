#!/usr/bin/env bash
# Everything that wants a GPU, on a machine that has one: builds, tests, sanitizers, benchmarks against PyTorch.
#
#   bench/gpu_suite.sh [OPTION ...] STAGE ...    # or 'all': every stage, in this order
#
#   build         bertc, the CUDA provider and the tests for a GPU, for this GPU alone
#   kernels       every test for a GPU (ctest -L gpu)
#   conformance   whole graphs (bertc verify) in float32, float16, bfloat16 and FP8
#   memcheck racecheck initcheck synccheck       compute-sanitizer over the kernel tests; 'sanitizers' is all four
#   bench-base bench-compiled-{1,8,32,128} bench-large bench-8bit bench-ragged bench-load     gpu_bench.py says what each is
#
#   pack          on any machine with the libraries that bert.c needs: collects them in build/gpu-bundle, for one that lacks them
#   report        prints the tables of what there is
#
#   --out FOLDER     where result.json, result.md and suite.log are, which every stage adds to (default build/gpu-results)
#   --build FOLDER   default build/gpu
#   --models FOLDER  where models are made, 2 GB (default build/gpu-models)
#   --cases FOLDER   one more folder of cases for conformance; may be given again
#   --limit S        seconds a stage may take (default 470)
#
# The machine needs CUDA 12 or 13, a C compiler, CMake 3.21 and Python, for benchmarks PyTorch, onnx and numpy besides, and no network.
# What it lacks of OpenBLAS, protobuf-c, utf8proc, jansson, xxHash, cmocka, pkg-config and protoc-c comes with build/gpu-bundle.
# Exit status: 0 all passed, 1 something failed, 2 usage, 77 no GPU is here.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly stages=(build kernels conformance memcheck racecheck initcheck synccheck bench-base bench-compiled-1 bench-compiled-8
  bench-compiled-32 bench-compiled-128 bench-large bench-8bit bench-ragged bench-load)
readonly libraries=(openblas libprotobuf-c libutf8proc jansson libxxhash cmocka)
readonly bundle=build/gpu-bundle dependencies=build/gpu-dependencies
python=${PYTHON:-python3}
out=build/gpu-results build=build/gpu models=build/gpu-models limit=470
cases=(tests/data/graphs)

usage() {
  sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "$0"
}

has_gpu() {
  command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | grep -q .
}

# ---- Libraries that travel

# Prints the library itself and those that it wants, but for what every system and compiler has.
with_needs() {
  echo "$1"
  ldd "$1" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | grep -vE '/(libc|libm|libdl|librt|libpthread|libgcc_s|libstdc\+\+|ld-linux[^/]*)\.so'
}

# copy_library FILE FOLDER: under its SONAME, which is what programs look for.
copy_library() {
  local soname
  soname=$(objdump -p "$1" | awk '$1 == "SONAME" { print $2 }')
  cp -L "$1" "$2/${soname:-$(basename "$1")}"
  chmod u+w "$2/${soname:-$(basename "$1")}"
}

pack_library() {
  local module=$1 folder=$2 file name word
  local -a flags
  read -ra flags <<<"$(pkg-config --libs "$module")"
  for word in "${flags[@]}"; do
    [[ $word == -l* ]] || continue
    file=$(cc "${flags[@]}" -print-file-name="lib${word#-l}.so")
    if [[ $file != /* ]]; then
      for name in "${flags[@]}"; do [[ $name == -L* && -e ${name#-L}/lib${word#-l}.so ]] && file=${name#-L}/lib${word#-l}.so; done
    fi
    file=$(readlink -f "$file")
    while read -r name; do copy_library "$name" "$folder/lib"; done < <(with_needs "$file")
    ln -sf "$(objdump -p "$file" | awk '$1 == "SONAME" { print $2 }')" "$folder/lib/lib${word#-l}.so"
  done
  # The variables are pkg-config's own.
  # shellcheck disable=SC2016
  printf 'prefix=${pcfiledir}/../..\nName: %s\nDescription: brought along\nVersion: %s\nCflags: -I${prefix}/include\nLibs: -L${prefix}/lib %s\n' \
    "$module" "$(pkg-config --modversion "$module")" "$(pkg-config --libs-only-l "$module")" >"$folder/lib/pkgconfig/$module.pc"
}

# The headers that the project includes of these libraries, with those that they include of their own.
pack_headers() {
  local folder=$1 file below
  local -a flags
  read -ra flags <<<"$(pkg-config --cflags-only-I "${libraries[@]}")"
  {
    printf '#include <%s>\n' setjmp.h stdarg.h stddef.h stdint.h cblas.h protobuf-c/protobuf-c.h utf8proc.h jansson.h xxhash.h cmocka.h
    printf '#if __has_include(<%s>)\n#include <%s>\n#endif\n' xxh_x86dispatch.h xxh_x86dispatch.h
  } | cc "${flags[@]}" -M -x c - | tr -s '[:space:]' '\n' | grep -E '/[^/]*(cblas|openblas|protobuf-c|utf8proc|jansson|xxh|cmocka)[^/]*\.h$' |
    sort -u | while read -r file; do
    below=
    [[ $file == */protobuf-c/* ]] && below=protobuf-c/
    mkdir -p "$folder/include/$below"
    cp -L "$file" "$folder/include/$below"
  done
}

pack_tool() {
  local tool=$1 folder=$2 name
  cp -L "$(command -v "$tool")" "$folder/bin/$tool"
  while read -r name; do
    [[ $name == "$(command -v "$tool")" ]] || copy_library "$name" "$folder/lib"
  done < <(with_needs "$(command -v "$tool")")
}

pack() {
  local module folder size tree
  for module in "${libraries[@]}"; do
    pkg-config --exists "$module" || { echo "pkg-config knows no $module: pack on a machine where bert.c builds" >&2; return 1; }
  done
  folder=$(mktemp -d)
  mkdir -p "$folder"/{bin,include,lib/pkgconfig} "$bundle"
  for module in "${libraries[@]}"; do pack_library "$module" "$folder"; done
  pack_headers "$folder"
  pack_tool pkg-config "$folder"
  pack_tool protoc-c "$folder"
  tar -C "$folder" -czf "$bundle/libraries.tar.gz" .
  rm -r "$folder"
  size=$(stat -c %s "$bundle/libraries.tar.gz")
  tree=$(git ls-files -z --cached --others --exclude-standard | xargs -0 stat -c %s | awk '{ sum += $1 } END { print sum + 0 }')
  printf '%s/libraries.tar.gz: %.1f MiB; with the tree %.1f MiB\n' "$bundle" "$(awk "BEGIN { print $size / 1048576 }")" \
    "$(awk "BEGIN { print ($size + $tree) / 1048576 }")"
  if ((size + tree > 64 * 1048576)); then
    echo "that is more than 64 MiB: it may not travel" >&2
    return 1
  fi
}

# Takes libraries away that the machine has itself, but for those that the build links: what is in LD_LIBRARY_PATH would come before the
# machine's own for every program, Python among them.
drop_known_libraries() {
  local folder=$1 known linked file name
  known=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null | awk '{ print $1 }') || true
  linked=$(readlink "$folder"/*.so)
  for file in "$folder"/*.so.*; do
    name=$(basename "$file")
    if grep -qxF -- "$name" <<<"$known" && ! grep -qxF -- "$name" <<<"$linked"; then rm "$file"; fi
  done
}

# Makes what was brought along known to CMake, compilers and programs; what the machine has of its own tools goes first.
use_bundle() {
  [[ -f $bundle/libraries.tar.gz ]] || return 0
  if [[ ! -d $dependencies || $bundle/libraries.tar.gz -nt $dependencies ]]; then
    # Whole or not at all: a stage's time may end here. touch: tar gives the folder the time at which it was packed.
    rm -rf "$dependencies" "$dependencies.new"
    mkdir -p "$dependencies.new"
    tar -C "$dependencies.new" -xzf "$bundle/libraries.tar.gz"
    drop_known_libraries "$dependencies.new/lib"
    touch "$dependencies.new"
    mv "$dependencies.new" "$dependencies"
  fi
  local folder=$PWD/$dependencies
  export PATH=$PATH:$folder/bin PKG_CONFIG_PATH=$folder/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
  export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder/lib
}

# ---- Stages

# Prints the cuBLASLt of a Python package, beside PyTorch's, say, of nvcc's major version; nothing where the toolkit has its own:
# beside its nvcc, or where Debian's packages have libraries.
cublas_of_python() {
  local nvcc toolkit folder major
  # As CMake looks for it.
  nvcc=$(PATH=$PATH:${CUDA_HOME:-}/bin:${CUDA_PATH:-}/bin:/usr/local/cuda/bin command -v nvcc) || return 0
  toolkit=$(dirname "$(dirname "$(readlink -f "$nvcc")")")
  for folder in "$toolkit"/{lib64,lib,targets/*/lib} "${nvcc%/bin/nvcc}/lib/$(uname -m)-linux-gnu"; do
    [[ ! -e $folder/libcublasLt.so ]] || return 0
  done
  major=$("$nvcc" --version | sed -n 's/.*release \([0-9]*\)\..*/\1/p')
  "$python" - "$major" <<'END'
import glob, importlib.util, os, sys
package = importlib.util.find_spec("nvidia")
found = [library for folder in (package.submodule_search_locations if package else [])
         for library in glob.glob(folder + "/cu*/lib/libcublasLt.so." + sys.argv[1])
         if os.path.exists(os.path.dirname(library) + "/../include/cublasLt.h")]
print(max(found, default=""))
END
}

stage_build() {
  local architectures=() generator=() cublas=() file
  file=$(cublas_of_python)
  if [[ -n $file ]]; then
    echo "the toolkit has no cuBLASLt; Python's packages have $file"
    export C_INCLUDE_PATH=${file%/lib/*}/include${C_INCLUDE_PATH:+:$C_INCLUDE_PATH}
    cublas=("-DCUDA_cublasLt_LIBRARY=$file")
  fi
  if has_gpu; then
    architectures=("-DCMAKE_CUDA_ARCHITECTURES=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)-real")
  fi
  [[ ! -f $build/CMakeCache.txt ]] && command -v ninja >/dev/null && generator=(-G Ninja)
  cmake -S . -B "$build" "${generator[@]}" -DCMAKE_BUILD_TYPE=Release -DBERT_BUILD_TESTS=ON -DBERT_CUDA=ON "${architectures[@]}" \
    "${cublas[@]}"
  cmake --build "$build" -j "$(nproc)" --target bertc libbertc_cuda gpu_tests
}

checks() {
  "$python" bench/gpu_checks.py "$1" --build "$build" --rows "$rows" "${@:2}"
}

# In a process of its own, so that the clock can end it with all that it started.
run_stage() {
  case $1 in
    build) stage_build ;;
    kernels) checks kernels ;;
    conformance) checks conformance "${cases[@]}" ;;
    memcheck | racecheck | initcheck | synccheck) checks sanitizers --tools "$1" --seconds "$((limit - 20))" ;;
    bench-*) "$python" bench/gpu_bench.py "${1#bench-}" --bertc "$build/cli/bertc" --models "$models" --rows "$rows" ;;
  esac
}

timed_stage() {
  local stage=$1 status=0 begin=$SECONDS word=passed note=
  local -a words=(--out "$out" --build "$build" --models "$models" --limit "$limit")
  local folder
  for folder in "${cases[@]:1}"; do words+=(--cases "$folder"); done
  mkdir -p "$out" "$build/stages"
  : >"$build/stages/$stage.rows"
  printf '\n==== %s\n' "$stage" | tee -a "$out/suite.log"
  timeout -k 10 "$limit" bench/gpu_suite.sh "${words[@]}" --run "$stage" 2>&1 | tee "$build/stages/$stage.log" || status=${PIPESTATUS[0]}
  cat "$build/stages/$stage.log" >>"$out/suite.log"
  if ((status == 124 || status == 137)); then
    word=timed-out note="ended after $limit s"
  elif ((status)); then
    word=failed note=$(tail -n 3 "$build/stages/$stage.log" | tr '\n' ' ' | cut -c 1-300)
  fi
  "$python" bench/gpu_report.py record "$out/result.json" "$stage" --status "$word" --seconds "$((SECONDS - begin))" \
    --rows "$build/stages/$stage.rows" --note "$note"
  "$python" bench/gpu_report.py show "$out/result.json" >"$out/result.md"
  printf '==== %s: %s, %d s\n' "$stage" "$word" "$((SECONDS - begin))"
  [[ $word == passed ]]
}

# Reads the arguments into the variables above, and chosen and inner.
parse() {
  while (($#)); do
    case $1 in
      --out | --build | --models | --cases | --limit | --run)
        (($# > 1)) || { echo "$1 wants a value" >&2; exit 2; }
        case $1 in
          --out) out=$2 ;;
          --build) build=$2 ;;
          --models) models=$2 ;;
          --cases) cases+=("$2") ;;
          --limit) limit=$2 ;;
          --run) inner=$2 ;; # what timed_stage calls
        esac
        shift
        ;;
      -h | --help) usage; exit 0 ;;
      all) chosen+=("${stages[@]}") ;;
      sanitizers) chosen+=(memcheck racecheck initcheck synccheck) ;;
      pack | report) chosen+=("$1") ;;
      *)
        [[ " ${stages[*]} " == *" $1 "* ]] || { echo "there is no stage '$1': bench/gpu_suite.sh --help lists them" >&2; exit 2; }
        chosen+=("$1")
        ;;
    esac
    shift
  done
  [[ $limit =~ ^[1-9][0-9]*$ ]] || { echo "--limit takes seconds, not '$limit'" >&2; exit 2; }
}

# A function, so that bash has read all of this file before a stage begins.
main() {
  local stage failed=0 gpu=true
  chosen=() inner=''
  parse "$@"
  rows=$build/stages/$inner.rows
  if [[ -n $inner ]]; then
    use_bundle
    run_stage "$inner"
    exit
  fi
  ((${#chosen[@]})) || { usage >&2; exit 2; }
  for stage in "${chosen[@]}"; do
    case $stage in
      pack) pack || failed=1 ;;
      report) "$python" bench/gpu_report.py show "$out/result.json" ;;
      build) timed_stage build || failed=1 ;;
      *)
        if has_gpu; then
          timed_stage "$stage" || failed=1
        else
          gpu=false
          echo "$stage: not run: no GPU is here"
        fi
        ;;
    esac
  done
  ((failed == 0)) || exit 1
  $gpu || exit 77
}

main "$@"
exit
