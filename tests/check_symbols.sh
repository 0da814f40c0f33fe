#!/usr/bin/env bash
# Only symbols that begin with bert_ leave libbertc.so: check_symbols.sh LIBRARY
set -euo pipefail
library=$1
symbols=$(nm --dynamic --defined-only --format=posix "$library" | awk '$2 != "A" {print $1}')
count=$(wc -l <<<"$symbols")
foreign=$(grep -v '^bert_' <<<"$symbols" || true)
if [[ -n $foreign ]]; then
  echo "$library exports what does not begin with bert_:"
  echo "$foreign"
  exit 1
fi
# A library that exports nothing would pass too.
for needed in bert_model_load bert_session_run bert_tokenizer_load bert_pipeline_run bert_version; do
  grep -qx "$needed" <<<"$symbols" || { echo "$library does not export $needed"; exit 1; }
done
echo "$count symbols, each begins with bert_"
