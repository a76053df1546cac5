#!/usr/bin/env bash
# Configures a CMake preset if needed and builds it, with one line of progress a few seconds.
#   tools/build.sh PRESET [TARGET...]
set -euo pipefail
case "${1:-}" in
  -h | --help) sed -n '2,3s/^# \{0,1\}//p' "$0"; exit 0 ;;
  -*) echo "error: unknown option $1 (see --help)" >&2; exit 2 ;;
esac
cd "$(dirname "$0")/.."
if [ $# -eq 0 ]; then
  echo "error: no preset was named: tools/build.sh PRESET [TARGET...]" >&2
  exit 2
fi
preset=$1
shift
targets=("${@:-all}")
log=build/$preset.log
if ! mkdir -p build 2>/dev/null || ! : 2>/dev/null >"$log"; then
  echo "error: cannot write $log in $PWD: make build/ writable, or remove it" >&2
  exit 3
fi
if ! cmake --preset "$preset" >"$log" 2>&1; then
  tail -25 "$log" >&2
  echo "error: cmake could not configure the preset $preset" >&2
  exit 3
fi
# Ninja's "[12/80] ..." lines become a counter: redrawn on a terminal, one line every 15 s elsewhere.
status=0
NINJA_STATUS='[%f/%t] ' cmake --build "build/$preset" --target "${targets[@]}" 2>&1 | tee -a "$log" | {
  last=-15
  while IFS= read -r line; do
    case "$line" in
      \[*/*\]*)
        count=${line#[}; count=${count%%]*}
        if [ -t 2 ]; then
          printf '\rbuilding %s %s   ' "$preset" "$count" >&2
        elif [ $((SECONDS - last)) -ge 15 ]; then
          echo "building $preset $count" >&2
          last=$SECONDS
        fi ;;
    esac
  done
  if [ -t 2 ]; then printf '\r\033[K' >&2; fi
} || status=$?
if [ "$status" != 0 ]; then
  grep -E -A6 'FAILED|error:' "$log" | head -60 >&2
  echo "error: the build failed; the whole log is $log" >&2
  exit 1
fi
