#!/usr/bin/env python3
"""Golden models for tests/model, made by transformers.

    oracle_models.py make tests/data/model     builds small random models, with logits, loss and gradients
    oracle_models.py check SAVED GOLDEN        loads a directory that rlcpp saved and compares its logits with
                                               GOLDEN/golden.safetensors

Each model directory is what save_pretrained writes (config.json, generation_config.json, weights) and golden.safetensors:
packed ids with cu_seqlens, targets and weights of the loss, logits, loss and the gradient of every parameter in f32. A
packed row is computed as its documents are, each on its own, and their losses are added: no packing code is trusted.
rope.json holds inverse frequencies, attention factors, cos and sin of every rope kind. Versions are in the files' metadata.

The committed files were made with torch 2.15, transformers 5.23 and safetensors on a CPU.
"""
import usage

if __name__ == "__main__":
    usage.answer(__doc__, most=None)

import argparse
import json
import pathlib
import platform

import safetensors
import safetensors.torch
import torch
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

DOCUMENTS = (11, 1, 23)  # lengths; a document of one token has no loss
POSITIONS = [0, 5, 3001, 30011]  # far ones show how angles are rounded

VERSIONS = {
    "torch": torch.__version__,
    "transformers": transformers.__version__,
    "safetensors": safetensors.__version__,
    "python": platform.python_version(),
}

COMMON = dict(
    vocab_size=96,
    num_hidden_layers=2,
    max_position_embeddings=256,
    initializer_range=0.02,
    attn_implementation="eager",
    bos_token_id=1,
)


def models():
    """name → (config, dtype of the files, shard size, config.json in the style of transformers 4)."""
    yield "qwen3-tied", Qwen3Config(
        **COMMON, hidden_size=32, intermediate_size=48, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        tie_word_embeddings=True, eos_token_id=2,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
    ), torch.bfloat16, "5GB", False
    yield "qwen2-sharded", Qwen2Config(
        **COMMON, hidden_size=40, intermediate_size=56, num_attention_heads=5, num_key_value_heads=1,
        tie_word_embeddings=False, eos_token_id=[2, 3],
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    ), torch.float32, "50KB", False
    # theta 500 puts one frequency on each side of Llama 3's smoothing and one inside it.
    yield "llama3-biased", LlamaConfig(
        **COMMON, hidden_size=32, intermediate_size=48, num_attention_heads=4, num_key_value_heads=2,
        tie_word_embeddings=False, attention_bias=True, mlp_bias=True, eos_token_id=2, rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0,
                         "high_freq_factor": 4.0, "original_max_position_embeddings": 32},
    ), torch.float16, "5GB", True
    yield "qwen3-yarn", Qwen3Config(
        **COMMON, hidden_size=24, intermediate_size=40, num_attention_heads=3, num_key_value_heads=3, head_dim=16,
        tie_word_embeddings=False, eos_token_id=2,
        rope_parameters={"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "beta_fast": 4.0,
                         "beta_slow": 0.25, "original_max_position_embeddings": 64},
    ), torch.bfloat16, "5GB", True


