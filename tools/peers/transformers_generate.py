#!/usr/bin/env python3
"""What a user of transformers would run instead of `rlcpp bench rollout`: model.generate() on the same loads, with random
weights of the named shape or those of a directory, sampling at temperature 1 and never ending a turn.

    tools/peers/transformers_generate.py --model 0.6B --load nano --device cuda --batch 256 --json nano-transformers.json
    tools/peers/transformers_generate.py --model 0.6B --load nano --scale 0.25 --sequences 16 --batch 16 --device cpu \
        --dtype float32 --json cpu-transformers.json

The loads are those of src/bench/rollout_loads.h: nano with the same ids, the others with ids of the same number. Sequences are
sorted by their output and cut into batches of --batch, padded on the left; a batch runs to its longest output, and tokens
beyond what a sequence was asked for do not count. With groups a prompt is repeated for each completion, which is what
num_return_sequences does. The JSON has the fields of `rlcpp bench rollout --output-json`. Needs torch and transformers.
"""

import datetime
import json
import pathlib
import platform
import random
import statistics
import sys
import time

from options import Parser, refusal

SHAPES = {
    "0.6B": dict(name="Qwen/Qwen3-0.6B", num_hidden_layers=28, hidden_size=1024, num_attention_heads=16,
                 num_key_value_heads=8, intermediate_size=3072),
    "4B": dict(name="Qwen/Qwen3-4B", num_hidden_layers=36, hidden_size=2560, num_attention_heads=32,
               num_key_value_heads=8, intermediate_size=9728),
    "tiny": dict(name="tiny", num_hidden_layers=2, hidden_size=64, num_attention_heads=4, num_key_value_heads=2,
                 intermediate_size=128),
}
VOCABULARY = 151936
LOADS = ["nano", "groups", "decode", "prefill"]


def parse():
    p = Parser(__doc__)
    p.add_argument("--model", default="0.6B", help=f"{', '.join(SHAPES)}, or a directory that save_pretrained wrote")
    p.add_argument("--load", choices=LOADS + ["all"], default="nano")
    p.add_argument("--scale", type=float, default=1.0, help="part of each load: of its sequences, and of their lengths")
    p.add_argument("--sequences", type=int, default=0, help="only so many of a load; 0: all")
    p.add_argument("--batch", type=int, default=16, help="sequences that are generated together")
    p.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    p.add_argument("--dtype", choices=["float32", "bfloat16"], help="bfloat16 on a GPU, else float32")
    p.add_argument("--threads", type=int, default=0, help="CPU threads; 0: torch's own number")
    p.add_argument("--warm-up", type=int, default=0, help="runs of each load before those that count")
    p.add_argument("--repeats", type=int, default=1, help="runs of each load that count; the median is reported")
    p.add_argument("--json", type=pathlib.Path, help="file for the result")
    o = p.parse_args()
    if not 0 < o.scale <= 1:
        p.error("--scale is above 0 and at most 1")
    if min(o.batch, o.repeats) < 1 or min(o.sequences, o.threads, o.warm_up) < 0:
        p.error("--batch and --repeats are 1 or more, --sequences, --threads and --warm-up 0 or more")
    o.dtype = o.dtype or ("bfloat16" if o.device == "cuda" else "float32")
    return o


# Before torch, which takes seconds to import and need not be there for --help or for a mistake.
OPTIONS = parse() if __name__ == "__main__" else None


# ---------------------------------------------------------------- the loads: lists of (prompt, output tokens)


def scaled(full, scale):
    return max(1, int(full * scale + 0.5))


def nano(scale):
    random.seed(0)
    prompts = [[random.randint(0, 10000) for _ in range(random.randint(100, 1024))] for _ in range(256)]
    outputs = [random.randint(100, 1024) for _ in range(256)]
    cut = [(p[: scaled(len(p), scale)], scaled(n, scale)) for p, n in zip(prompts, outputs)]
    return [("", cut[: scaled(256, scale)])]


def some_ids(count, seed):
    numbers = random.Random(seed)
    return [numbers.randint(0, 10000) for _ in range(count)]


def groups(scale):
    length = scaled(512, scale)
    shared, separate = [], []
    for group in range(scaled(16, scale)):
        prompt = some_ids(length, group)
        for i in range(16):
            shared.append((prompt, length))
            separate.append(([16 * group + i] + prompt[1:], length))
    return [("separate prompts", separate), ("shared prompts", shared)]


def decode(scale):
    one = lambda i: (some_ids(scaled(128, scale), 100 + i), max(2, scaled(256, scale)))
    return [("batch 1", [one(0)]), ("batch 8", [one(i) for i in range(8)])]


