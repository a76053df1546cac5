#!/usr/bin/env bash
# Measures scaling on the GPUs of this machine: the collectives of NCCL at 32, 256 and 1024 MiB on 2, 4, 8 GPUs, then the
# rows of benchmarks/matrix-scaling.toml that the machine has GPUs for, in their order.
#   tools/scaling.sh [--minutes M] [--gpus N,N] [--only TEXT] [--out DIR] [--fresh] [--prebuilt DIR | --preset NAME]
# --minutes  time for everything but building: rows that do not fit into it are named (default: no limit)
# --gpus     only rows, and collectives, of these numbers of GPUs
# --only     only rows whose name contains TEXT: weak, strong, 4B-sft, 16384
# --out      where results/ and collectives/ are written, a file after each row (default benchmarks)
# --fresh    measure rows again that have a result of this commit
# --prebuilt nothing is built: rlcpp and bench_collectives are those of tools/pack_gpu_tests.sh in DIR
# --preset   a CMake preset other than cuda
# Run it again, and it goes on with the rows that have no result. Afterwards: rlcpp report
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=0
gpus=
out=benchmarks
prebuilt=
preset=cuda
more=()
. tools/needs.bash
while [ $# -gt 0 ]; do
  case "$1" in
    --minutes) needs "$@"; minutes=$2; shift ;;
    --gpus) needs "$@"; gpus=$2; shift ;;
    --only) needs "$@"; more+=(--only "$2"); shift ;;
    --out) needs "$@"; out=$2; shift ;;
    --fresh) more+=(--fresh) ;;
    --prebuilt) needs "$@"; prebuilt=$2; shift ;;
    --preset) needs "$@"; preset=$2; shift ;;
    -h | --help) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "error: unknown option $1 (see --help)" >&2; exit 2 ;;
  esac
  shift
done
if ! [[ $minutes =~ ^[0-9]+(\.[0-9]+)?$ ]]; then
  echo "error: --minutes is \"$minutes\"; it takes a number such as 9 or 7.5" >&2
  exit 2
fi
if [ -n "$gpus" ] && ! [[ $gpus =~ ^[1-9][0-9]*(,[1-9][0-9]*)*$ ]]; then
  echo "error: --gpus is \"$gpus\"; it takes numbers of GPUs such as 4 or 1,4" >&2
  exit 2
fi
folder=build/$preset/bin
if [ -n "$prebuilt" ]; then
  folder=$(cd "$prebuilt" 2>/dev/null && pwd) || {
    echo "error: there is no folder $prebuilt (tools/pack_gpu_tests.sh makes one)" >&2
    exit 2
  }
  for program in rlcpp bench_collectives; do
    [ -x "$folder/$program" ] && continue
    echo "error: $folder has no program $program (tools/pack_gpu_tests.sh packs it)" >&2
    exit 2
  done
fi
here=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU ' || true)
if [ "$here" = 0 ]; then
  echo "error: this needs NVIDIA GPUs and their driver, and nvidia-smi finds none here" >&2
  exit 3
fi
[ -n "$prebuilt" ] || tools/build.sh "$preset" rlcpp bench_collectives

begun=$SECONDS
libraries=$(tools/cuda_libraries.sh)
export LD_LIBRARY_PATH=$folder${libraries:+:$libraries}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
mkdir -p "$out/results" "$out/collectives"
nvidia-smi --query-gpu=index,name,driver_version,clocks.max.sm,power.limit --format=csv,noheader || true
nvidia-smi topo -m || true

failed=0
for count in 2 4 8; do
  [ "$count" -le "$here" ] || continue
  [ -z "$gpus" ] || [[ ,$gpus, == *,$count,* ]] || continue
  echo "collectives of $count GPUs"
  # The file is a step of its own: what was measured before a failure is on the terminal.
  timeout 60 "$folder/bench_collectives" --device cuda --devices "$count" --mib 32,256,1024 --repeats 7 \
    --json "$out/collectives/$count-gpus.json" || {
    echo "warning: the collectives of $count GPUs were not measured (exit code $?)" >&2
    failed=1
  }
done

[ -z "$gpus" ] || more+=(--gpus "$gpus")
if [ "$minutes" != 0 ]; then
  left=$(awk -v m="$minutes" -v s=$((SECONDS - begun)) 'BEGIN {printf "%.2f", m - s / 60}')
  if [[ $left == -* || $left == 0.00 ]]; then
    echo "error: no time is left for rows after the collectives; --minutes $minutes is too short" >&2
    exit 4
  fi
  more+=(--minutes "$left")
fi
status=0
"$folder/rlcpp" bench @ benchmarks/matrix-scaling.toml --results "$out/results" "${more[@]}" || status=$?
echo "$((SECONDS - begun)) s in all; results in $out/results and $out/collectives"
[ "$status" != 0 ] || status=$failed
exit "$status"
