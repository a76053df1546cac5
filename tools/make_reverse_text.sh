#!/usr/bin/env bash
# Makes the reverse-text data sets from the definitions of WordNet 3.0 (Debian package wordnet-base; Copyright 2006 by
# Princeton University, free to use, copy, modify and distribute with that notice, which LICENSE-WordNet beside the data
# carries). Phrases are runs of one to three words, 3 to 8 characters in all, each once, in an order that depends on
# nothing but the text, and takes every length in turn: most runs are long, and a learner needs short ones too.
#   tools/make_reverse_text.sh OUT_DIR [TRAIN_ROWS] [HELD_OUT_ROWS]
# writes sft.jsonl and val.jsonl (prompt and completion) and rl.jsonl and eval.jsonl (prompt): no phrase is in two of
# train and held-out.
set -euo pipefail
case "${1:-}" in
  -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
  -*) echo "error: unknown option $1 (see --help)" >&2; exit 2 ;;
esac

if [ $# -lt 1 ] || [ $# -gt 3 ]; then
  echo "error: tools/make_reverse_text.sh needs OUT_DIR, and may have two numbers of rows (see --help)" >&2
  exit 2
fi
out=$1
train=${2:-6000}
held_out=${3:-512}
for rows in "$train" "$held_out"; do
  case "$rows" in
    *[!0-9]* | '' | ????????*) echo "error: \"$rows\" is no number of rows (see --help)" >&2; exit 2 ;;
  esac
done
source=/usr/share/wordnet/data.noun
notice=/usr/share/doc/wordnet-base/copyright
if [ ! -r "$source" ]; then
  echo "error: $source is not there" >&2
  echo "  help: apt-get install wordnet-base, or tools/install_deps.sh" >&2
  exit 3
fi
mkdir -p "$out"
export LC_ALL=C

# The definition is what follows the bar, up to its first example.
phrases=$(mktemp)
trap 'rm -f "$phrases"' EXIT
sed -n 's/^[0-9].* | \([^;"]*\).*/\1/p' "$source" | awk '
  function emit(phrase,    h, i, letters_only) {
    if (length(phrase) < 3 || phrase in seen) return
    seen[phrase] = 1
    # A hash of the phrase is its place in the order: no random generator that differs between awks.
    h = 7
    for (i = 1; i <= length(phrase); ++i) h = (h * 131 + index("abcdefghijklmnopqrstuvwxyz ", substr(phrase, i, 1))) % 8388593
    printf "%d\t%07d\t%s\n", length(phrase), (h * 7919) % 8388593, phrase
  }
  {
    line = tolower($0)
    gsub(/\([^)]*\)/, " ", line)
    gsub(/[^a-z ]/, " , ", line)   # punctuation ends a run
    n = split(line, word, " ")
    for (i = 1; i <= n; ++i) {
      phrase = ""
      for (j = i; j <= n && j < i + 3 && word[j] != ","; ++j) {
        phrase = phrase (j > i ? " " : "") word[j]
        if (length(phrase) > 8) break
        if (length(phrase) >= 3) emit(phrase)
      }
    }
  }' | sort | awk -F'\t' '{printf "%06d\t%d\t%s\n", ++place[$1], $1, $3}' | sort >"$phrases"

total=$(wc -l <"$phrases")
need=$((train + 2 * held_out))
if [ "$total" -lt "$need" ]; then
  echo "error: the text gives $total phrases, $need are asked for" >&2
  echo "  help: ask for fewer rows" >&2
  exit 2
fi

rows() { # rows FIRST COUNT KIND
  tail -n "+$1" "$phrases" | head -n "$2" | cut -f3 | awk -v kind="$3" '
    {
      reversed = ""
      for (i = length($0); i > 0; --i) reversed = reversed substr($0, i, 1)
      if (kind == "sft")
        printf "{\"prompt\": [{\"role\": \"user\", \"content\": \"%s\"}], \"completion\": [{\"role\": \"assistant\", \"content\": \"<reversed_text>%s</reversed_text>\"}]}\n", $0, reversed
      else
        printf "{\"prompt\": \"%s\"}\n", $0
    }'
}
# head closes the pipe early; that is no failure.
set +o pipefail
rows 1 "$held_out" sft >"$out/val.jsonl"
rows $((held_out + 1)) "$held_out" rl >"$out/eval.jsonl"
rows $((2 * held_out + 1)) "$train" sft >"$out/sft.jsonl"
rows $((2 * held_out + 1)) "$train" rl >"$out/rl.jsonl"
set -o pipefail
cp "$notice" "$out/LICENSE-WordNet"
echo "$train training and $held_out held-out phrases of WordNet 3.0 in $out" >&2