def prefill(scale):
    return [("", [(some_ids(scaled(1024, scale), 200 + i), 1) for i in range(scaled(64, scale))])]


def loads_of(o):
    for name in LOADS if o.load == "all" else [o.load]:
        for variant, sequences in globals()[name](o.scale):
            yield name, variant, sequences[: o.sequences] if o.sequences and name != "decode" else sequences


# ---------------------------------------------------------------- the model and the measurement


def load_model(o, torch, transformers):
    dtype = getattr(torch, o.dtype)
    if o.model not in SHAPES:
        if not pathlib.Path(o.model).is_dir():
            sys.exit(refusal(f"--model {o.model} is neither a directory nor one of {', '.join(SHAPES)}"))
        model = transformers.AutoModelForCausalLM.from_pretrained(o.model, dtype=dtype)
        return o.model, model.to(o.device).eval()
    shape = dict(SHAPES[o.model])
    name = shape.pop("name")
    config = transformers.Qwen3Config(vocab_size=VOCABULARY, head_dim=128, max_position_embeddings=40960, rope_theta=1e6,
                                      tie_word_embeddings=True, **shape)
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    with torch.device(o.device):
        model = transformers.AutoModelForCausalLM.from_config(config)
    torch.set_default_dtype(before)
    return name, model.eval()


def run(o, torch, model, sequences):
    """Seconds of one load, and the forwards that it took."""
    order = sorted(sequences, key=lambda s: s[1])
    vocabulary = model.config.vocab_size
    if o.device == "cuda":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    forwards = 0
    for at in range(0, len(order), o.batch):
        part = order[at : at + o.batch]
        width, most = max(len(p) for p, _ in part), max(n for _, n in part)
        ids = torch.tensor([[0] * (width - len(p)) + [i % vocabulary for i in p] for p, _ in part], device=o.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p, _ in part], device=o.device)
        with torch.inference_mode():
            out = model.generate(input_ids=ids, attention_mask=mask, do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                                 max_new_tokens=most, min_new_tokens=most, pad_token_id=0, use_cache=True)
        if tuple(out.shape) != (len(part), width + most):
            sys.exit(f"error: generate gave {tuple(out.shape)}, {(len(part), width + most)} was asked for")
        forwards += most
    if o.device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin, forwards


def cpu_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return "CPU " + line.split(":", 1)[1].strip()
    return "CPU"


def main(o):
    try:
        import torch
        import transformers
    except ImportError as absent:
        return refusal(f"torch and transformers cannot be imported: {absent}; pip install torch transformers")
    if o.device == "cuda" and not torch.cuda.is_available():
        return refusal("--device cuda: torch finds no GPU")
    if o.threads:
        torch.set_num_threads(o.threads)
    name, model = load_model(o, torch, transformers)
    model.generation_config.eos_token_id = None
    out = {
        "kind": "rollout",
        "config": {
            "engine": "transformers",
            "model_name": name,
            "num_gpus": 1,
            "device_name": torch.cuda.get_device_name() if o.device == "cuda" else cpu_name(),
            "numeric_mode": "fast",
            "dtype": {"float32": "f32", "bfloat16": "bf16"}[o.dtype],
            "scale": o.scale,
            "max_sequences": o.batch,
            "threads": torch.get_num_threads(),
            "timestamp": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__,
                         "python": platform.python_version()},
        },
        "loads": [],
    }
    for load, variant, sequences in loads_of(o):
        passes = [run(o, torch, model, sequences) for _ in range(o.warm_up + o.repeats)][o.warm_up :]
        seconds = statistics.median_low([s for s, _ in passes])
        forwards = passes[0][1]
        tokens_in, tokens_out = sum(len(p) for p, _ in sequences), sum(n for _, n in sequences)
        line = {
            "load": load,
            "variant": variant,
            "requests": len(sequences),
            "sequences": len(sequences),
            "prompt_tokens": tokens_in,
            "output_tokens": tokens_out,
            "seconds": seconds,
            "seconds_each": [s for s, _ in passes],
            "prompt_tokens_per_second": tokens_in / seconds,
            "output_tokens_per_second": tokens_out / seconds,
            "tokens_per_second": (tokens_in if load == "prefill" else tokens_out) / seconds,
            "forwards": forwards,
            "step_ms": 1e3 * seconds / forwards,
        }
        out["loads"].append(line)
        print(f"{load}{', ' + variant if variant else ''}: {len(sequences)} sequences, {tokens_in} tokens in, {tokens_out} out, "
              f"{seconds:.3f} s, {line['tokens_per_second']:.1f} tokens/s")
    if o.json:
        o.json.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(OPTIONS))
