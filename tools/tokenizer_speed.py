#!/usr/bin/env python3
"""Speed of a tokenizer on one thread, ours and HF's, over six kinds of text.

    tokenizer_speed.py BENCH TOKENIZER [--check]

BENCH: build/cpu/bin/bench_tokenizer; TOKENIZER: a directory with tokenizer.json. Prints a table of MB/s of processor time: the
first pass over a text, and later ones, which find their words remembered. HF is asked where its package is there. --check
leaves with 4 if the first pass over any of them but stress is below 5 MB/s.

prose: glosses of WordNet (wordnet-base); code: the sources of this project; chat: both as ChatML turns; stress: random pieces of
many scripts, emoji, marks, digits, white space and broken UTF-8, which no cache can foresee; letters: those of the prose in one
word; spaces: one run of them.
"""
import usage

if __name__ == "__main__":
    usage.answer(__doc__, 2, 2)

import os
import random
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SIZE = 4_000_000
FLOOR = 5.0


def prose():
    text = ""
    for part in ("noun", "verb", "adj"):
        with open(f"/usr/share/wordnet/data.{part}", encoding="utf-8") as f:
            text += "".join(line.split("| ", 1)[1].strip() + "\n" for line in f if "| " in line)
    return text[:SIZE]


def code():
    names = subprocess.run(["git", "-C", ROOT, "ls-files", "*.cpp", "*.h", "*.cu", "*.py", "*.sh", "*.md"], check=True, capture_output=True, text=True).stdout.split()
    texts = []
    for name in names:
        with open(os.path.join(ROOT, name), encoding="utf-8") as f:
            texts.append(f.read())
    return "".join(texts)[:SIZE]


def chat(prose_text, code_text):
    rng = random.Random("chat")
    turns = []
    for _ in range(1500):
        a, b = rng.randrange(len(prose_text) - 2000), rng.randrange(len(code_text) - 2000)
        turns.append(f"<|im_start|>user\n{prose_text[a : a + 700]}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n{prose_text[a + 700 : a + 1400]}\n```\n{code_text[b : b + 1200]}\n```<|im_end|>\n")
    return "".join(turns)[:SIZE]


def stress():
    from oracle_tokenizer import random_string

    rng = random.Random("stress")
    parts = []
    size = 0
    while size < SIZE // 2:
        text = random_string(rng, ["<|im_start|>", "<|im_end|>"]).decode("utf-8", "replace")
        size += len(text.encode())
        parts.append(text)
        if rng.random() < 0.05:
            parts.append("\n")
    return "".join(parts)


def documents_of(data):
    """As bench_tokenizer cuts them."""
    out, begin = [], 0
    while begin < len(data):
        line = data.find(b"\n", min(begin + 4096, len(data)))
        end = len(data) if line < 0 else line + 1
        out.append(data[begin:end].decode("utf-8", "replace"))
        begin = end
    return out


def main():
    arguments = [word for word in sys.argv[1:] if word != "--check"]
    if len(arguments) != 2:
        sys.exit(__doc__)
    bench, tokenizer = arguments
    texts = {"prose": prose(), "code": code()}
    texts["chat"] = chat(texts["prose"], texts["code"])
    texts["letters"] = re.sub("[^A-Za-z]", "", texts["prose"])[: SIZE // 2]
    texts["spaces"] = " " * (SIZE // 2)
    try:
        texts["stress"] = stress()
        from tokenizers import Tokenizer
    except ImportError:
        Tokenizer = None
    slow = []
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for kind, text in texts.items():
            paths[kind] = os.path.join(folder, kind)
            with open(paths[kind], "wb") as f:
                f.write(text.encode())
        said = subprocess.run([bench, tokenizer, *paths.values()], check=True, capture_output=True, text=True).stdout
        print("| text | bytes | first pass, MB/s | later, MB/s | HF tokenizers, MB/s |\n|---|---|---|---|---|")
        for (kind, path), line in zip(paths.items(), said.splitlines(), strict=True):
            found = re.search(r" (\d+) bytes (\d+) tokens, first pass ([\d.]+) MB/s, later ([\d.]+) MB/s", line)
            size, tokens, first, later = int(found[1]), int(found[2]), float(found[3]), float(found[4])
            theirs = "-"
            if Tokenizer is not None:
                tok = Tokenizer.from_file(os.path.join(tokenizer, "tokenizer.json"))
                with open(path, "rb") as f:
                    documents = documents_of(f.read())
                begin = time.process_time()
                count = sum(len(tok.encode(document, add_special_tokens=False).ids) for document in documents)
                theirs = f"{size / 1e6 / (time.process_time() - begin):.2f}"
                if count != tokens:
                    sys.exit(f"error: {kind}: {tokens} tokens, HF makes {count}")
            print(f"| {kind} | {size} | {first:.2f} | {later:.2f} | {theirs} |", flush=True)
            if kind != "stress" and first < FLOOR:
                slow.append(kind)
    if slow and "--check" in sys.argv:
        print(f"error: below {FLOOR} MB/s: {', '.join(slow)}", file=sys.stderr)
        sys.exit(4)


if __name__ == "__main__":
    main()
