#!/usr/bin/env bash
# Puts rlcpp, bench_collectives and the test programs that meet a GPU into one folder, for a machine that has a GPU but
# no compiler or package manager: stripped, with the shared libraries that such a machine may lack.
#   tools/pack_gpu_tests.sh OUT_DIR [--preset NAME] [--no-build]
# --preset    cuda (the default), release, or ptx80: compute_80 PTX alone, which the driver compiles for its GPU
# --no-build  packs what is built
# There, in a checkout of the same commit:  ./test.sh --gpu --prebuilt OUT_DIR, tools/scaling.sh --prebuilt OUT_DIR
set -euo pipefail
cd "$(dirname "$0")/.."
preset=cuda
build=yes
out=
while [ $# -gt 0 ]; do
  case "$1" in
    --preset) preset=${2:?--preset needs a value}; shift ;;
    --no-build) build=no ;;
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "error: unknown option $1 (see --help)" >&2; exit 2 ;;
    *) out=$1 ;;
  esac
  shift
done
if [ -z "$out" ]; then
  echo "error: no folder was named: tools/pack_gpu_tests.sh OUT_DIR" >&2
  exit 2
fi

tests=(test_tensor test_ops test_dist test_model test_train test_rollout)
if [ "$build" = yes ]; then tools/build.sh "$preset" rlcpp bench_collectives "${tests[@]}"; fi
mkdir -p "$out"
files=("build/$preset/bin/rlcpp" "build/$preset/bin/bench_collectives")
for name in "${tests[@]}" dist_rank; do files+=("build/$preset/tests/$name"); done
for file in "${files[@]}"; do
  if [ ! -x "$file" ]; then
    echo "error: $file is not built" >&2
    exit 2
  fi
  strip -o "$out/$(basename "$file")" "$file"
done
# The C and C++ libraries and the loader are on every machine; what else is linked dynamically goes along.
ldd "${files[@]}" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | sort -u |
  { grep -vE '/(libc|libm|libdl|librt|libpthread|libstdc\+\+|libgcc_s|ld-linux[^/]*)\.so' || true; } |
  while IFS= read -r library; do cp -L "$library" "$out/"; done
git rev-parse --short=9 HEAD >"$out/commit"
du -ch "$out"/* | sed 's/^/  /'
echo "packed in $out; there: ./test.sh --gpu --prebuilt $out"
