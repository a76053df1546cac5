#!/usr/bin/env python3
"""Golden chat-template renderings by Jinja2, for tests/tokenizer.

    oracle_templates.py golden        writes tests/data/tokenizer/{templates,expressions,statements}.golden.json
    oracle_templates.py strftime F    prints datetime.now().strftime(F)

The environment is the one of transformers' apply_chat_template (transformers 5.23.0, chat_template_utils.py): Jinja2
3.1.6, ImmutableSandboxedEnvironment, trim_blocks, lstrip_blocks, loop controls, tojson without HTML escapes. The
templates under tests/data/tokenizer/templates are written after the publicly known ones of their families.
"""
import usage

if __name__ == "__main__":
    usage.answer(__doc__, 1, 2)

import datetime
import json
import os
import re
import sys

import jinja2
from transformers.utils import chat_template_utils

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DATA = os.path.join(ROOT, "tests", "data", "tokenizer")


def compile_template(source):
    return chat_template_utils._cached_compile_jinja_template(source)


def render(source, variables):
    """(text, None), or (None, error): every exception that a template can end with is one error."""
    try:
        return compile_template(source).render(**variables), None
    except Exception as error:  # noqa: BLE001: Jinja2 passes Python's own errors on
        return None, f"{type(error).__name__}: {error}"


def call(name, arguments, identifier="call_0001"):
    return {"type": "function", "id": identifier, "function": {"name": name, "arguments": arguments}}


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather now – at a place <b>\"here\"</b>.",
            "parameters": {
                "type": "object",
                "properties": {
                    "place": {"type": "string", "description": "Stadt, e.g. Zürich"},
                    "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
                    "days": {"type": "array", "items": {"type": "integer"}, "description": "which"},
                    "fine": {"type": ["string", "null"], "nullable": True},
                    "box": {"type": "object", "properties": {"x": {"type": "number"}, "y": {"type": "array", "items": {"type": "string"}}}, "required": ["x"]},
                },
                "required": ["place"],
            },
            "return": {"type": "string"},
        },
    },
    {"type": "function", "function": {"name": "now", "description": "Time.", "parameters": {"type": "object", "properties": {}}}},
]

CONVERSATIONS = {
    "one turn": [{"role": "user", "content": "Hello"}],
    "system": [{"role": "system", "content": "  Be brief. \n"}, {"role": "user", "content": "Hi\n"}],
    "turns": [
        {"role": "system", "content": "You are kind. /no_think"},
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": " 2 "},
        {"role": "user", "content": "And 2+2?"},
        {"role": "assistant", "content": "4"},
    ],
    "unicode": [
        {"role": "user", "content": "Grüße 👩‍👩‍👧 \u2028 <tag> & 'quotes' \"double\" \\ back\tTab \u0000\u007f"},
        {"role": "assistant", "content": "日本語 {{ not a template }} {% nor this %} 𝔘"},
        {"role": "user", "content": "İstanbul ΣΑΣ ß ﬁ"},
    ],
    "thinking": [
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "<think>\nBecause of\n</think>\n\nGravity."},
        {"role": "user", "content": "More"},
        {"role": "assistant", "content": "Mass.", "reasoning_content": "deep thought", "thinking": "deep thought"},
    ],
    "tools": [
        {"role": "system", "content": "Use tools."},
        {"role": "user", "content": "Weather in Zürich?"},
        {"role": "assistant", "content": "", "tool_calls": [call("get_weather", {"place": "Zürich", "days": [1, 2], "unit": None, "exact": True, "x": 1.5}, "abcdef123")]},
        {"role": "tool", "content": "{\"temp\": 21}", "tool_call_id": "abcdef123", "name": "get_weather"},
        {"role": "assistant", "content": "21 degrees."},
        {"role": "user", "content": "Thanks"},
    ],
    "two calls": [
        {"role": "user", "content": "Both?"},
        {"role": "assistant", "content": "Let me see.", "tool_calls": [call("now", {}), call("get_weather", "{\"place\": \"Bern\"}")]},
        {"role": "tool", "content": "12:00"},
        {"role": "tool", "content": "rain"},
        {"role": "assistant", "content": "It rains at noon."},
    ],
    "ends in tool": [
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": "", "tool_calls": [call("now", {})]},
        {"role": "tool", "content": "12:00"},
    ],
    "parts": [{"role": "user", "content": [{"type": "text", "text": " Look: "}, {"type": "image"}, {"type": "text", "text": "nice?"}]}],
    "none": [{"role": "user", "content": "x"}, {"role": "assistant", "content": None}],
    "not alternating": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
    "odd role": [{"role": "critic", "content": "c"}, {"role": "assistant", "content": ""}],
    "late system": [{"role": "user", "content": "a"}, {"role": "system", "content": "s"}, {"role": "assistant", "content": "b"}],
    "empty": [],
}

VARIATIONS = [
    {"add_generation_prompt": True},
    {"add_generation_prompt": False},
    {"add_generation_prompt": True, "tools": TOOLS},
    {"add_generation_prompt": True, "enable_thinking": False},
    {"add_generation_prompt": True, "tools": TOOLS[1:], "tools_in_user_message": False, "date_string": "1 Jan 2026", "builtin_tools": ["now", "code_interpreter"], "reasoning_effort": "high"},
]
WITH_TOOLS = ["one turn", "tools", "two calls", "parts", "not alternating", "empty"]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


