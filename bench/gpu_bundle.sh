# Libraries that travel to a machine with a GPU; bench/gpu_suite.sh reads this.
# shellcheck shell=bash

readonly libraries=(openblas libprotobuf-c libutf8proc jansson libxxhash cmocka)
readonly bundle=build/gpu-bundle dependencies=build/gpu-dependencies

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
