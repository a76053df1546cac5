#!/usr/bin/env bash
# Installs the Debian packages that building, testing or running rl.cpp needs, by name, and only those that are missing.
#   tools/install_deps.sh [--tests] [--fuzz] [--no-install]
# --tests       also what the tests and format checks need
# --fuzz        also what the fuzzers need (tools/fuzz.sh)
# --no-install  install nothing: list what is missing and leave with 3
set -euo pipefail

packages=(g++ cmake ninja-build git pkg-config libtomlplusplus-dev nlohmann-json3-dev libfmt-dev libpcre2-dev
          libutf8proc-dev zlib1g-dev wordnet-base)
install=yes
for argument in "$@"; do
  case "$argument" in
    --tests) packages+=(libgtest-dev xz-utils clang-format-14 clang-tidy-14 python3 openmpi-bin libopenmpi-dev) ;;
    --fuzz) packages+=(libgtest-dev clang-14 libclang-rt-14-dev) ;;
    --no-install) install=no ;;
    -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "error: unknown option $argument (see --help)" >&2; exit 2 ;;
  esac
done

# An equivalent that is already there counts: a cmake from elsewhere, a python3 that is not Debian's.
have() {
  case "$1" in
    g++ | cmake | git | pkg-config | python3) command -v "$1" >/dev/null ;;
    ninja-build) command -v ninja >/dev/null ;;
    xz-utils) command -v xz >/dev/null ;;
    openmpi-bin) command -v mpirun >/dev/null ;;
    libopenmpi-dev) command -v mpicxx >/dev/null ;;
    clang-14) command -v clang++-14 >/dev/null ;;
    clang-format-14) command -v clang-format-14 >/dev/null ;;
    clang-tidy-14) command -v clang-tidy-14 >/dev/null ;;
    *) [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ] ;;
  esac
}

missing=()
for package in "${packages[@]}"; do
  have "$package" || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$install" = no ]; then
  echo "error: these packages are missing: ${missing[*]}" >&2
  echo "  help: apt-get install ${missing[*]}" >&2
  exit 3
fi
if ! command -v apt-get >/dev/null; then
  echo "error: these packages are missing, and there is no apt-get here: ${missing[*]}" >&2
  echo "  help: install them, or their equivalents, with your system's package manager" >&2
  exit 3
fi
as_root=()
if [ "$(id -u)" != 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "error: these packages are missing, and neither root nor sudo is at hand: ${missing[*]}" >&2
    exit 3
  fi
  as_root=(sudo)
fi
echo "installing from Debian: ${missing[*]}" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${as_root[@]}" apt-get update && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
       apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  tail -15 "$log" >&2
  echo "error: apt-get could not install the packages above" >&2
  exit 3
fi
