#!/usr/bin/env bash
# Installs the Python packages that the long tier compares with into a folder, and nothing outside of it:
# tokenizers, Jinja2 and pyarrow, and for the chat templates inside them trl, unsloth and guidance (90 MB, without what they
# depend on).
#   tools/install_oracles.sh [DIR]      DIR: build/oracles if it is not named
# Prints the folder, for PYTHONPATH. Leaves with 3 if pip or a package cannot be had.
set -euo pipefail
case "${1:-}" in
  -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
  -*) echo "error: unknown option $1 (see --help)" >&2; exit 2 ;;
esac
cd "$(dirname "$0")/.."

folder=${1:-build/oracles}
packages=(tokenizers==0.23.3 jinja2==3.1.6 markupsafe pyarrow==26.0.1)
templates=(trl==1.16.0 unsloth==2026.10.9 guidance==0.3.1)
mark=$folder/installed
wanted="${packages[*]} ${templates[*]} $(python3 -c 'import sys; print(sys.version_info[:2])')"
if [ "$(cat "$mark" 2>/dev/null)" = "$wanted" ]; then
  (cd "$folder" && pwd)
  exit 0
fi
if ! python3 -m pip --version >/dev/null 2>&1; then
  echo "error: python3 with pip is needed for the packages to compare with, and is not here" >&2
  echo "  help: apt-get install python3-pip" >&2
  exit 3
fi
rm -rf "$folder"
mkdir -p "$folder"
if ! python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps --target "$folder" \
     "${packages[@]}" "${templates[@]}" >&2; then
  echo "error: pip could not install the packages to compare with" >&2
  echo "  help: look at the network; the fast tier needs none of them" >&2
  exit 3
fi
echo "$wanted" >"$mark"
(cd "$folder" && pwd)
