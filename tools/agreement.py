#!/usr/bin/env python3
"""Log-probabilities of rlcpp on a GPU against transformers, for layers of real size.

For each model: random weights (bf16 values) of the family's shapes with few layers, saved by transformers; rows of random
tokens; the log-probability of each token from transformers in f32 (eager attention, TF32 off), which is the reference, from
transformers in bf16, and from `rlcpp logprobs`. Prints the mean, the 99th percentile and the maximum of the absolute
differences from the reference. Leaves with 4 if the mean or the percentile of rlcpp is above that of transformers in bf16 by
more than 5 %, or a number is missing.

    tools/agreement.py --rlcpp build/cuda/bin/rlcpp [--models qwen3-0.6b,qwen3-4b,qwen2-1.5b,llama-1b] [--json FILE]
"""
import usage

if __name__ == "__main__":
    usage.answer(__doc__, most=None)

import argparse
import gc
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import torch
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

SLACK = 1.05


def config_of(name, layers):
    """Shapes of Qwen3-0.6B and 4B, Qwen2.5-1.5B and Llama-3.2-1B."""
    common = dict(num_hidden_layers=layers, max_position_embeddings=4096, tie_word_embeddings=True)
    if name == "qwen3-0.6b":
        return Qwen3Config(**common, vocab_size=151936, hidden_size=1024, intermediate_size=3072, num_attention_heads=16,
                           num_key_value_heads=8, head_dim=128, rms_norm_eps=1e-6,
                           rope_parameters={"rope_type": "default", "rope_theta": 1000000.0})
    if name == "qwen3-4b":
        return Qwen3Config(**common, vocab_size=151936, hidden_size=2560, intermediate_size=9728, num_attention_heads=32,
                           num_key_value_heads=8, head_dim=128, rms_norm_eps=1e-6,
                           rope_parameters={"rope_type": "default", "rope_theta": 1000000.0})
    if name == "qwen2-1.5b":
        return Qwen2Config(**common, vocab_size=151936, hidden_size=1536, intermediate_size=8960, num_attention_heads=12,
                           num_key_value_heads=2, rms_norm_eps=1e-6,
                           rope_parameters={"rope_type": "default", "rope_theta": 1000000.0})
    if name == "llama-1b":
        return LlamaConfig(**common, vocab_size=128256, hidden_size=2048, intermediate_size=8192, num_attention_heads=32,
                           num_key_value_heads=8, rms_norm_eps=1e-5,
                           rope_parameters={"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0,
                                            "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                            "original_max_position_embeddings": 8192})
    sys.exit(f"error: there is no model {name}: known are qwen3-0.6b, qwen3-4b, qwen2-1.5b, llama-1b")


def save_random(name, layers, seed, device, path):
    """A model in which no part is nearly linear and logits spread over a few nats, as those of trained models do."""
    generator = torch.Generator(device=device).manual_seed(seed)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config_of(name, layers))
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, device=device)
            if parameter_name.endswith("norm.weight") or "layernorm" in parameter_name:
                parameter.copy_(1.0 + 0.2 * noise)
            elif parameter_name.endswith("bias"):
                parameter.copy_(0.2 * noise)
            elif "embed_tokens" in parameter_name:
                parameter.copy_(noise * (3.0 / parameter.shape[-1] ** 0.5))
            else:
                parameter.copy_(noise * (0.7 / parameter.shape[-1] ** 0.5))
    model.to(torch.bfloat16).save_pretrained(path)


def transformers_logprobs(path, rows, dtype, attention, device):
    model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation=attention).to(device).eval()
    out = []
    with torch.no_grad():
        for ids in rows:
            ids = torch.tensor([ids], device=device)
            logits = model(ids, use_cache=False).logits[0, :-1].float()
            out.append(torch.log_softmax(logits, -1).gather(-1, ids[0, 1:, None])[:, 0].double().cpu())
            del logits
    return torch.cat(out)


def rlcpp_logprobs(arguments, path, rows, work):
    data, out = work / "rows.jsonl", work / "scores.jsonl"
    data.write_text("".join(json.dumps({"ids": ids}) + "\n" for ids in rows))
    command = [arguments.rlcpp, "logprobs", "--model.name", str(path), "--data", str(data), "--out", str(out), "--device",
               arguments.device, "--seq-len", str(max(map(len, rows)) * 4)]
    done = subprocess.run(command, env=with_cuda_libraries(), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"error: {' '.join(command)} left with {done.returncode}\n{done.stderr}")
    values = []
    for ids, line in zip(rows, out.read_text().splitlines(), strict=True):
        row = json.loads(line)
        if row["ids"] != ids or row["logprobs"][0] is not None:
            sys.exit("error: the rows of rlcpp are not those that it was given")
        values += row["logprobs"][1:]
    return torch.tensor(values, dtype=torch.float64)


