# Sourced by demo.sh, test.sh and .ci/run: installs what a build needs and this machine lacks, on Debian and Ubuntu.

# Prints the Debian packages of what is missing among: build, test, python, lint, arm.
missing_packages() {
  local group module
  for group in "$@"; do
    case $group in
      build)
        command -v cc >/dev/null || echo gcc libc6-dev
        command -v cmake >/dev/null || echo cmake
        command -v ninja >/dev/null || echo ninja-build
        command -v protoc-c >/dev/null || echo protobuf-c-compiler
        command -v pkg-config >/dev/null || echo pkg-config
        for module in openblas:libopenblas-dev libprotobuf-c:libprotobuf-c-dev libutf8proc:libutf8proc-dev \
          jansson:libjansson-dev libxxhash:libxxhash-dev; do
          pkg-config --exists "${module%%:*}" 2>/dev/null || echo "${module##*:}"
        done
        ;;
      test)
        pkg-config --exists cmocka 2>/dev/null || echo libcmocka-dev
        command -v c++ >/dev/null || echo g++
        ;;
      python) python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv ;;
      lint)
        command -v clang-format-14 >/dev/null || command -v clang-format >/dev/null || echo clang-format
        command -v clang-tidy-14 >/dev/null || command -v clang-tidy >/dev/null || echo clang-tidy
        ;;
      arm)
        command -v aarch64-linux-gnu-gcc >/dev/null || echo gcc-aarch64-linux-gnu
        command -v aarch64-linux-gnu-g++ >/dev/null || echo g++-aarch64-linux-gnu
        command -v qemu-aarch64 >/dev/null || echo qemu-user
        ;;
    esac
  done
}

# need_packages GROUP ...: installs what is missing, and says so first. Without apt-get it leaves the word to CMake.
need_packages() {
  local packages as_root=()
  packages=$(missing_packages "$@" | tr '\n' ' ')
  packages=${packages% }
  [[ -n $packages ]] || return 0
  if ! command -v apt-get >/dev/null; then
    echo "These Debian packages, or what they are called here, seem to be missing: $packages"
    return 0
  fi
  ((EUID == 0)) || as_root=(sudo)
  echo "Installing with apt-get${as_root:+ (sudo asks for your password)}: $packages"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  # shellcheck disable=SC2086 -- one word a package
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
}

# configure FOLDER OPTION ...: CMake with Ninja for a folder that is new, and with ccache where it is.
configure() {
  local folder=$1 generator=() launcher=()
  shift
  [[ -f $folder/CMakeCache.txt ]] || generator=(-G Ninja)
  command -v ccache >/dev/null && launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache)
  cmake -S . -B "$folder" "${generator[@]}" "${launcher[@]}" "$@"
}
