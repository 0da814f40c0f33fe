#!/usr/bin/env bash
# Shows what bert.c does: installs what is missing (Debian, Ubuntu), builds it, and asks the bundled model what it thinks of
# hotel, book and laptop reviews.
set -euo pipefail
cd "$(dirname "$0")"
source .ci/packages.sh

need_packages build
tests=()
[[ -f build/release/CMakeCache.txt ]] || tests=(-DBERT_BUILD_TESTS=OFF)
echo "Building bert.c into build/release ..."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { configure build/release -DCMAKE_BUILD_TYPE=Release "${tests[@]}" && cmake --build build/release --target bertc; } \
  >"$log" 2>&1; then
  cat "$log"
  exit 1
fi
bertc=build/release/cli/bertc

# Real reviews, with what they say. A TAB makes a pair: the model reads both together.
reviews=(
  $'海景房能看到非常美丽的景色，尽管价钱贵，但是非常值得。'
  $'酒店条件非常差！明明说有网络，就是用不了！而且蟑螂成堆，永远不会选择这个酒店了！！！'
  $'散热做得很好，屏幕效果绚丽没有坏点，杜比环绕效果也很好,性价比高，配置不错.'
  $'键盘不灵，最重要的是装了声卡驱动之后，电脑还是找不到声卡！屏幕发白'
  $'让我失望的一本小说，内容牵强，故作悬念。'
  $'价格稍微高了一点。'
  $'房间干净，服务热情\t早餐也不错'
)
meanings=(
  "The sea-view room has a beautiful view; expensive, but well worth it."
  "Terrible hotel! The promised network never worked, cockroaches everywhere, never again!!!"
  "Runs cool, a brilliant screen without dead pixels, good sound, good value."
  "The keyboard sticks, the sound card is never found, and the screen is washed out!"
  "A novel that let me down: far-fetched, with suspense for its own sake."
  "The price is a little high."
  "A pair: 'clean room, warm service' with 'breakfast was good too'."
)

# bar PERCENT: twenty cells
bar() {
  local cells=$((($1 + 2) / 5)) text='' i
  for ((i = 0; i < 20; i++)); do ((i < cells)) && text+='█' || text+='·'; done
  echo "$text"
}

echo
echo "models/zh-sentiment: a BERT of 4 layers, 5.7 MiB, as PyTorch exported it to ONNX"
echo
begin=$(date +%s%N)
answers=$(printf '%s\n' "${reviews[@]}" | "$bertc" classify models/zh-sentiment)
end=$(date +%s%N)
index=0
while read -r label score _; do
  percent=$(LC_ALL=C awk -v score="$score" 'BEGIN {printf "%d", 100 * score + 0.5}')
  printf '%-8s %3d %% %s  %s\n' "$label" "$percent" "$(bar "$percent")" "${reviews[index]//$'\t'/  |  }"
  printf '%37s%s\n\n' '' "${meanings[index]}"
  index=$((index + 1))
done <<<"$answers"
((index == ${#reviews[@]}))
echo "$index answers in $(((end - begin) / 1000000)) ms, loading the model and the tokenizer included."
echo
echo "Try your own:   $bertc classify models/zh-sentiment \"这家酒店很好，下次还来！\""
echo "How fast is it: $bertc bench models/zh-sentiment --sequence 16,128"
echo "What it can do: $bertc --help"
