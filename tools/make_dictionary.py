#!/usr/bin/env python3
"""Real text for SFT: definitions of WordNet 3.0 (Debian package wordnet-base; Copyright 2006 by Princeton University, free to
use, copy, modify and distribute with that notice) as prompts and completions.

    tools/make_dictionary.py OUT.jsonl [ROWS]

Rows are in an order that depends on nothing but the text. The notice is written beside the file as LICENSE-WordNet.
"""

import usage

if __name__ == "__main__":
    usage.answer(__doc__, 1, 2)

import hashlib
import json
import pathlib
import re
import shutil
import sys

SOURCE = pathlib.Path("/usr/share/wordnet")
NOTICE = pathlib.Path("/usr/share/doc/wordnet-base/copyright")
KINDS = {"noun": "noun", "verb": "verb", "adj": "adjective", "adv": "adverb"}


def entries():
    for suffix, kind in KINDS.items():
        for line in (SOURCE / f"data.{suffix}").read_text(encoding="ascii").splitlines():
            if line.startswith("  "):  # the licence at the top of the file
                continue
            fields, gloss = line.split(" | ", 1)
            words = fields.split(" ")
            count = int(words[3], 16)
            names = [re.sub(r"\((a|p|ip)\)$", "", words[4 + 2 * i]).replace("_", " ") for i in range(count)]
            prompt = f"Define the {kind} \"{names[0]}\"."
            completion = gloss.strip()
            if len(names) > 1:
                completion = completion.rstrip(".") + f". Also: {', '.join(names[1:])}."
            yield {"prompt": prompt, "completion": completion}


def main():
    if not (SOURCE / "data.noun").is_file():
        sys.exit(f"error: {SOURCE}/data.noun is not there\n  help: apt-get install wordnet-base")
    out = pathlib.Path(sys.argv[1])
    rows = sorted((json.dumps(row, ensure_ascii=False) for row in entries()),
                  key=lambda text: hashlib.sha256(text.encode()).digest())
    if len(sys.argv) == 3:
        rows = rows[:int(sys.argv[2])]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(rows) + "\n")
    if NOTICE.is_file():
        shutil.copy(NOTICE, out.parent / "LICENSE-WordNet")
    print(f"{out}: {len(rows)} definitions, {out.stat().st_size / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
