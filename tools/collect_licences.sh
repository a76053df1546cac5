#!/usr/bin/env bash
# Copies the licences of everything that a release binary has inside of it into a folder.
#   tools/collect_licences.sh BUILD_DIR FOLDER
# BUILD_DIR: of the release, whose cache says what was built in. A licence that cannot be found is an error: what may not be
# said where it came from is not given out.
set -euo pipefail
case "${1:-}" in
  -h | --help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;;
  -*) echo "error: unknown option $1 (see --help)" >&2; exit 2 ;;
esac
if [ $# -lt 2 ]; then
  echo "error: tools/collect_licences.sh needs BUILD_DIR and FOLDER (see --help)" >&2
  exit 2
fi
cd "$(dirname "$0")/.."
build=$1
folder=$2
mkdir -p "$folder"

take() { # NAME FILE...: the first of the files that is there
  local name=$1 file
  shift
  for file in "$@"; do
    if [ -r "$file" ]; then
      cp -L "$file" "$folder/$name"
      return
    fi
  done
  echo "error: no licence of $name: none of $* is there" >&2
  exit 1
}
setting() { sed -n "s/^$1:[A-Z]*=//p" "$build/CMakeCache.txt"; }

debian=/usr/share/doc
take fmt "$debian/libfmt-dev/copyright"
take nlohmann-json "$debian/nlohmann-json3-dev/copyright"
take tomlplusplus "$debian/libtomlplusplus-dev/copyright"
take pcre2 "$debian/libpcre2-dev/copyright" "$debian/libpcre2-8-0/copyright"
take utf8proc "$debian/libutf8proc-dev/copyright"
take gcc-runtime "$debian/libstdc++-$(g++ -dumpversion | cut -d. -f1)-dev/copyright" "$debian/gcc-12-base/copyright"
if [ "$(setting RLCPP_CUDA)" = ON ]; then
  # The CUDA runtime is linked statically (attachment A of its licence allows that); cuBLASLt, cuDNN and NCCL are not in.
  toolkit=$(dirname "$(dirname "$(setting CMAKE_CUDA_COMPILER)")")
  take cuda-runtime "$toolkit/EULA.txt" "$toolkit"/dist-info/nvidia_cuda_runtime-*/licenses/License.txt \
    .deps/cuda-licences/nvidia_cuda_runtime.txt "$debian"/cuda-cudart-*/copyright
  take cudnn-frontend .deps/cudnn-frontend/LICENSE.txt /usr/share/doc/cudnn-frontend/LICENSE.txt
fi
cat >"$folder/README" <<'END'
Parts of other projects that are inside of the program rlcpp, and their licences, one file each. The CUDA runtime is inside
of builds with CUDA only. Libraries that are opened when they are first used (cuBLASLt, cuDNN, NCCL, libcurl, libzstd, zlib,
MPI) are not part of this package.
END
