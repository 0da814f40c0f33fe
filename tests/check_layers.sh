#!/usr/bin/env bash
# Holds every #include of the project's own headers against the layers: check_layers.sh SOURCE
# Prints each one that reaches where its layer may not, and exits 1 when there is one.
set -euo pipefail
cd "${1:-$(dirname "$0")/..}"

# Lines 'files headers': what a file may include besides its own layer, both as regular expressions of whole paths; the first
# line that fits a file counts. <bert/...> is core/include/bert/...
rules='
core/composition[.]c .*
core/include/.*      nothing
core/base/.*         core/include/.*
core/graph/.*        core/(include|base)/.*
core/passes/.*       core/(include|base|graph)/.*
core/runtime/.*      core/(include|base|graph)/.*
onnx_loader/.*       core/(include|base|graph)/.*|core/runtime/composition[.]h
tokenizer/.*         core/(include|base)/.*
cpu/.*               core/(include|base)/.*|core/graph/(canonical|conv_axes|op)[.]h
cuda/.*              core/include/.*|core/base/(dtypes|float16)[.]h|core/graph/(canonical|conv_axes|einsum|op)[.]h
pipelines/.*         core/(include|base|graph|runtime)/.*|tokenizer/.*
cli/.*               (core|onnx_loader|tokenizer|pipelines)/.*
'

mapfile -t files < <(find core onnx_loader tokenizer cpu cuda pipelines cli '(' -name '*.[ch]' -o -name '*.cu' ')' 2>/dev/null | sort)
awk -v rules="$rules" '
  # A top-level folder, in core the folder below.
  function layer(path, parts) {
    split(path, parts, "/")
    return parts[1] == "core" ? parts[1] "/" parts[2] : parts[1]
  }
  BEGIN {
    lines = split(rules, line, "\n")
    for (i = 1; i <= lines; i++) {
      if (split(line[i], part, " ") < 2) continue
      pattern[++count] = "^(" part[1] ")$"
      allowed[count] = "^(" part[2] ")$"
    }
  }
  FNR == 1 {
    rule = 0
    for (i = count; i > 0; i--) if (FILENAME ~ pattern[i]) rule = i
    if (!rule) { print FILENAME ": lies in no layer that this check knows"; failures++ }
  }
  rule && /^[ \t]*#[ \t]*include[ \t]*["<]/ {
    header = $0
    sub(/^[^"<]*["<]/, "", header)
    sub(/[">].*/, "", header)
    sub(/^bert\//, "core/include/bert/", header)
    if (header !~ /^(core|onnx_loader|tokenizer|cpu|cuda|pipelines|cli)\//) next
    checked++
    if (layer(header) == layer(FILENAME) || header ~ allowed[rule]) next
    print FILENAME ":" FNR ": may not include " header
    failures++
  }
  END {
    printf "%d includes of the project, %d reach where they may not\n", checked, failures
    exit failures > 0 || checked == 0
  }' "${files[@]}"
