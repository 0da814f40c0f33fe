#!/usr/bin/env bash
# cmake/aarch64-sysroot.sh FOLDER: the libraries of bert.c and its tests for 64-bit ARM, from Debian's packages, unpacked into FOLDER
# for a cross compiler and for QEMU. Nothing is installed, and apt keeps its state in FOLDER: packages of this machine stay as they are.
set -euo pipefail
(($# == 1)) || { echo "usage: cmake/aarch64-sysroot.sh FOLDER" >&2; exit 2; }
packages=(libc6-dev libstdc++6 libopenblas-dev libprotobuf-c-dev libutf8proc-dev libjansson-dev libxxhash-dev libcmocka-dev)

mkdir -p "$1"
root=$(cd "$1" && pwd)
apt=$root/apt
mkdir -p "$apt"/{lists,cache/archives}/partial
: >"$apt/status"
as_arm() {
  apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$apt" \
    -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache" "$@"
}
as_arm update
as_arm install --yes --no-install-recommends --download-only "${packages[@]}"
for package in "$apt"/cache/archives/*.deb; do dpkg-deb --extract "$package" "$root"; done

# Links of libc6-dev such as libm.so are absolute: without this they would lead out of the folder.
find "$root" -lname '/*' -print0 | while IFS= read -r -d '' link; do ln -sfr "$root$(readlink "$link")" "$link"; done
# Debian's alternatives system makes these links when OpenBLAS is installed.
libraries=$root/usr/lib/aarch64-linux-gnu
ln -sf openblas-pthread/libopenblas.so "$libraries/libopenblas.so"
ln -sf openblas-pthread/libopenblas.so.0 "$libraries/libopenblas.so.0"
ln -sf ../openblas-pthread/pkgconfig/openblas.pc "$libraries/pkgconfig/openblas.pc"
rm -r "$apt"
