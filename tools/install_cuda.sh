#!/usr/bin/env bash
# Puts what the cuda preset needs and this machine lacks under .deps, from NVIDIA's own PyPI wheels: a CUDA compiler with
# the headers of the runtime and cuBLASLt (.deps/cuda) where no toolkit is found, cuDNN (.deps/cudnn) where no cudnn.h is
# found, NCCL (.deps/nccl) where no nccl.h is found, and the headers of cudnn-frontend (.deps/cudnn-frontend). Nothing
# outside the project is touched. Needs python3 with pip.
#   tools/install_cuda.sh [--no-install]
# --no-install  fetch nothing: name what is missing and leave with 3
set -euo pipefail
no_install=no
for argument in "$@"; do
  case "$argument" in
    --no-install) no_install=yes ;;
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "error: unknown option $argument (see --help)" >&2; exit 2 ;;
  esac
done
cd "$(dirname "$0")/.."

compiler_wheels=(nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-runtime==13.0.96
                 nvidia-cuda-cccl==13.0.85 nvidia-cublas==13.1.0.3)
cudnn_wheel=nvidia-cudnn-cu13==9.19.0.56
nccl_wheel=nvidia-nccl-cu13==2.28.9
# 1.18 knows all of cuDNN 9.19 and, unlike later versions, needs no header of NVRTC.
frontend_wheel=nvidia-cudnn-frontend==1.18.0
target=.deps/cuda

# fetch FOLDER WHEEL...: the wheels unpacked into FOLDER.
fetch() {
  local folder=$1
  shift
  if [ "$no_install" = yes ]; then
    echo "error: these are missing, and --no-install was given: $*" >&2
    exit 3
  fi
  echo "installing under .deps: $*" >&2
  rm -rf "$folder"
  # The headers of cudnn-frontend are the same for every Python, its wheels are not: one of them is named.
  local any=()
  case "$1" in
    nvidia-cudnn-frontend*) any=(--only-binary=:all: --python-version 3.11 --implementation cp --platform
                                 manylinux_2_28_x86_64) ;;
  esac
  if ! python3 -m pip install --quiet --no-deps --target "$folder" "${any[@]}" "$@" >&2; then
    echo "error: pip could not install $*" >&2
    echo "  help: install a CUDA 13 toolkit with cuDNN 9 and put nvcc on PATH" >&2
    exit 3
  fi
}

# link_names FOLDER: names without a version for the linker.
link_names() {
  local library name
  for library in "$1"/*.so.*; do
    name=${library##*/}
    ln -sfn "$name" "$1/${name%%.so.*}.so"
  done
}

toolkit=
if [ -x "$target/bin/nvcc" ]; then toolkit=$target; fi
if [ -x /usr/local/cuda/bin/nvcc ]; then toolkit=/usr/local/cuda; fi
if command -v nvcc >/dev/null; then toolkit=$(dirname "$(dirname "$(readlink -f "$(command -v nvcc)")")"); fi

mkdir -p .deps
if [ -z "$toolkit" ]; then
  fetch .deps/wheels "${compiler_wheels[@]}"
  rm -rf "$target"
  mv .deps/wheels/nvidia/cu13 "$target"
  mkdir -p "$target/dist-info" # with the licences, for tools/collect_licences.sh
  mv .deps/wheels/*.dist-info "$target/dist-info/"
  rm -rf .deps/wheels
  # The layout that CMake and nvcc expect: lib64, and names without a version.
  ln -sfn lib "$target/lib64"
  link_names "$target/lib"
  chmod +x "$target"/bin/* "$target"/nvvm/bin/* 2>/dev/null || true
  "$target/bin/nvcc" --version | tail -2 >&2
  toolkit=$target
fi

# has HEADER FOLDER...: it is in one of them, or where compilers and toolkits keep theirs.
has() {
  local header=$1 folder
  shift
  for folder in "$@" "$toolkit/include" /usr/local/cuda/include /usr/include /usr/include/x86_64-linux-gnu /usr/local/include; do
    if [ -e "$folder/$header" ]; then return 0; fi
  done
  return 1
}

if ! has cudnn.h .deps/cudnn/include; then
  fetch .deps/wheels "$cudnn_wheel"
  rm -rf .deps/cudnn
  mv .deps/wheels/nvidia/cudnn .deps/cudnn
  rm -rf .deps/wheels
  link_names .deps/cudnn/lib
fi

if ! has nccl.h .deps/nccl/include; then
  fetch .deps/wheels "$nccl_wheel"
  rm -rf .deps/nccl
  mv .deps/wheels/nvidia/nccl .deps/nccl
  rm -rf .deps/wheels
  link_names .deps/nccl/lib
fi

# Its licence goes into packages; a folder of before that was known has none.
if [ ! -e .deps/cudnn-frontend/include/cudnn_frontend.h ] || [ ! -e .deps/cudnn-frontend/LICENSE.txt ]; then
  fetch .deps/wheels "$frontend_wheel"
  rm -rf .deps/cudnn-frontend
  mkdir -p .deps/cudnn-frontend
  mv .deps/wheels/include .deps/cudnn-frontend/include
  mv .deps/wheels/*.dist-info/licenses/LICENSE.txt .deps/cudnn-frontend/ 2>/dev/null || true
  rm -rf .deps/wheels
fi
