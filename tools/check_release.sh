#!/usr/bin/env bash
# Tries the packages of `cmake --workflow --preset release` (or release-cpu) as somebody would who has nothing else.
#   tools/check_release.sh PACKAGES_DIR [TREE]
# Looks at what the program needs (glibc 2.35 or newer and nothing besides), at the licences, runs it with an empty environment.
# TREE: also in a bare Debian 12 that debootstrap makes there (or made before): unpacked, as nobody, to train a tokenizer and a
# small model; then the Debian package, installed and removed. Needs root and debootstrap. Leaves with 4 if something is wrong.
set -euo pipefail
case "${1:-}" in
  -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
  -*) echo "error: unknown option $1 (see --help)" >&2; exit 2 ;;
esac
if [ $# -lt 1 ]; then
  echo "error: tools/check_release.sh needs PACKAGES_DIR (see --help)" >&2
  exit 2
fi
packages=$(cd "$1" && pwd)
tree=${2:-}
cd "$(dirname "$0")/.."
newest_glibc=2.35

fail() { echo "error: $*" >&2; exit 4; }
archive=$(ls "$packages"/rlcpp-*.tar.gz 2>/dev/null | head -1)
deb=$(ls "$packages"/rlcpp-*.deb 2>/dev/null | head -1)
[ -n "$archive" ] || fail "there is no archive in $packages"
[ -n "$deb" ] || fail "there is no Debian package in $packages"
for package in "$archive" "$deb"; do
  (cd "$packages" && sha256sum --quiet -c "$(basename "$package").sha256") || fail "$package is not what its checksum says"
done

scratch=$(mktemp -d)
cleanup() {
  [ -n "$tree" ] && mountpoint -q "$tree/proc" && umount "$tree/proc"
  rm -rf "$scratch"
}
trap cleanup EXIT
tar -xzf "$archive" -C "$scratch" --strip-components=1
program=$scratch/bin/rlcpp
[ -x "$program" ] || fail "the archive has no bin/rlcpp"

echo "=== what it needs"
needed=$(objdump -p "$program" | awk '$1 == "NEEDED" {print $2}' | sort | tr '\n' ' ')
for library in $needed; do
  case "$library" in
    libc.so.6 | libm.so.6 | ld-linux-x86-64.so.2 | libdl.so.2 | libpthread.so.0 | librt.so.1) ;;
    *) fail "it needs $library, which a bare system lacks" ;;
  esac
done
glibc=$(objdump -T "$program" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -1)
[ "$(printf '%s\n' "GLIBC_$newest_glibc" "$glibc" | sort -V | tail -1)" = "GLIBC_$newest_glibc" ] || fail "it needs $glibc"
echo "$needed; $glibc; $(du -h "$program" | cut -f1)"
[ "$(ls "$scratch/share/doc/rlcpp/licences" | wc -l)" -ge 7 ] || fail "licences are missing"
dpkg-deb --contents "$deb" >"$scratch/contents"
grep -q ' ./usr/bin/rlcpp$' "$scratch/contents" || fail "the Debian package has no usr/bin/rlcpp"

echo "=== with an empty environment"
env -i "$program" --version
[ -z "$tree" ] && exit 0

echo "=== in a bare Debian 12"
if [ ! -x "$tree/bin/sh" ]; then
  command -v debootstrap >/dev/null || { echo "error: debootstrap is missing: apt-get install debootstrap" >&2; exit 3; }
  debootstrap --variant=minbase bookworm "$tree" >"$scratch/debootstrap.log" 2>&1 || { tail -5 "$scratch/debootstrap.log" >&2; exit 3; }
fi
mountpoint -q "$tree/proc" || mount -t proc proc "$tree/proc" || echo "warning: no /proc in the tree" >&2
for tool in gcc python3; do
  chroot "$tree" sh -c "command -v $tool" >/dev/null && fail "the tree is not bare: it has $tool"
done
home=$(mktemp -d "$tree/tmp/release-XXXXXX")
inside=${home#"$tree"}
mkdir "$home/rlcpp"
tar -xzf "$archive" -C "$home/rlcpp" --strip-components=1
for i in $(seq 1 40); do
  echo "{\"prompt\": \"say it backwards: word $i abc\", \"completion\": \"cba $i drow\"}"
done >"$home/rows.jsonl"
cat >"$home/try.sh" <<'END'
set -eu
cd "$(dirname "$0")"
export HOME=$PWD
PATH=$PWD/rlcpp/bin:$PATH
rlcpp --version | head -1
rlcpp doctor
rlcpp tokenize train --data rows.jsonl --characters --vocab-size 64 --out tokenizer
rlcpp sft --model.name rlcpp/share/rlcpp/configs/models/qwen3-1m --tokenizer.name tokenizer --data.name rows.jsonl \
  --max-steps 3 --data.batch-size 2 --output-dir out
test -s out/weights/step_3/model.safetensors
END
chown -R 65534:65534 "$home"
chroot --userspec=65534:65534 "$tree" sh "$inside/try.sh" || fail "it does not work in a bare Debian 12"

echo "=== the Debian package there"
cp "$deb" "$home/rlcpp.deb"
chroot "$tree" dpkg -i "$inside/rlcpp.deb" || fail "it cannot be installed"
chroot "$tree" rlcpp --version | head -1
chroot "$tree" dpkg -r rlcpp >/dev/null
chroot "$tree" sh -c 'command -v rlcpp' >/dev/null && fail "rlcpp is still there after its removal"
rm -rf "$home"
echo "all is well"
