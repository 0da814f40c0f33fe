#!/usr/bin/env bash
# Everything that wants a GPU, on a machine that has one: builds, tests, sanitizers, benchmarks against PyTorch.
#
#   bench/gpu_suite.sh [OPTION ...] STAGE ...    # or 'all': every stage, in this order
#
#   build         bertc, the CUDA provider and the tests for a GPU, for this GPU alone
#   kernels       every test program for a GPU
#   conformance   whole graphs (bertc verify) in float32, float16, bfloat16 and FP8
#   bench-base bench-8bit bench-large bench-load bench-ragged bench-compiled     gpu_bench.py says what each is
#   memcheck racecheck initcheck synccheck       compute-sanitizer over the kernel tests; 'sanitizers' is all four
#
#   pack          on any machine with the libraries that bert.c needs: collects them in build/gpu-bundle, for one that lacks them
#   report        prints the tables of what there is
#
#   --out FOLDER     where result.json, result.md and suite.log are, which every stage adds to, and STAGE.rows, what the running
#                    stage has found so far (default build/gpu-results)
#   --build FOLDER   default build/gpu
#   --models FOLDER  where models are made, 2 GB (default build/gpu-models)
#   --cases FOLDER   one more folder of cases for conformance; may be given again
#   --cells LIST     of bench-base and bench-compiled, in this order: 1x128,8x128
#   --limit S        seconds a stage may take (default 470)
#   --total S        seconds all may take: stages get what is left, and are 'not run' where that is nothing
#
# bench/gpu_report.py merge adds up what several commands found.
# The machine needs CUDA 12 or 13, a C compiler, CMake 3.20 and Python, for benchmarks PyTorch, onnx and numpy besides, and no network.
# What it lacks of OpenBLAS, protobuf-c, utf8proc, jansson, xxHash, cmocka, pkg-config and protoc-c comes with build/gpu-bundle.
# Exit status: 0 all passed, 1 something failed, 2 usage, 77 no GPU is here.
set -euo pipefail
cd "$(dirname "$0")/.."

source bench/gpu_bundle.sh

# In the order of their worth, should time run out.
readonly stages=(build kernels conformance bench-base bench-8bit bench-large bench-load bench-ragged bench-compiled memcheck racecheck
  initcheck synccheck)
readonly spare=15 # seconds of --total that are kept for the end: writing the result, and a stage that is slow to stop
readonly device=${NVIDIA_DEVICE:-/dev/nvidia0}
python=${PYTHON:-python3}
out=build/gpu-results build=build/gpu models=build/gpu-models limit=470 total=0
cases=(tests/data/graphs) cells=()
export PATH=$PATH:/usr/local/nvidia/bin # nvidia-smi's place where a driver is lent to a container

usage() {
  sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "$0"
}