def golden_templates():
    folder = os.path.join(DATA, "templates")
    sources = {name[:-6]: open(os.path.join(folder, name), encoding="utf-8").read() for name in sorted(os.listdir(folder)) if name.endswith(".jinja")}
    with open(os.path.join(DATA, "qwen3", "tokenizer_config.json"), encoding="utf-8") as f:
        sources["qwen3"] = json.load(f)["chat_template"]
    rows, errors = [], 0
    for name, source in sources.items():
        seen = set()
        for title, messages in CONVERSATIONS.items():
            for index, variation in enumerate(VARIATIONS):
                if index == 2 and title not in WITH_TOOLS:
                    continue
                variables = {"tools": None, "documents": None, **TOKENS, **variation, "messages": messages}
                text, error = render(source, variables)
                if (title, text, error) in seen:
                    continue  # the variation changed nothing
                seen.add((title, text, error))
                errors += text is None
                rows.append([name, title, index, text if error is None else {"error": error}])
    out = {
        "made_by": "tools/oracle_templates.py, jinja2 " + jinja2.__version__,
        "tokens": TOKENS,
        "conversations": CONVERSATIONS,
        "variations": VARIATIONS,
    }
    path = os.path.join(DATA, "templates.golden.json")
    with open(path, "w", encoding="utf-8") as f:
        head = json.dumps(out, ensure_ascii=False, separators=(",", ":"))
        f.write(head[:-1] + ',"rows":[\n' + ",\n".join(json.dumps(r, ensure_ascii=False, separators=(",", ":")) for r in rows) + "\n]}\n")
    print("templates:", len(sources), "rows:", len(rows), "errors:", errors, "bytes:", os.path.getsize(path))


CONTEXT = {
    "a": 1, "b": 2, "big": 9007199254740993, "f": 1.5, "g": -0.25, "tiny": 1e-7, "huge": 1e22, "zero": 0, "neg": -7,
    "s": "Hello World", "t": "  spaced\tout \n", "u": "Grüße ß ŉ ǆ İ ΣΑΣ 👩‍👩‍👧", "empty": "", "q": "it's \"so\"", "lines": "one\ntwo\r\nthree\n\nfive",
    "csv": "a,b,,c", "l": [3, 1, 2], "ls": ["b", "A", "c", "a"], "le": [], "nested": [[1, 2], [3, [4, 5]]], "mixed": [1, "1", 1.0, None, True],
    "d": {"k": "v", "n": 1, "items": "shadow", "inner": {"x": [10, 20, 30]}, "B": 0, "a": None}, "de": {}, "yes": True, "no": False, "nil": None,
    "people": [{"name": "bob", "age": 30, "tags": ["x"]}, {"name": "Ann", "age": 25, "tags": []}, {"name": "cy", "age": 30}], "html": "<a href='x'>&\"</a>",
}

def golden_expressions():
    rows, errors = [], 0
    with open(os.path.join(ROOT, "tools", "oracle_expressions.txt"), encoding="utf-8") as f:
        expressions = f.read().splitlines()
    for expression in expressions:
        text, error = render("{{ " + expression + " }}", CONTEXT)
        if text is not None and re.search(r" at 0x[0-9a-f]+>|<class |<Namespace |<function |^range\(|TemplateDict", text):
            text, error = None, "prints an address"
        if text is not None and any(0xD800 <= ord(c) < 0xE000 for c in text):
            text, error = None, "half a character"
        errors += error is not None
        rows.append([expression, text if error is None else {"error": error}])
    path = os.path.join(DATA, "expressions.golden.json")
    with open(path, "w", encoding="utf-8") as f:
        head = json.dumps({"made_by": "tools/oracle_templates.py, jinja2 " + jinja2.__version__, "context": CONTEXT}, ensure_ascii=False)
        f.write(head[:-1] + ',"rows":[\n' + ",\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n]}\n")
    print("expressions:", len(rows), "errors:", errors, "bytes:", os.path.getsize(path))


def golden_statements():
    with open(os.path.join(ROOT, "tools", "oracle_statements.txt"), encoding="utf-8") as f:
        sources = f.read().removesuffix("\n").split("\n=====\n")
    # Line ends of other systems, and a template that ends in several.
    sources += ["a\r\n{% if yes %}\r\nb\r\n{% endif %}\r\nc\r\n", "x\r{{ a }}\r", "x\n\n", "\n", "", "{{ a }}\n\n", "{% if yes %}\n\n{% endif %}\n\n"]
    rows = []
    for source in sources:
        text, error = render(source, CONTEXT)
        if text is not None and " at 0x" in text:
            text, error = None, "prints an address"
        rows.append([source, text if error is None else {"error": error}])
    path = os.path.join(DATA, "statements.golden.json")
    with open(path, "w", encoding="utf-8") as f:
        head = json.dumps({"made_by": "tools/oracle_templates.py, jinja2 " + jinja2.__version__, "context": CONTEXT}, ensure_ascii=False)
        f.write(head[:-1] + ',"rows":[\n' + ",\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n]}\n")
    print("statements:", len(rows), "errors:", sum(isinstance(r[1], dict) for r in rows), "bytes:", os.path.getsize(path))


if __name__ == "__main__":
    if sys.argv[1:2] == ["golden"]:
        golden_templates()
        golden_expressions()
        golden_statements()
    elif sys.argv[1:2] == ["strftime"]:
        print(datetime.datetime.now().strftime(sys.argv[2]))
    else:
        sys.exit(__doc__)
