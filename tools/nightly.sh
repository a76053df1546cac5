#!/usr/bin/env bash
# The nightly benchmark: newest commit, build, every row of the matrix, the page, the check against the baselines.
#   tools/nightly.sh [MATRIX.toml] [--no-pull]
# Leaves with the code of the first step that fails: 4 means a regression. Run by tools/nightly/rlcpp-nightly.timer, or by the
# workflow tools/nightly/github-actions.yaml.
set -euo pipefail
cd "$(dirname "$0")/.."
matrix=benchmarks/matrix.toml
pull=yes
for argument in "$@"; do
  case "$argument" in
    --no-pull) pull=no ;;
    -h | --help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "error: unknown option $argument (see --help)" >&2; exit 2 ;;
    *) matrix=$argument ;;
  esac
done

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
if nvidia-smi -L >/dev/null 2>&1 && command -v nvcc >/dev/null; then preset=cuda; fi
tools/build.sh "$preset" rlcpp
rlcpp=build/$preset/bin/rlcpp
"$rlcpp" --version
# A row that fails stays on the page with its reason; the night goes on.
"$rlcpp" bench @ "$matrix" --fresh || [ $? = 1 ]
"$rlcpp" report
"$rlcpp" report --check