def randomise(model, generator):
    """Weights large enough that no part of the model is nearly linear; norms away from one, biases from zero."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("norm.weight") or "layernorm" in name:
                parameter.copy_(1.0 + 0.2 * noise)
            elif name.endswith("bias"):
                parameter.copy_(0.2 * noise)
            else:
                parameter.copy_(noise * (0.7 / parameter.shape[-1] ** 0.5))


def to_version_4(path):
    """Rewrites rope_parameters as transformers 4 wrote it: rope_theta, and rope_scaling for the rest."""
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = rope
    config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config, indent=2) + "\n")


def golden(model, generator, only_trained=False):
    """`only_trained`: gradients of trained parameters alone."""
    vocab = model.config.vocab_size
    tokens = sum(DOCUMENTS)
    ids = torch.randint(0, vocab, (tokens,), generator=generator)
    weights = torch.rand(tokens, generator=generator) * 0.2
    weights[torch.rand(tokens, generator=generator) < 0.25] = 0.0  # masked tokens
    targets = torch.full((tokens,), -1)
    bounds = [0]
    for length in DOCUMENTS:
        begin, end = bounds[-1], bounds[-1] + length
        targets[begin:end - 1] = ids[begin + 1:end]
        bounds.append(end)
    weights[targets < 0] = 0.0

    model.zero_grad()
    logits, loss = [], torch.zeros(())
    for begin, end in zip(bounds, bounds[1:]):
        z = model(ids[None, begin:end], use_cache=False).logits[0]
        logits.append(z.detach())
        trained = targets[begin:end] >= 0
        logprobs = torch.log_softmax(z[trained], -1).gather(-1, targets[begin:end][trained][:, None])[:, 0]
        loss = loss - (weights[begin:end][trained] * logprobs).sum()
    loss.backward()
    out = {
        "ids": ids.int(),
        "cu_seqlens": torch.tensor(bounds, dtype=torch.int32),
        "targets": targets.int(),
        "weights": weights,
        "logits": torch.cat(logits),
        "loss": loss.detach().reshape(1),
    }
    for name, parameter in model.named_parameters():
        if only_trained and not parameter.requires_grad:
            continue
        out["grad." + name] = parameter.grad.contiguous()
    return out


def make(root):
    for seed, (name, config, dtype, shard, version_4) in enumerate(models()):
        path = root / name
        generator = torch.Generator().manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        randomise(model, generator)
        model.to(dtype).save_pretrained(path, max_shard_size=shard)
        if version_4:
            to_version_4(path / "config.json")
        # What is on disk is the model: gradients are those of the rounded weights.
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager")
        safetensors.torch.save_file(golden(model, generator), path / "golden.safetensors", metadata=VERSIONS)
        print(name, sum(p.numel() for p in model.parameters()), "parameters")
    make_rope(root / "rope.json")


def make_rope(path):
    """Inverse frequencies of each kind, for shapes of real models."""
    llama3 = dict(rope_type="llama3", rope_theta=500000.0, factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0,
                  original_max_position_embeddings=8192)
    yarn = dict(rope_type="yarn", rope_theta=1000000.0, factor=4.0, original_max_position_embeddings=32768)
    cases = {
        "default": (64, dict(rope_type="default", rope_theta=1000000.0)),
        "linear": (64, dict(rope_type="linear", rope_theta=10000.0, factor=2.5)),
        "llama3": (128, llama3),
        "yarn": (128, yarn),
        "yarn-attention-factor": (64, dict(yarn, attention_factor=0.9)),
        "yarn-mscale": (64, dict(yarn, mscale=1.2, mscale_all_dim=0.7)),
        "yarn-betas": (64, dict(yarn, beta_fast=20.0, beta_slow=2.0, truncate=False)),
    }
    out = {"versions": VERSIONS, "cases": []}
    for name, (head_dim, rope) in cases.items():
        config = LlamaConfig(hidden_size=4 * head_dim, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4,
                             vocab_size=32, max_position_embeddings=131072, rope_parameters=dict(rope))
        config.architectures = ["LlamaForCausalLM"]
        rotary = LlamaRotaryEmbedding(config)
        cos, sin = rotary(torch.zeros(1), torch.tensor([POSITIONS]))
        out["cases"].append({
            "name": name, "config": json.loads(config.to_json_string()), "inv_freq": rotary.inv_freq.tolist(),
            "attention_factor": float(rotary.attention_scaling), "positions": POSITIONS,
            "cos_every_4th": cos[0, :, :head_dim // 2:4].tolist(), "sin_every_4th": sin[0, :, :head_dim // 2:4].tolist()})
    path.write_text(json.dumps(out) + "\n")


def check(saved, golden_dir):
    expected = safetensors.torch.load_file(golden_dir / "golden.safetensors")
    model, report = AutoModelForCausalLM.from_pretrained(saved, dtype=torch.float32, attn_implementation="eager",
                                                         output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
    bounds = expected["cu_seqlens"].tolist()
    worst = 0.0
    with torch.no_grad():
        for begin, end in zip(bounds, bounds[1:]):
            z = model(expected["ids"][None, begin:end].long(), use_cache=False).logits[0]
            worst = max(worst, (z - expected["logits"][begin:end]).abs().max().item())
    print(f"{saved}: largest difference of a logit {worst:.2e}; eos {model.generation_config.eos_token_id}")
    assert worst < 1e-5, worst


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("make")
    command.add_argument("root", type=pathlib.Path)
    command = commands.add_parser("check")
    command.add_argument("saved", type=pathlib.Path)
    command.add_argument("golden", type=pathlib.Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.command == "make":
        make(args.root)
    else:
        check(args.saved, args.golden)


if __name__ == "__main__":
    main()
