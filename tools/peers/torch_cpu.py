#!/usr/bin/env python3
"""What a transformers user would run on a CPU instead of rlcpp: Qwen3ForCausalLM in f32, full fine-tuning with fused AdamW on
random tokens and random weights; tools/bench_cpu.py measures both.

    tools/peers/torch_cpu.py --config DIR --threads 16 --json result.json

Every step has real gradients, clipping and an optimizer step. Throughput is the mean over intervals from the end of one step to
the end of the next, the first two steps left out.
"""
import json
import math
import os
import pathlib
import sys
import time

from options import Parser, check_steps, refusal

WARM_UP = 2  # steps that are not timed


def parse():
    p = Parser(__doc__)
    p.add_argument("--config", type=pathlib.Path, help="directory with a config.json")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--seq", type=int, default=512)
    p.add_argument("--rows", type=int, default=8, help="rows a step")
    p.add_argument("--micro-batch", type=int, default=8, help="rows a forward pass")
    p.add_argument("--steps", type=int, default=10, help=f"the first {WARM_UP} are warm-up")
    p.add_argument("--compile", action="store_true", help="torch.compile of the model")
    p.add_argument("--json", type=pathlib.Path, help="where the result goes; else it is printed")
    o = p.parse_args()
    if o.config is None or not (o.config / "config.json").is_file():
        p.error("--config must name a directory with a config.json")
    check_steps(p, o, WARM_UP)
    return o


# Before torch, which takes seconds to import and need not be there for --help or for a mistake.
OPTIONS = parse() if __name__ == "__main__" else None

try:
    import torch
    import torch.nn.functional as F
    import transformers
    from transformers import AutoConfig, AutoModelForCausalLM
except ImportError as absent:
    sys.exit(refusal(f"PyTorch and transformers are needed: {absent}"))


def seconds_since_start():
    """Since this process was started, as the kernel counts it."""
    ticks = int(pathlib.Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    uptime = float(pathlib.Path("/proc/uptime").read_text().split()[0])
    return uptime - ticks / os.sysconf("SC_CLK_TCK")


def main():
    o = OPTIONS
    torch.set_num_threads(o.threads)
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(o.config)
    config.use_cache = False
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa").train()
    parameters = sum(p.numel() for p in model.parameters())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, weight_decay=0.01, fused=True)
    run = torch.compile(model) if o.compile else model
    begun = seconds_since_start()
    ends, losses, norms, first_step = [], [], [], 0.0
    for _ in range(o.steps):
        ids = torch.randint(config.vocab_size, (o.rows, o.seq + 1))
        loss_sum = 0.0
        for row in range(0, o.rows, o.micro_batch):
            part = ids[row:row + o.micro_batch]
            logits = run(input_ids=part[:, :-1].contiguous()).logits
            loss = F.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum") / (o.rows * o.seq)
            loss.backward()
            loss_sum += loss.item()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
        optimizer.step()
        optimizer.zero_grad()
        ends.append(time.perf_counter())
        losses.append(loss_sum)
        first_step = first_step or seconds_since_start()
    if not all(math.isfinite(x) for x in losses + norms) or min(norms) == 0:
        sys.exit(f"error: losses {losses} and gradient norms {norms} are not those of a training step")
    # intervals[0] ends with the second step: WARM_UP steps are left out, so WARM_UP - 1 intervals are.
    intervals = [after - before for before, after in zip(ends, ends[1:])][WARM_UP - 1:]
    result = {
        "tokens_per_second": sum(o.rows * o.seq / seconds for seconds in intervals) / len(intervals),
        "interval_seconds": intervals,
        "first_step_begins": begun,
        "first_step_seconds": first_step,
        "losses": losses,
        "grad_norms": norms,
        "parameters": parameters,
        "versions": {"python": sys.version.split()[0], "torch": torch.__version__, "transformers": transformers.__version__,
                     "threads": str(torch.get_num_threads()), "cpu capability": torch.backends.cpu.get_cpu_capability()},
    }
    text = json.dumps(result, indent=1) + "\n"
    if o.json:
        o.json.write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
