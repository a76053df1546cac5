#!/usr/bin/env bash
# Puts the fuzzers (tools/fuzz.sh) with seeds and dictionaries into one folder, for a machine with many cores and no compiler.
#   tools/pack_fuzzers.sh DIR [--no-build]
# There: DIR/fuzz_all.sh SECONDS [JOBS]; what build/fuzz/corpus has learnt goes along.
set -euo pipefail
cd "$(dirname "$0")/.."
build=yes
out=
while [ $# -gt 0 ]; do
  case "$1" in
    --no-build) build=no ;;
    -h | --help) sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "error: unknown option $1 (see --help)" >&2; exit 2 ;;
    *) out=$1 ;;
  esac
  shift
done
if [ -z "$out" ]; then
  echo "error: no folder was named: tools/pack_fuzzers.sh DIR" >&2
  exit 2
fi
if [ "$build" = yes ]; then
  tools/install_deps.sh --fuzz --no-install
  tools/build.sh fuzz fuzzers
fi
rm -rf "$out"
mkdir -p "$out/corpus" "$out/lib"
cp -r tests/fuzz/seeds tests/fuzz/dictionaries "$out/"
cp tools/fuzz_all.sh "$out/"
program=build/fuzz/tests/fuzz_any # all targets in one
if [ ! -x "$program" ]; then
  echo "error: $program is not built" >&2
  exit 2
fi
strip -o "$out/fuzz_any" "$program"
if [ -d build/fuzz/corpus ]; then cp -r build/fuzz/corpus/. "$out/corpus/"; fi
# libc and what comes with it belong to the machine; everything else goes along.
ldd "$program" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | sort -u |
  { grep -vE '/(libc|libm|libdl|librt|libpthread|libresolv|libstdc\+\+|libgcc_s|ld-linux[^/]*)\.so' || true; } |
  while IFS= read -r library; do cp -L "$library" "$out/lib/"; done
git rev-parse --short=9 HEAD >"$out/commit"
du -sh "$out" | sed 's/^/  /'
echo "packed in $out; there: $out/fuzz_all.sh SECONDS [JOBS]"
