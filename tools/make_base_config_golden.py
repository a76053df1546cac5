#!/usr/bin/env python3
"""Writes tests/data/base/free_table.toml and what Python's tomllib (3.11) reads from it, as JSON.

The file holds the forms of TOML that our own writer never uses, so that reading them is checked against another parser.
"None" becomes null in a free table, as in the rest of the configuration.  Usage: tools/make_base_config_golden.py
"""
import usage

if __name__ == "__main__":
    usage.answer(__doc__)

import json
import pathlib
import tomllib

TEXT = r'''
plain = "text"
literal = 'C:\path\n'
escapes = "tab\t quote\" back\\ bell\u0007 snow\u2603 face\U0001F600 del\u007f"
multi = """
first line
  second \
     joined "quoted" ""
"""
raw = """it's"""
raw_multi = \'\'\'
keeps \n as it is\'\'\'
empty = ""
none = "None"
dec = 1_000_000
neg = -17
hex = 0xDEAD_beef
oct = 0o755
bin = 0b1101
big = 9223372036854775807
small = -9223372036854775808
flt = 6.626e-34
flt2 = -0.0
flt3 = 1_000.5
flt4 = 5e+22
yes = true
no = false
mixed = [1, 2.5, "three", [true, []], { four = 4 }]
trailing = [
  1, # a comment
  2,
]
dotted.key.path = 1
dotted."quoted key".path = 2
"" = "the empty key"
"a.b" = "no path"
inline = { x = 1, y.z = "deep", list = [{ a = 1 }, { a = "None" }] }

[table]
key = 1

[table.sub."odd name"]
key = "None"

[[rows]]
n = 1

[rows.inner]
m = 2

[[rows]]
n = 3
'''.replace("\\'\\'\\'", "'''")


def with_null(value):
    if value == "None":
        return None
    if isinstance(value, dict):
        return {key: with_null(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_null(item) for item in value]
    return value


def main():
    folder = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data" / "base"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "free_table.toml").write_text(TEXT.lstrip(), encoding="utf-8")
    parsed = with_null(tomllib.loads(TEXT))
    (folder / "free_table.json").write_text(json.dumps(parsed, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
