#!/usr/bin/env python3
"""Golden adapters for tests/model, made by peft; and a check that peft loads what rlcpp wrote.

    oracle_peft.py make tests/data/model/qwen3-tied tests/data/peft
        for each adapter below: DIR/adapter is what save_pretrained of peft writes, on the given base with random A
        and B; DIR/golden.safetensors holds packed ids with cu_seqlens, targets and weights of the loss, logits, loss,
        the gradient of every A and B, and the weights after merge_and_unload, all in f32
    oracle_peft.py check BASE ADAPTER MERGED
        loads BASE with ADAPTER (lora_adapters/ of an export of rlcpp) by peft, and MERGED (the export itself, float32)
        by transformers, and compares their logits; ends with status 1 if they differ

A packed row is computed as its documents are, each on its own, and their losses are added. Versions are in the files'
metadata.
"""
import usage

if __name__ == "__main__":
    usage.answer(__doc__, most=None)

import argparse
import pathlib
import sys

import peft
import safetensors.torch
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

import oracle_models

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

# name → (LoraConfig, whether merged weights are kept)
ADAPTERS = {
    "all-linear": (LoraConfig(r=4, lora_alpha=6, target_modules=ALL, task_type="CAUSAL_LM"), True),
    "rslora-qv": (LoraConfig(r=4, lora_alpha=3, target_modules=["q_proj", "v_proj"], use_rslora=True,
                             task_type="CAUSAL_LM"), False),
}
VERSIONS = {**oracle_models.VERSIONS, "peft": peft.__version__}


def base_of(path):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager")


def make(base, root):
    for seed, (name, (config, merged)) in enumerate(ADAPTERS.items()):
        generator = torch.Generator().manual_seed(1000 + seed)
        model = get_peft_model(base_of(base), config)
        with torch.no_grad():
            for parameter_name, parameter in model.named_parameters():
                if "lora_" in parameter_name:
                    noise = torch.randn(parameter.shape, generator=generator)
                    parameter.copy_(noise * (0.5 / parameter.shape[-1] ** 0.5))
        model.eval()
        golden = oracle_models.golden(model, generator, only_trained=True)
        # The names of gradients are those of the tensors that peft saves.
        out = {key.replace(".default.weight", ".weight"): value for key, value in golden.items()}
        path = root / name
        path.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(path / "adapter")
        (path / "adapter" / "README.md").unlink(missing_ok=True)
        if merged:
            for parameter_name, parameter in model.merge_and_unload().named_parameters():
                if parameter_name.rsplit(".", 2)[-2] in ALL:
                    out["merged." + parameter_name] = parameter.detach().contiguous()
        safetensors.torch.save_file(out, path / "golden.safetensors", metadata=VERSIONS)
        print(f"{path}: loss {out['loss'].item():.6f}")


def check(base, adapter, merged):
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        by_peft = PeftModel.from_pretrained(base_of(base), adapter).eval()
        by_rlcpp = base_of(merged).eval()
        plain = base_of(base).eval()
        ids = torch.randint(0, by_rlcpp.config.vocab_size, (1, 64), generator=generator)
        a, b, c = by_peft(ids).logits, by_rlcpp(ids).logits, plain(ids).logits
    worst, change = (a - b).abs().max().item(), (a - c).abs().max().item()
    print(f"logits of {adapter} in peft and of {merged} differ by {worst:.2e} at most; the adapter changes the base's "
          f"by up to {change:.2e}")
    if not worst <= 1e-4 * (1 + b.abs().max().item()) or not change > 100 * worst:
        print("error: they are not the same model, or the adapter does nothing", file=sys.stderr)
        return 1
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("make")
    one.add_argument("base", type=pathlib.Path)
    one.add_argument("root", type=pathlib.Path)
    two = commands.add_parser("check")
    for name in ("base", "adapter", "merged"):
        two.add_argument(name, type=pathlib.Path)
    options = parser.parse_args()
    if options.command == "make":
        make(options.base, options.root)
        return 0
    return check(options.base, options.adapter, options.merged)


if __name__ == "__main__":
    sys.exit(main())
