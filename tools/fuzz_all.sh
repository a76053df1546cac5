#!/usr/bin/env bash
# Runs every packed fuzzer at once (tools/pack_fuzzers.sh makes the folder) on a machine that has neither compiler nor sources.
#   DIR/fuzz_all.sh SECONDS [JOBS]
# SECONDS  how long; JOBS: processes a target (1 if not named); one of several tries inputs of up to 256 KiB from the
# beginning, the others let them grow to 16 KiB. A finding does not stop the others, nor its own target.
# In the folder $OUT (./fuzz-out if it is not set): summary.txt with executions, coverage and findings a target, findings/TARGET,
# logs, and corpus.tar.gz. What is learnt stays in DIR/corpus too, and the next call goes on from it.
# Leaves with 1 if something was found, or a fuzzer did not run.
set -euo pipefail
words=()
for word in "$@"; do
  case "$word" in
    -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "error: unknown option $word (see --help)" >&2; exit 2 ;;
    *) words+=("$word") ;;
  esac
done
seconds=${words[0]:-} jobs=${words[1]:-1}
if [ ${#words[@]} -gt 2 ] || ! [[ $seconds =~ ^[1-9][0-9]*$ && $jobs =~ ^[1-9][0-9]*$ ]]; then
  echo "error: how many seconds, and how many processes a target: DIR/fuzz_all.sh SECONDS [JOBS]" >&2
  exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
out=$(realpath -m "${OUT:-fuzz-out}")
if [ ! -x "$here/fuzz_any" ]; then
  echo "error: there is no fuzzer in $here (tools/pack_fuzzers.sh packs them)" >&2
  exit 2
fi
targets=()
for folder in "$here"/seeds/*/; do # the program takes its target from its name
  target=$(basename "$folder")
  ln -sf fuzz_any "$here/fuzz_$target"
  targets+=("$target")
done
mkdir -p "$out/logs" "$out/findings" "$here/corpus"
[ -d "$here/lib" ] && export LD_LIBRARY_PATH=$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
# AddressSanitizer of clang 14 wants its shadow where kernels of 2024 may put a library by chance.
fixed=()
if setarch -R true 2>/dev/null; then fixed=(setarch -R); fi

start() { # TARGET JOBS LOG OPTION...
  local target=$1 jobs=$2 log=$3
  shift 3
  "${fixed[@]}" "$here/fuzz_$target" -fork="$jobs" -ignore_crashes=1 -ignore_ooms=1 -ignore_timeouts=1 \
    -max_total_time="$seconds" -timeout=20 -rss_limit_mb=3000 -dict="$here/dictionaries/$target.dict" \
    -artifact_prefix="$out/findings/$target/" "$@" "$here/corpus/$target" "$here/seeds/$target" >"$out/logs/$log.log" 2>&1 &
}
large=$((jobs > 1 ? 1 : 0))
for target in "${targets[@]}"; do
  mkdir -p "$here/corpus/$target" "$out/findings/$target"
  start "$target" $((jobs - large)) "$target" -max_len=16384
  if [ "$large" = 1 ]; then start "$target" 1 "$target.large" -max_len=262144 -len_control=0; fi
done
wait

found=0
{
  printf '%-16s %12s %8s %8s %8s  %s\n' target executions coverage features inputs findings
  for target in "${targets[@]}"; do
    logs=("$out/logs/$target.log")
    if [ "$large" = 1 ]; then logs+=("$out/logs/$target.large.log"); fi
    files=$(find "$out/findings/$target" -type f | wc -l)
    # "#N: cov: C ft: F corp: K exec/s: ..." once a job; the last of each log counts.
    for log in "${logs[@]}"; do
      grep -aE '^#[0-9]+: cov: ' "$log" | tail -1 || true
    done | awk -v t="$target" -v f="$files" -v logs=${#logs[@]} '
      {lines++; n += substr($1, 2); if ($3 > c) c = $3; if ($5 > r) r = $5; if ($7 > k) k = $7}
      END {
        if (lines == logs) printf "%-16s %12d %8d %8d %8d  %d\n", t, n, c, r, k, f
        else printf "%-16s did not run: see logs/%s.log\n", t, t
      }'
  done
} >"$out/summary.txt"
cat "$out/summary.txt"
awk '!/^target/ && !/did not run/ {n += $2} END {printf "%d executions in '"$((seconds * jobs * ${#targets[@]}))"' s of process time\n", n}' \
  "$out/summary.txt" | tee -a "$out/summary.txt"
find "$out/findings" -type d -empty -delete
[ -d "$out/findings" ] && found=1
grep -q 'did not run' "$out/summary.txt" && found=1
tar -C "$here" -czf "$out/corpus.tar.gz" corpus
exit "$found"
