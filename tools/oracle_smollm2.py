#!/usr/bin/env python3
"""Greedy answers of `rlcpp chat` against transformers on the same converted directory.

    oracle_smollm2.py DIR [--rlcpp build/cpu/bin/rlcpp] [--tokens 64]

Ten prompts, 64 tokens each, float32 on the CPU. Prints the prompts whose token ids differ, with the place of the first
difference and how far apart transformers' two best logits are there, then `N equal, M different`; leaves with 4 if any differ.
Needs torch and transformers.
"""
import usage

if __name__ == "__main__":
    usage.answer(__doc__, most=None)

import argparse
import json
import subprocess

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = [
    "What is the capital of France?",
    "Write a haiku about the sea.",
    "Explain photosynthesis to a child.",
    "List three uses of a paper clip.",
    "Translate 'good morning' to Spanish.",
    "What is 17 + 25?",
    "Why is the sky blue?",
    "Give me a recipe for pancakes.",
    "Who wrote Hamlet, and when?",
    "Name a mammal that lays eggs, and say why that is odd: 🥚",
]


def ours(arguments, prompt):
    command = [arguments.rlcpp, "chat", arguments.directory, "--prompt", prompt, "--max-tokens", str(arguments.tokens), "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("--rlcpp", default="build/cpu/bin/rlcpp")
    parser.add_argument("--tokens", type=int, default=64)
    arguments = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(arguments.directory)
    model = AutoModelForCausalLM.from_pretrained(arguments.directory, dtype=torch.float32).eval()
    equal = different = 0
    for prompt in PROMPTS:
        text = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
        with torch.no_grad():
            out = model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=arguments.tokens,
                output_logits=True, return_dict_in_generate=True, pad_token_id=tokenizer.pad_token_id,
            )
        theirs = out.sequences[0, ids.shape[1] :].tolist()
        reply = ours(arguments, prompt)
        if reply["prompt_tokens"] == ids.shape[1] and reply["ids"] == theirs:
            equal += 1
            continue
        different += 1
        place = next((i for i, (a, b) in enumerate(zip(reply["ids"], theirs)) if a != b), min(len(reply["ids"]), len(theirs)))
        gap = ""
        if place < len(out.logits):
            best = out.logits[place][0].topk(2).values
            gap = f", transformers' two best logits differ by {float(best[0] - best[1]):.2e} there"
        print(f"different: {prompt!r}: prompt {reply['prompt_tokens']} and {ids.shape[1]} tokens, answers part at {place}{gap}")
    print(f"{equal} equal, {different} different")
    return 4 if different else 0


if __name__ == "__main__":
    raise SystemExit(main())
