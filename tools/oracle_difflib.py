#!/usr/bin/env python3
"""Golden values of Python's difflib for tests/env/difflib_test.cpp (standard library only; made with CPython 3.11.7).

    python3 tools/oracle_difflib.py > tests/data/env/difflib.json

Rows are [a, b, ratio, blocks]; ratio is written with repr(), so reading it back gives the same double. `blocks` (every fifth row,
else null) is get_matching_blocks() without its closing empty block, as Python merges adjacent ones.
"""
import usage

if __name__ == "__main__":
    usage.answer(__doc__)

import json
import random
import sys
from difflib import SequenceMatcher

rng = random.Random(20260112)
LATIN = "abcdefghijklmnopqrstuvwxyz"
WIDE = "aé漢字🙂\u0301 ßЖ\u200dz\u00a0Ω"
WORDS = "the quick brown fox jumps over a lazy dog while seven old wizards mix potions by candle light".split()


def text(alphabet, low, high):
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(low, high)))


def mutated(s, alphabet, edits):
    out = list(s)
    for _ in range(edits):
        kind, at = rng.random(), rng.randint(0, len(out))
        if kind < 0.35 and out:
            out[min(at, len(out) - 1)] = rng.choice(alphabet)
        elif kind < 0.6:
            out.insert(at, rng.choice(alphabet))
        elif kind < 0.85 and out:
            out.pop(min(at, len(out) - 1))
        elif len(out) > 2:
            i, j = sorted((rng.randrange(len(out)), rng.randrange(len(out))))
            out[i : j + 1] = reversed(out[i : j + 1])
    return "".join(out)


def sentence(words):
    return " ".join(rng.choice(WORDS) for _ in range(words))


pairs = [("", ""), ("", "a"), ("a", ""), ("a", "a"), ("abcd", "bcde"), ("ab" * 150, "ba" * 120)]
for _ in range(260):  # what a policy writes: an answer with slips
    s = sentence(rng.randint(1, 4))[::-1]
    pairs.append((mutated(s, LATIN + " ", rng.randint(0, 8)), s))
for _ in range(60):  # the task not done: the prompt itself
    s = sentence(rng.randint(1, 5))
    pairs.append((s, s[::-1]))
for _ in range(250):  # few letters: many ties
    alphabet = LATIN[: rng.randint(1, 4)]
    pairs.append((text(alphabet, 0, 24), text(alphabet, 0, 24)))
for _ in range(200):
    pairs.append((text(LATIN, 0, 20), text(LATIN, 0, 20)))
for _ in range(160):
    s = text(WIDE, 0, 18)
    pairs.append((mutated(s, WIDE, rng.randint(0, 5)), s))
for length in (198, 199, 200, 201, 299, 300, 301):  # around the borders of autojunk
    for alphabet in (LATIN, LATIN[:6], WIDE):
        s = text(alphabet, length, length)
        pairs.append((mutated(s, alphabet, 30), s))
for _ in range(70):
    s = text("".join(chr(0x4E00 + i) for i in range(120)) if rng.random() < 0.3 else LATIN + LATIN.upper(), 200, 420)
    pairs.append((mutated(s, LATIN, rng.randint(0, 60)), s))
for _ in range(30):
    s = sentence(rng.randint(45, 70))
    pairs.append((mutated(s[::-1], LATIN, rng.randint(5, 40)), s[::-1]))
# a is short, b long: a popular character only extends matches
for _ in range(20):
    s = text(LATIN, 200, 260)
    cut = rng.randrange(150)
    pairs.append((s[cut : cut + rng.randint(1, 60)], s))

rows = []
for i, (a, b) in enumerate(pairs):
    matcher = SequenceMatcher(None, a, b)
    blocks = [[m.a, m.b, m.size] for m in matcher.get_matching_blocks()[:-1]] if i % 5 == 0 and len(b) < 250 else None
    rows.append([a, b, matcher.ratio(), blocks])
json.dump({"python": sys.version.split()[0], "rows": rows}, sys.stdout, ensure_ascii=False, separators=(",", ":"))
sys.stdout.write("\n")
print(len(rows), "pairs", file=sys.stderr)