def with_cuda_libraries():
    """The environment of this process, with the folders of tools/cuda_libraries.sh."""
    environment = dict(os.environ)
    script = pathlib.Path(__file__).parent / "cuda_libraries.sh"
    folders = subprocess.run([script], capture_output=True, text=True).stdout.strip()
    before = environment.get("LD_LIBRARY_PATH", "")
    if folders:
        environment["LD_LIBRARY_PATH"] = folders + (":" + before if before else "")
    return environment


def statistics(difference):
    difference = difference.abs()
    return {"mean": difference.mean().item(), "p99": difference.quantile(0.99).item(), "max": difference.max().item()}


def free(device):
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def compare(name, arguments, device, work):
    begun = time.monotonic()
    path = work / name
    save_random(name, arguments.layers, arguments.seed, device, path)
    generator = torch.Generator().manual_seed(arguments.seed + 1)
    vocabulary = config_of(name, 1).vocab_size
    # Rows of different lengths, so that ours are packed unevenly.
    lengths = [max(2, arguments.length - 37 * (i % 5)) for i in range(arguments.rows)]
    rows = [torch.randint(0, vocabulary, (length,), generator=generator).tolist() for length in lengths]
    free(device)
    reference = transformers_logprobs(path, rows, torch.float32, "eager", device)
    free(device)
    theirs = transformers_logprobs(path, rows, torch.bfloat16, "sdpa", device)
    free(device)
    ours = rlcpp_logprobs(arguments, path, rows, work)
    if not (torch.isfinite(reference).all() and torch.isfinite(theirs).all() and torch.isfinite(ours).all()):
        sys.exit(f"error: {name}: a log-probability is not finite")
    if arguments.keep is None:
        for file in path.iterdir():
            file.unlink()
    result = {"model": name, "layers": arguments.layers, "tokens": len(reference),
              "logprob_mean": reference.mean().item(), "logprob_std": reference.std().item(),
              "rlcpp": statistics(ours - reference), "transformers_bf16": statistics(theirs - reference),
              "seconds": round(time.monotonic() - begun, 1)}
    result["passed"] = all(result["rlcpp"][key] <= SLACK * result["transformers_bf16"][key] for key in ("mean", "p99"))
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rlcpp", required=True, help="the binary, built with CUDA")
    parser.add_argument("--models", default="qwen3-0.6b,qwen3-4b,qwen2-1.5b,llama-1b")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--length", type=int, default=1024, help="tokens of the longest row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda", help="of both; cpu compares f32 with f32, of little use")
    parser.add_argument("--json", type=pathlib.Path, help="file for the numbers")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the models, which then stay there")
    arguments = parser.parse_args()
    arguments.rlcpp = str(pathlib.Path(arguments.rlcpp).resolve())
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    device = arguments.device
    if device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("error: torch finds no GPU here")

    results = []
    print(f"{'model':12} {'tokens':>7}  {'who':18} {'mean':>10} {'p99':>10} {'max':>10}")
    with tempfile.TemporaryDirectory() as folder:
        work = arguments.keep or pathlib.Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        for name in arguments.models.split(","):
            result = compare(name, arguments, device, work)
            results.append(result)
            for who in ("rlcpp", "transformers_bf16"):
                values = result[who]
                print(f"{name:12} {result['tokens']:7}  {who:18} {values['mean']:10.6f} {values['p99']:10.6f} "
                      f"{values['max']:10.6f}", flush=True)
            print(f"{'':20}  {'passed' if result['passed'] else 'FAILED'}; log-probabilities "
                  f"{result['logprob_mean']:.2f} +- {result['logprob_std']:.2f}; {result['seconds']} s", flush=True)
    if arguments.json:
        versions = {"torch": torch.__version__, "transformers": transformers.__version__,
                    "gpu": torch.cuda.get_device_name() if device.startswith("cuda") else "none"}
        arguments.json.write_text(json.dumps({"versions": versions, "results": results}, indent=1) + "\n")
    failed = [result["model"] for result in results if not result["passed"]]
    print("agreement: passed" if not failed else f"agreement: FAILED for {', '.join(failed)}: rlcpp is further from f32 "
          f"than transformers in bf16 by more than 5 %")
    return 4 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
