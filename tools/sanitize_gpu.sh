#!/usr/bin/env bash
# compute-sanitizer over a small model on the GPU of this machine: memcheck and racecheck of the decoder's forward and
# backward, paged attention and trainer steps. The last line says
# "sanitizers: passed" or what failed.
#   tools/sanitize_gpu.sh [--prebuilt DIR] [--tool memcheck|racecheck|initcheck|synccheck]...
# --prebuilt  test programs of tools/pack_gpu_tests.sh; otherwise those of build/cuda/tests
# --tool      only this tool; may be repeated
set -euo pipefail
cd "$(dirname "$0")/.."
programs=build/cuda/tests
tools=()
while [ $# -gt 0 ]; do
  case "$1" in
    --prebuilt) programs=${2:?--prebuilt needs a folder}; shift ;;
    --tool) tools+=("${2:?--tool needs a name}"); shift ;;
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "error: unknown option $1 (see --help)" >&2; exit 2 ;;
  esac
  shift
done
[ ${#tools[@]} -eq 0 ] && tools=(memcheck racecheck)
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | head -1 || true)
if [ -z "$sanitizer" ]; then
  echo "error: there is no compute-sanitizer here: it is part of the CUDA toolkit" >&2
  exit 3
fi
nvidia-smi -L >/dev/null 2>&1 || { echo "error: nvidia-smi finds no GPU here" >&2; exit 3; }
folders=$(tools/cuda_libraries.sh)
export LD_LIBRARY_PATH=$PWD/$programs${folders:+:$folders}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
[[ $programs == /* ]] && LD_LIBRARY_PATH=$programs${folders:+:$folders}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export RLCPP_TEST_GPU=1 RLCPP_TEST_DATA=$PWD/tests/data

# One model with QK-norm, one with biases; one packed row, recomputed and paged; steps of SFT and RL.
model='All/Decoder.RecomputeDoesNotMatter/qwen3_tied_Cuda:All/Decoder.FrozenParametersChangeNothingElse/llama3_biased_Cuda:All/Paged.AnyChunks*/qwen2_sharded_Cuda'
train='Trainer/OnDevice.AStepAgreesWithTheCpuInF32/Cuda:Trainer/OnDevice.MomentsInHalfTheMemory*/Cuda'
failed=()
for tool in "${tools[@]}"; do
  # Failing calls of the API are found by our own checks; the libraries probe for functions and expect some to fail.
  # racecheck looks at the libraries' kernels too: with a filter on ours (--kernel-name kns=rlcpp) cuBLASLt's of
  # Hopper end in an internal error of the tool (2025.3.1: "failed to handle a hardware exception").
  options=(--report-api-errors no)
  [ "$tool" = racecheck ] && options+=(--print-limit 100000)
  for run in "test_model $model" "test_train $train"; do
    read -r program filter <<<"$run"
    began=$SECONDS
    log=$(mktemp)
    status=0
    timeout 230 "$sanitizer" --tool "$tool" --error-exitcode 99 "${options[@]}" "$programs/$program" \
      --gtest_filter="$filter" --gtest_brief=1 >"$log" 2>&1 || status=$?
    # The tool does not follow tiles that Hopper's copy engine writes and mbarriers announce: it reports cuDNN's kernels
    # and those of ours that work so, whose order other tests hold (same bits in every run). Any other kernel counts.
    if [ "$tool" = racecheck ] && [ "$status" = 99 ]; then
      others=$(sed -n 's/.*Race reported between .* at \(.*\)/\1/p' "$log" | grep -cvE 'cudnn_generated|hopper_d(kv|q)_kernel|head_weights_kernel|(two_products|swiglu_product)_kernel' || true)
      reported=$(grep -c 'Race reported between' "$log" || true)
      if [ "$others" = 0 ] && [ "$reported" -gt 0 ] && ! grep -q 'Internal Sanitizer Error' "$log"; then status=0; fi
      echo "racecheck $program: $reported reports, $others of them of kernels without the copy engine"
    fi
    # A filter that matches nothing would pass.
    ran=$(sed -n 's/^\[==========\] \([0-9]*\) tests\{0,1\} from .* ran.*/\1/p' "$log" | tail -1)
    if [ "$status" != 0 ] || [ "${ran:-0}" -lt 2 ]; then
      failed+=("$tool of $program")
      tail -40 "$log"
    fi
    echo "$tool $program: ${ran:-0} tests, exit $status, $((SECONDS - began)) s: $(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY' "$log" | tail -1)"
    rm -f "$log"
  done
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "sanitizers: FAILED: $(IFS=,; echo "${failed[*]}")"
  exit 1
fi
echo "sanitizers: passed (${tools[*]})"
