#!/usr/bin/env bash
# The nightly benchmark: newest commit, build, every row that this machine can measure, the page and the history, the check.
#   tools/nightly.sh [MATRIX.toml] [--no-pull] [--dry-run]
# Without MATRIX: benchmarks/matrix.toml on the CPU; matrix_1gpu.toml where there is a GPU, matrix_2gpu.toml where there are
# two. What is not run is said. --dry-run says what would be, and does nothing. Leaves with the code of the first step that
# fails: 4 is a regression or a row that is missing, 1 a document whose figures are no longer those of the results.
# Run by tools/nightly/rlcpp-nightly.timer, or by the workflow tools/nightly/github-actions.yaml.
set -euo pipefail
cd "$(dirname "$0")/.."
matrix=
pull=yes
dry=no
for argument in "$@"; do
  case "$argument" in
    --no-pull) pull=no ;;
    --dry-run) dry=yes ;;
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "error: unknown option $argument (see --help)" >&2; exit 2 ;;
    *)
      if [ -n "$matrix" ]; then
        echo "error: one matrix is run, and $matrix and $argument were named (see --help)" >&2
        exit 2
      fi
      matrix=$argument
      ;;
  esac
done
if [ -n "$matrix" ] && [ ! -f "$matrix" ]; then
  echo "error: there is no matrix $matrix (see --help)" >&2
  exit 2
fi

gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU ' || true)
matrices=("$matrix")
if [ -z "$matrix" ]; then
  matrices=(benchmarks/matrix.toml)
  for needed in 1 2; do
    rows=benchmarks/matrix_${needed}gpu.toml
    if [ "$gpus" -ge "$needed" ]; then
      matrices+=("$rows")
    else
      echo "not run: $rows, which needs $needed GPU$([ "$needed" = 1 ] || echo s); this machine has $gpus"
    fi
  done
fi
for rows in "${matrices[@]}"; do echo "to run: $rows"; done
if [ "$dry" = yes ]; then exit 0; fi

# One night at a time: a second start leaves at once instead of measuring against the first.
exec 9>build-nightly.lock
if ! flock -n 9; then
  echo "error: another nightly run holds build-nightly.lock" >&2
  exit 3
fi
trap 'rm -f build-nightly.lock' EXIT

if [ "$pull" = yes ]; then git pull --ff-only; fi
tools/install_deps.sh
preset=cpu
if [ "$gpus" -gt 0 ]; then
  preset=cuda
  tools/install_cuda.sh
  if ! command -v nvcc >/dev/null; then PATH=$PATH:/usr/local/cuda/bin:$PWD/.deps/cuda/bin; fi
fi
tools/build.sh "$preset" rlcpp
rlcpp=build/$preset/bin/rlcpp
"$rlcpp" --version
for rows in "${matrices[@]}"; do
  # A row that fails stays on the page with its reason; the night goes on.
  "$rlcpp" bench @ "$rows" --fresh || [ $? = 1 ]
done
"$rlcpp" report
"$rlcpp" report --check