has_gpu() {
  [[ -e $device ]] || nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | grep -q .
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
  local architectures=() generator=() cublas=() file capability
  file=$(cublas_of_python)
  if [[ -n $file ]]; then
    echo "the toolkit has no cuBLASLt; Python's packages have $file"
    export C_INCLUDE_PATH=${file%/lib/*}/include${C_INCLUDE_PATH:+:$C_INCLUDE_PATH}
    cublas=("-DCUDA_cublasLt_LIBRARY=$file")
  fi
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -1 | tr -d .) || true
  [[ ! $capability =~ ^[0-9]+$ ]] || architectures=("-DCMAKE_CUDA_ARCHITECTURES=$capability-real")
  [[ ! -f $build/CMakeCache.txt ]] && command -v ninja >/dev/null && generator=(-G Ninja)
  cmake -S . -B "$build" "${generator[@]}" -DCMAKE_BUILD_TYPE=Release -DBERT_BUILD_TESTS=ON -DBERT_CUDA=ON "${architectures[@]}" \
    "${cublas[@]}"
  cmake --build "$build" -j "$(nproc)" --target bertc libbertc_cuda gpu_tests
}

checks() {
  "$python" bench/gpu_checks.py "$1" --build "$build" --rows "$out/$inner.rows" --seconds "$((limit - 5))" "${@:2}"
}

# In a process of its own, so that the clock can end it with all that it started.
run_stage() {
  case $inner in
    build) stage_build ;;
    kernels) checks kernels ;;
    conformance) checks conformance "${cases[@]}" ;;
    memcheck | racecheck | initcheck | synccheck) checks sanitizers --tools "$inner" ;;
    bench-*)
      "$python" bench/gpu_bench.py "${inner#bench-}" --bertc "$build/cli/bertc" --models "$models" --rows "$out/$inner.rows" \
        --seconds "$((limit - 5))" "${cells[@]}"
      ;;
  esac
}

# record STAGE WORD [OPTION ...]
record() {
  "$python" bench/gpu_report.py record "$out/result.json" "$1" --status "$2" "${@:3}"
  "$python" bench/gpu_tables.py "$out/result.json" >"$out/result.md"
}

timed_stage() {
  local stage=$1 status=0 begin=$SECONDS word=passed note='' most=$limit
  local -a words=(--out "$out" --build "$build" --models "$models" "${cells[@]}")
  local folder
  for folder in "${cases[@]:1}"; do words+=(--cases "$folder"); done
  mkdir -p "$out"
  printf '\n==== %s\n' "$stage" | tee -a "$out/suite.log"
  if ((total)); then most=$((total - SECONDS - spare < limit ? total - SECONDS - spare : limit)); fi
  if ((most < 10)); then
    record "$stage" "not run" --note "no time was left"
    return 1
  fi
  "$python" bench/gpu_report.py begin "$out/result.json" "$stage"
  timeout -k 5 "$most" bench/gpu_suite.sh "${words[@]}" --limit "$most" --run "$stage" 2>&1 | tee -a "$out/suite.log" ||
    status=${PIPESTATUS[0]}
  if ((status == 124 || status == 137)); then
    word=timed-out note="ended after $most s"
  elif ((status)); then
    word=failed note=$(tail -n 3 "$out/suite.log" | tr '\n' ' ' | cut -c 1-300)
  fi
  record "$stage" "$word" --seconds "$((SECONDS - begin))" --note "$note"
  printf '==== %s: %s, %d s\n' "$stage" "$word" "$((SECONDS - begin))" | tee -a "$out/suite.log"
  [[ $word == passed ]]
}

# While the compiler runs; a benchmark makes what is missing.
make_models() {
  mkdir -p "$out"
  timeout 120 "$python" bench/gpu_bench.py models --models "$models" >>"$out/suite.log" 2>&1 || true
}

# Reads the arguments into the variables above, and chosen and inner.
parse() {
  while (($#)); do
    case $1 in
      --out | --build | --models | --cases | --cells | --limit | --total | --run)
        (($# > 1)) || { echo "$1 wants a value" >&2; exit 2; }
        case $1 in
          --out) out=$2 ;;
          --build) build=$2 ;;
          --models) models=$2 ;;
          --cases) cases+=("$2") ;;
          --cells) cells=(--cells "$2") ;;
          --limit) limit=$2 ;;
          --total) total=$2 ;;
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
  [[ $total =~ ^(0|[1-9][0-9]*)$ ]] || { echo "--total takes seconds, not '$total'" >&2; exit 2; }
}

# A function, so that bash has read all of this file before a stage begins.
main() {
  local stage failed=0 gpu=true
  chosen=() inner=''
  parse "$@"
  if [[ -n $inner ]]; then
    use_bundle
    run_stage
    exit
  fi
  ((${#chosen[@]})) || { usage >&2; exit 2; }
  # Unless it is held open, the driver starts the GPU anew for every program (where it isn't told to persist).
  # shellcheck disable=SC2034
  { exec {held}<"$device"; } 2>/dev/null || true
  for stage in "${chosen[@]}"; do
    case $stage in
      pack) pack || failed=1 ;;
      report) "$python" bench/gpu_tables.py "$out/result.json" ;;
      build)
        if [[ "${chosen[*]} " == *bench-* ]]; then make_models & fi
        timed_stage build || failed=1
        wait
        ;;
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
