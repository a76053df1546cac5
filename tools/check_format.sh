#!/usr/bin/env bash
# Format of all C++ files, lint of the files that changed against the parent commit (or the ones named), shell syntax,
# file sizes, and words that must not be in the tree.
#   tools/check_format.sh [FILE...]
set -euo pipefail
case "${1:-}" in
  -h | --help) sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 0 ;;
  -*) echo "error: unknown option $1 (see --help)" >&2; exit 2 ;;
esac
cd "$(dirname "$0")/.."
failed=0

mapfile -t sources < <(git ls-files '*.h' '*.cpp' '*.inl' '*.cu' '*.cuh')
if ! clang-format-14 --dry-run --Werror "${sources[@]}" 2>build-format.log; then
  grep -E '^[^ ].*error' build-format.log | cut -d: -f1 | sort | uniq -c | head -20
  echo "error: the files above are not formatted: clang-format-14 -i FILE"
  failed=1
fi
rm -f build-format.log

long=$(for file in "${sources[@]}"; do
  lines=$(wc -l <"$file")
  [ "$lines" -gt 500 ] && echo "$lines $file"
done || true)
if [ -n "$long" ]; then
  echo "$long"
  echo "error: the files above are over 500 lines: split them by idea"
  failed=1
fi

for script in $(git ls-files '*.sh' .ci/run); do
  bash -n "$script" || failed=1
done
for script in $(git ls-files '*.py'); do
  python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read(), sys.argv[1])' "$script" || failed=1
done

left=$(git grep -nE '\b(TODO|FIXME|XXX|HACK)\b' -- '*.h' '*.cpp' '*.inl' '*.cu' '*.py' '*.sh' ':!tools/check_format.sh' || true)
if [ -n "$left" ]; then
  echo "$left"
  echo "error: unfinished work in comments"
  failed=1
fi

# Lint needs the compilation database, so it comes after a first configure; only files of this change, it is slow.
changed=("$@")
if [ ${#changed[@]} -eq 0 ] && git rev-parse --verify -q HEAD~1 >/dev/null; then
  mapfile -t changed < <(git diff --name-only --diff-filter=AM HEAD~1 -- 'src/*.cpp' | head -8)
fi
if [ ${#changed[@]} -gt 0 ]; then
  mkdir -p build/lint
  cmake -S . -B build/lint -G Ninja -DRLCPP_PCH=OFF -DRLCPP_UNITY=OFF >/dev/null
  # The compile options are g++'s: clang does not know all of them.
  clang-tidy-14 -p build/lint --quiet --warnings-as-errors='*' --extra-arg=-Wno-unknown-warning-option "${changed[@]}" 2>/dev/null || failed=1
fi
exit "$failed"
