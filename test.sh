#!/usr/bin/env bash
# Builds and runs the tests. The last line is "N passed, N failed" (and ", N skipped" if any were).
#   ./test.sh [--long] [--gpu [--prebuilt DIR]] [--filter PATTERN] [--no-install] [--preset NAME]
# (none)     the fast tier: at most 15 minutes on 2 cores, the build included
# --long     also the slow tier; writes its summary to tests/long-summary.txt and tests/durability/summary.md
# --gpu      builds the cuda preset and runs, on the GPU of this machine and on its CPU, the tests of the rooms that
#            compute; a test fails if no GPU can be used
# --prebuilt nothing is installed or built: the test programs are those of tools/pack_gpu_tests.sh in DIR
# --filter   only tests whose name matches, as for GoogleTest's --gtest_filter
# --preset   a CMake preset other than cpu: asan, tsan; with --gpu: release, ptx80
set -euo pipefail
cd "$(dirname "$0")"

preset=cpu
long=no
gpu=no
filter='*'
install=()
prebuilt=
. tools/needs.bash
while [ $# -gt 0 ]; do
  case "$1" in
    --long) long=yes ;;
    --gpu) gpu=yes; [ "$preset" = cpu ] && preset=cuda ;;
    --prebuilt) needs "$@"; prebuilt=$2; shift ;;
    --filter) needs "$@"; filter=$2; shift ;;
    --preset) needs "$@"; preset=$2; shift ;;
    --no-install) install=(--no-install) ;;
    -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "error: unknown option $1 (see --help)" >&2; exit 2 ;;
  esac
  shift
done
if [ "$gpu" = yes ] && ! nvidia-smi -L >/dev/null 2>&1; then
  echo "error: --gpu needs an NVIDIA GPU and its driver, and nvidia-smi finds none here" >&2
  exit 3
fi

if [ -n "$prebuilt" ] && [ "$gpu" = no ]; then
  echo "error: --prebuilt goes with --gpu" >&2
  exit 2
fi

targets=(all)
if [ "$gpu" = yes ]; then # the rooms whose code meets a GPU; the others are the same on every machine
  export RLCPP_TEST_GPU=1
  targets=(test_tensor test_ops test_dist test_model test_train test_rollout)
fi
if [ -n "$prebuilt" ]; then
  folder=$(cd "$prebuilt" 2>/dev/null && pwd) || {
    echo "error: there is no folder $prebuilt (tools/pack_gpu_tests.sh makes one)" >&2
    exit 2
  }
  for target in "${targets[@]}"; do
    [ -x "$folder/$target" ] && continue
    echo "error: $folder has no program $target (tools/pack_gpu_tests.sh packs all of them)" >&2
    exit 2
  done
  if [ -r "$folder/commit" ] && ! git diff --quiet "$(cat "$folder/commit")" -- src tests cmake 2>/dev/null; then
    echo "warning: the programs in $folder are of commit $(cat "$folder/commit"), whose sources are not those here" >&2
  fi
  export RLCPP_TEST_DATA=$PWD/tests/data
else
  folder=build/$preset/tests
  tools/install_deps.sh --tests "${install[@]}"
  started=$SECONDS
  tools/build.sh "$preset" "${targets[@]}"
  echo "built in $((SECONDS - started)) s; testing" >&2
fi
if [ "$gpu" = yes ]; then
  libraries=$(tools/cuda_libraries.sh)
  export LD_LIBRARY_PATH=$folder${libraries:+:$libraries}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
[ "$long" = yes ] && export RLCPP_TEST_LONG=1
# Without a word on standard error, where tests look.
[ "$preset" = asan ] && export LSAN_OPTIONS=suppressions=$PWD/tests/leaks.txt:print_suppressions=0${LSAN_OPTIONS:+:$LSAN_OPTIONS}
if [ "$long" = yes ] && [ "$filter" = '*' ] && [ "$gpu" = no ]; then
  export RLCPP_DURABILITY_SUMMARY=$PWD/tests/durability/summary.md
fi
programs=()
for program in "$folder"/test_*; do
  [ "$gpu" = yes ] && [[ " ${targets[*]} " != *" $(basename "$program") "* ]] && continue
  [ -x "$program" ] && [ -f "$program" ] && programs+=("$program")
done
if [ ${#programs[@]} -eq 0 ]; then
  echo "error: there is no test program in $folder" >&2
  exit 1
fi

run_one() { # runs one program; a line when it ends, the failures in full
  local name log status=0 begun=$SECONDS
  name=$(basename "$1")
  log=$2/$name.log
  # Whole stacks, half as fast: Open MPI is built without frame pointers, and tests/leaks.txt knows it by its libraries' names.
  if [ "$5" = asan ] && [ "$name" = test_app ]; then export ASAN_OPTIONS=fast_unwind_on_malloc=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}; fi
  timeout "$4" "$1" --gtest_filter="$3" --gtest_brief=0 >"$log" 2>&1 || status=$?
  echo "$status" >"$2/$name.status"
  # gtest's own closing lines; a program that died before them counts as one failure.
  local passed failed skipped
  passed=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) tests\{0,1\}\..*/\1/p' "$log" | tail -1)
  failed=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) tests\{0,1\}, listed below:/\1/p' "$log" | tail -1)
  skipped=$(sed -n 's/^\[  SKIPPED \] \([0-9]*\) tests\{0,1\}, listed below:/\1/p' "$log" | tail -1)
  passed=${passed:-0} failed=${failed:-0} skipped=${skipped:-0}
  [ "$status" != 0 ] && [ "$failed" = 0 ] && failed=1
  echo "$passed $failed $skipped" >"$2/$name.counts"
  printf '%-20s %4d passed %3d failed %3d skipped  %4d s\n' "$name" "$passed" "$failed" "$skipped" $((SECONDS - begun))
  if [ "$failed" != 0 ]; then
    [ "$status" = 124 ] && echo "$name: still running after $4 s, stopped"
    grep -aE -A 25 ': Failure$' "$log" | head -100 # gtest's list at the end has names alone
    grep -avE '^\[ (RUN|      OK) ' "$log" | tail -40
  fi
}
export -f run_one
limit=300
case "$preset" in asan | tsan) limit=1800 ;; esac # sanitizers make programs five to twenty times slower
[ "$long" = yes ] && limit=7200
printf '%s\n' "${programs[@]}" |
  xargs -P "$(nproc)" -I{} bash -c "run_one {} '$logs' '$filter' $limit $preset" | tee "$logs/summary"

total=$(cat "$logs"/*.counts | awk '{p += $1; f += $2; s += $3} END {printf "%d passed, %d failed", p, f; if (s) printf ", %d skipped", s}')
if [ "$long" = yes ] && [ "$filter" = '*' ] && [ "$gpu" = no ]; then
  {
    echo "# ./test.sh --long, $(date -u +%F), commit $(git rev-parse --short HEAD), $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), $(nproc) cores"
    grep -aE '^test_[a-z]+ +[0-9]+ passed' "$logs/summary" | sort
    { grep -ahE '^\[  FAILED  \] [A-Za-z]' "$logs"/*.log || true; } | sed 's/ (.*//' | sort -u
    echo "$total"
  } >tests/long-summary.txt
fi
echo "$total"
case "$total" in
  0\ passed,\ 0\ failed*) echo "error: no test matched" >&2; exit 1 ;;
  *\ 0\ failed*) exit 0 ;;
  *) exit 1 ;;
esac
