#!/usr/bin/env python3
"""Golden samples for tests/data/qwen3_render_test.cpp: conversations rendered and tokenised by transformers.

For each assistant turn: the prompt is apply_chat_template(messages before it, add_generation_prompt=True), the answer is
what apply_chat_template(messages up to it) adds. Prompt and answer are encoded apart. Turns are joined into one sample as long
as the text so far is a prefix of the next turn's text; else a new sample begins. Made with transformers 5.23 and the
Qwen3 tokenizer (Apache-2.0) of tests/data/tokenizer/qwen3.

    python3 tools/oracle_render.py QWEN3_TOKENIZER_DIR > tests/data/data/qwen3_render.json
"""
import usage

if __name__ == "__main__":
    usage.answer(__doc__, 1, 1)

import json
import random
import sys

from transformers import AutoTokenizer

TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "Weather of a city",
          "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]
TEXTS = ["Hello!", "What is 17 * 23?", "def f(x):\n    return x ** 2", "Na\u00efve caf\u00e9 \u2014 \u4f60\u597d", "a  b\tc", "1, 2, 3 ...",
         "Line one.\n\nLine two.", "\U0001f600 ok", "The answer is 391.", "It's sunny; 21\u00b0C."]


def conversation(rng):
    messages = []
    if rng.random() < 0.5:
        messages.append({"role": "system", "content": rng.choice(TEXTS)})
    tools = rng.random() < 0.4
    for _ in range(rng.randint(1, 3)):
        messages.append({"role": "user", "content": rng.choice(TEXTS)})
        think = lambda: f"<think>\n{rng.choice(TEXTS)}\n</think>\n\n" if rng.random() < 0.6 else ""
        if tools and rng.random() < 0.6:
            calls = [{"type": "function", "function": {"name": "get_weather", "arguments": {"city": rng.choice(TEXTS)}}}
                     for _ in range(rng.randint(1, 2))]
            messages.append({"role": "assistant", "content": (think() + rng.choice(TEXTS)).strip(), "tool_calls": calls})
            messages += [{"role": "tool", "content": rng.choice(TEXTS)} for _ in calls]
        messages.append({"role": "assistant", "content": (think() + rng.choice(TEXTS)).strip()})
    row = {"messages": messages}
    if tools:
        row["tools"] = TOOLS
    if rng.random() < 0.3:
        row["chat_template_kwargs"] = {"enable_thinking": rng.random() < 0.5}
    return row


def samples(tokenizer, row):
    def render(messages, prompt):
        return tokenizer.apply_chat_template(messages, tools=row.get("tools"), add_generation_prompt=prompt, tokenize=False,
                                             **row.get("chat_template_kwargs", {}))

    encode = lambda text: tokenizer.encode(text, add_special_tokens=False)
    done, text, spans = [], "", []
    for i, message in enumerate(row["messages"]):
        if message["role"] != "assistant":
            continue
        prompt, whole = render(row["messages"][:i], True), render(row["messages"][:i + 1], False)
        if not whole.startswith(prompt):
            return None  # a thinking answer to a prompt with thinking switched off; covered elsewhere
        if not whole.startswith(text):
            done.append((text, spans))
            spans = []
        text = whole
        spans.append((len(prompt), len(whole)))
    done.append((text, spans))
    out = []
    for text, spans in done:
        ids, mask, at = [], [], 0
        for begin, end in spans:
            a, b = encode(text[at:begin]), encode(text[begin:end])
            ids += a + b
            mask += [0] * len(a) + [1] * len(b)
            at = end
        out.append({"ids": ids, "trained": [t for t, m in enumerate(mask) if m]})
    return out


if __name__ == "__main__":
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    rng = random.Random(20260112)
    cases = []
    while len(cases) < 40:
        row = conversation(rng)
        expected = samples(tokenizer, row)
        if expected is not None:
            cases.append({"row": row, "samples": expected})
    print(json.dumps(cases, ensure_ascii=False, separators=(",", ":")))
