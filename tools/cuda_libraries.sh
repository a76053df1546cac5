#!/usr/bin/env bash
# Prints the folders that LD_LIBRARY_PATH needs so that rlcpp and its tests find cuBLASLt and cuDNN, joined by colons;
# nothing if the loader finds both by itself. Looks in CUDA's own folder and in the packages `nvidia` of Python (PyPI's
# nvidia-cublas, nvidia-cudnn and others, which PyTorch brings).
#   export LD_LIBRARY_PATH=$(tools/cuda_libraries.sh)${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
set -euo pipefail
case "${1:-}" in
  '') ;;
  -h | --help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) echo "error: unknown option $1 (see --help)" >&2; exit 2 ;;
esac

known() { # known NAME: the loader finds it
  local folder
  # Taken whole before it is searched: grep -q on a pipe ends its writer, which pipefail would take for "no".
  local known
  known=$(ldconfig -p 2>/dev/null || /sbin/ldconfig -p 2>/dev/null || true)
  [[ $known == *"$1"* ]] && return 0
  IFS=: read -ra folders <<<"${LD_LIBRARY_PATH:-}"
  for folder in "${folders[@]}"; do
    compgen -G "$folder/$1*" >/dev/null && return 0
  done
  return 1
}
known libcublasLt.so.1 && known libcudnn.so.9 && exit 0

found=()
roots=$(python3 -c 'import nvidia; print("\n".join(nvidia.__path__))' 2>/dev/null || true)
while IFS= read -r root; do
  [ -n "$root" ] || continue
  for folder in "$root"/*/lib; do
    compgen -G "$folder/lib*.so*" >/dev/null && found+=("$folder")
  done
done <<<"$roots"
for folder in /usr/local/cuda/lib64 /usr/local/cuda/targets/*/lib; do
  compgen -G "$folder/libcublasLt.so*" >/dev/null && found+=("$folder")
done
if [ ${#found[@]} -eq 0 ]; then
  echo "error: cuBLASLt and cuDNN are neither known to the loader nor in Python's packages nor in /usr/local/cuda" >&2
  echo "  help: tools/install_cuda.sh, or pip install nvidia-cublas nvidia-cudnn-cu13" >&2
  exit 3
fi
(IFS=:; echo "${found[*]}")
