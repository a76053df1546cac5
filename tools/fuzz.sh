#!/usr/bin/env bash
# Builds the fuzzers (clang, AddressSanitizer, UndefinedBehaviorSanitizer) and runs each for some time, one after the other.
#   tools/fuzz.sh [--seconds N] [TARGET...]      N: 60 if not named; TARGET: as in tests/fuzz/targets.cpp, all if none is named
# What it learns is kept in build/fuzz/corpus, what it finds in build/fuzz/findings: mend it and keep it, by a name that says
# what it is, in tests/fuzz/seeds/TARGET, which test_fuzz replays. Leaves with 1 if something was found.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=60
named=()
while [ $# -gt 0 ]; do
  case "$1" in
    --seconds) seconds=${2:?--seconds needs a number}; shift ;;
    -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "error: unknown option $1 (see --help)" >&2; exit 2 ;;
    *) named+=("$1") ;;
  esac
  shift
done
tools/install_deps.sh --fuzz --no-install
if [ ${#named[@]} -eq 0 ]; then
  for folder in tests/fuzz/seeds/*/; do named+=("$(basename "$folder")"); done
fi
tools/build.sh fuzz "${named[@]/#/fuzz_}"

found=0
for target in "${named[@]}"; do
  corpus=build/fuzz/corpus/$target findings=build/fuzz/findings/$target
  mkdir -p "$corpus" "$findings"
  before=$(find "$findings" -type f | wc -l)
  echo "=== $target, $seconds s"
  log=build/fuzz/$target.log
  build/fuzz/tests/fuzz_"$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=3000 -max_len=16384 -print_final_stats=1 \
    -dict=tests/fuzz/dictionaries/"$target".dict -artifact_prefix="$findings/" "$corpus" tests/fuzz/seeds/"$target" \
    >"$log" 2>&1 || true
  grep -E 'stat::number_of_executed_units|stat::average_exec_per_sec' "$log" || true
  grep -E 'ERROR: |SUMMARY: |does not hold|runtime error' "$log" | sort | uniq -c | head -5 || true
  if [ "$(find "$findings" -type f | wc -l)" -gt "$before" ] || ! grep -q '^Done ' "$log"; then
    echo "error: $target: see $log and $findings" >&2
    found=1
  fi
done
exit "$found"
