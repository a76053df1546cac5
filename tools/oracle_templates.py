#!/usr/bin/env python3
"""Golden chat-template renderings by Jinja2, for tests/tokenizer.

    oracle_templates.py golden        writes tests/data/tokenizer/{templates,expressions,statements}.golden.json
    oracle_templates.py packages DIR OUT    the same rows for every template inside the Python packages installed in DIR:
                                            trl (files), unsloth and guidance (strings of their programs)
    oracle_templates.py strftime F    prints datetime.now().strftime(F)

The environment is the one of transformers' apply_chat_template (transformers 5.23.0, chat_template_utils.py): Jinja2
3.1.6, ImmutableSandboxedEnvironment, trim_blocks, lstrip_blocks, loop controls, tojson without HTML escapes. The
templates under tests/data/tokenizer/templates are written after the publicly known ones of their families.
"""
import usage

if __name__ == "__main__":
    usage.answer(__doc__, 1, 3)

import ast
import datetime
import glob
import json
import os
import re
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

try:
    from transformers.utils import chat_template_utils
except ImportError:
    chat_template_utils = None  # `packages` is content with Jinja2

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DATA = os.path.join(ROOT, "tests", "data", "tokenizer")


class Generation(jinja2.ext.Extension):
    """{% generation %} ... {% endgeneration %}: marks what an assistant said; the text is that of the block."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_said"), [], [], body).set_lineno(line)

    @jinja2.pass_eval_context
    def _said(self, context, caller):
        return caller()


def make_environment():
    """transformers' environment, but for its ban of names of namespaces that begin with an underscore."""

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda format: datetime.datetime.now().strftime(format)
    return environment


ENVIRONMENT = make_environment()
COMPILED = {}


def compile_template(source):
    if source not in COMPILED:
        of_transformers = chat_template_utils and chat_template_utils._cached_compile_jinja_template
        COMPILED[source] = (of_transformers or ENVIRONMENT.from_string)(source)
    return COMPILED[source]


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
    rows = rows_of(sources, CONVERSATIONS, VARIATIONS)
    write_rows(os.path.join(DATA, "templates.golden.json"), CONVERSATIONS, VARIATIONS, {}, rows)


# Further ones for templates from packages: thinking kept, dropped and asked for, with tools and without.
MORE_CONVERSATIONS = {
    **CONVERSATIONS,
    "thinking and tools": [
        {"role": "system", "content": "Think, then act."},
        {"role": "user", "content": "Time and weather?"},
        {"role": "assistant", "content": "I look.", "reasoning_content": "First the time.", "thinking": "First the time.", "tool_calls": [call("now", {})]},
        {"role": "tool", "content": "12:00", "name": "now", "tool_call_id": "call_0001"},
        {"role": "assistant", "content": "<think>\nThen rain?\n</think>\n\nNow the weather.", "tool_calls": [call("get_weather", {"place": "Köln", "days": []}, "call_0002")]},
        {"role": "tool", "content": [{"type": "text", "text": "{\"rain\": true}"}], "name": "get_weather", "tool_call_id": "call_0002"},
        {"role": "assistant", "reasoning_content": "Done.", "content": "Noon, and it rains."},
        {"role": "user", "content": "Sure? /think"},
    ],
    "developer": [{"role": "developer", "content": "Answer in French."}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Salut"}],
    "open answer": [{"role": "user", "content": "Count"}, {"role": "assistant", "content": "1, 2,"}],
}
MORE_VARIATIONS = [
    *VARIATIONS,
    {"add_generation_prompt": True, "enable_thinking": True, "tools": TOOLS},
    {"add_generation_prompt": False, "enable_thinking": False, "thinking": False, "tools": TOOLS, "preserve_thinking": True},
    {"add_generation_prompt": True, "thinking": True, "enable_thinking": True, "reasoning_effort": "low", "model_identity": "You are a test.", "documents": [{"title": "A", "text": "B"}]},
]


def rows_of(sources, conversations, variations):
    rows = []
    for name, source in sources.items():
        seen = set()
        for title, messages in conversations.items():
            for index, variation in enumerate(variations):
                if conversations is CONVERSATIONS and index == 2 and title not in WITH_TOOLS:
                    continue
                variables = {"tools": None, "documents": None, **TOKENS, **variation, "messages": messages}
                text, error = render(source, variables)
                if (title, text, error) in seen:
                    continue  # the variation changed nothing
                seen.add((title, text, error))
                rows.append([name, title, index, text if error is None else {"error": error}])
    return rows


def write_rows(path, conversations, variations, more, rows):
    out = {
        "made_by": "tools/oracle_templates.py, jinja2 " + jinja2.__version__,
        "tokens": TOKENS,
        "conversations": conversations,
        "variations": variations,
        **more,
    }
    with open(path, "w", encoding="utf-8") as f:
        head = json.dumps(out, ensure_ascii=False, separators=(",", ":"))
        f.write(head[:-1] + ',"rows":[\n' + ",\n".join(json.dumps(r, ensure_ascii=False, separators=(",", ":")) for r in rows) + "\n]}\n")
    errors = sum(isinstance(row[3], dict) for row in rows)
    print("templates:", len({row[0] for row in rows}), "rows:", len(rows), "errors:", errors, "bytes:", os.path.getsize(path))


def packages(folder, out):
    """Templates as people ship them, whatever their licence: they are read where pip put them and stay there."""
    sources = {}
    for path in sorted(glob.glob(os.path.join(folder, "**", "*.jinja"), recursive=True)):
        with open(path, encoding="utf-8") as f:
            sources[os.path.relpath(path, folder)] = f.read()
    for program in ("unsloth/chat_templates.py", "guidance/chat.py"):
        path = os.path.join(folder, program)
        if not os.path.exists(path):
            continue
        with open(path, encoding="utf-8") as f:
            tree = ast.parse(f.read())
        texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        found = dict.fromkeys(text for text in texts if "{%" in text and "messages" in text)
        sources.update({f"{program} {index}": text for index, text in enumerate(found)})
    rows = rows_of(sources, MORE_CONVERSATIONS, MORE_VARIATIONS)
    # A date would change between the two programs; what prints an address has no equal.
    rows = [row for row in rows if isinstance(row[3], dict) or not re.search(r" at 0x[0-9a-f]+>", row[3])]
    write_rows(out, MORE_CONVERSATIONS, MORE_VARIATIONS, {"sources": sources}, rows)


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
        if chat_template_utils is None:
            sys.exit("error: the golden files are made with transformers: pip install transformers")
        golden_templates()
        golden_expressions()
        golden_statements()
    elif sys.argv[1:2] == ["packages"]:
        packages(sys.argv[2], sys.argv[3])
    elif sys.argv[1:2] == ["strftime"]:
        print(datetime.datetime.now().strftime(sys.argv[2]))
    else:
        sys.exit(__doc__)
