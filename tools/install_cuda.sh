#!/usr/bin/env bash
# Puts a CUDA compiler and the headers and libraries that the cuda preset needs into .deps/cuda, from NVIDIA's own PyPI
# wheels, for machines without a toolkit. Nothing outside the project is touched. Needs python3 with pip.
#   tools/install_cuda.sh [--no-install]
set -euo pipefail
cd "$(dirname "$0")/.."

wheels=(nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-runtime==13.0.96
        nvidia-cuda-cccl==13.0.85 nvidia-cublas==13.1.0.3)
target=.deps/cuda
if [ -x "$target/bin/nvcc" ]; then exit 0; fi
if [ "${1:-}" = --no-install ]; then
  echo "error: there is no CUDA compiler, and --no-install was given" >&2
  exit 3
fi
echo "installing into $target: ${wheels[*]}" >&2
rm -rf .deps/wheels
if ! python3 -m pip install --quiet --no-deps --target .deps/wheels "${wheels[@]}" >&2; then
  echo "error: pip could not install the CUDA wheels" >&2
  echo "  help: install a CUDA 13 toolkit and put nvcc on PATH" >&2
  exit 3
fi
mkdir -p .deps
rm -rf "$target"
mv .deps/wheels/nvidia/cu13 "$target"
rm -rf .deps/wheels
# The layout that CMake and nvcc expect: lib64, and names without a version.
ln -sfn lib "$target/lib64"
for library in "$target"/lib/*.so.*; do
  name=${library##*/}
  ln -sfn "$name" "$target/lib/${name%%.so.*}.so"
done
chmod +x "$target"/bin/* "$target"/nvvm/bin/* 2>/dev/null || true
"$target/bin/nvcc" --version | tail -2 >&2
