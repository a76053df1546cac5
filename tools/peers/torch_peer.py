#!/usr/bin/env python3
"""What a PyTorch user would run instead of rlcpp: Qwen3 in plain PyTorch with FSDP2, torch.compile of each layer, cuDNN
attention and fused AdamW, doing the work of one row of the benchmark page on random weights and random tokens.

    torchrun --nproc-per-node=2 tools/peers/torch_peer.py --model 0.6B --type rl --lora 16 --ac full --loss chunked \
        --seq 8192 --rows 2 --steps 6 --json benchmarks/peers/torch-0.6B-rl-lora16-full.json --same-run

Every step has real gradients and an optimizer step. Throughput is that of the median interval from the end of one step to
the end of the next, the first two steps (compilation, allocator) left out. The JSON is a peer file as docs/benchmarking.md
describes it. --same-run says that rlcpp's rows are measured alternately with this program, the same day on the same machine.
Needs torch 2.10 or newer; an older FSDP2 refuses the f32 adapters beside a bf16 base, and runs them with --master bf16.
"""

import datetime
import json
import math
import os
import pathlib
import statistics
import sys
import time
from dataclasses import dataclass

from options import Parser, check_steps, refusal


@dataclass(frozen=True)
class Shape:
    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    ffn: int


SHAPES = {
    "0.6B": Shape("Qwen/Qwen3-0.6B", 28, 1024, 16, 8, 3072),
    "4B": Shape("Qwen/Qwen3-4B", 36, 2560, 32, 8, 9728),
}
VOCABULARY = 151936
HEAD_SIZE = 128
ROPE_BASE = 1e6
NORM_EPSILON = 1e-6
LORA_ALPHA = 32
LOSS_CHUNKS = 8  # of a micro-batch's tokens, with --loss chunked
WARM_UP = 2  # steps that are not timed


def parse():
    p = Parser(__doc__)
    p.add_argument("--model", choices=sorted(SHAPES), default="0.6B")
    p.add_argument("--type", choices=["sft", "rl"], default="sft")
    p.add_argument("--lora", type=int, default=0, help="rank of the adapters of all seven linear layers; 0: full")
    p.add_argument("--ac", choices=["full", "none"], default="full", help="activation checkpointing of whole layers")
    p.add_argument("--loss", choices=["full", "chunked"], default="full",
                   help="logits of a micro-batch at once, or in chunks that are computed again in backward")
    p.add_argument("--seq", type=int, default=8192)
    p.add_argument("--rows", type=int, default=2, help="rows a GPU and step")
    p.add_argument("--micro-batch", type=int, default=1, help="rows a forward pass")
    p.add_argument("--steps", type=int, default=6, help=f"the first {WARM_UP} are warm-up")
    p.add_argument("--master", choices=["f32", "bf16"], default="f32", help="trainable weights and their moments")
    p.add_argument("--keep-weights", action="store_true", help="keep layers gathered between forward and backward")
    p.add_argument("--same-run", action="store_true", help="measured alternately with rlcpp")
    p.add_argument("--json", type=pathlib.Path, help="the peer file to write")
    o = p.parse_args()
    check_steps(p, o, WARM_UP)
    return o


# Before torch, which takes seconds to import and need not be there for --help or for a mistake.
OPTIONS = parse() if __name__ == "__main__" else None

try:
    import torch
    import torch.distributed as dist
    import torch.nn.functional as F
    from torch import nn
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.checkpoint import checkpoint
except ImportError as absent:
    sys.exit(refusal(f"PyTorch cannot be imported: {absent}; pip install torch"))


def command_of(o, world):
    """The command again, every option written out, without this machine's paths."""
    words = [f"torchrun --nproc-per-node={world} tools/peers/torch_peer.py"]
    for key in ("model", "type", "lora", "ac", "loss", "seq", "rows", "micro_batch", "steps", "master"):
        words.append(f"--{key.replace('_', '-')} {getattr(o, key)}")
    return " ".join(words + (["--keep-weights"] if o.keep_weights else []))


# ---------------------------------------------------------------- the model


class Linear(nn.Module):
    """y = W x; with adapters y = W x + (alpha / rank) B A x, W frozen in bf16."""

    def __init__(self, inputs, outputs, o, master):
        super().__init__()
        self.rank = o.lora
        dtype = torch.bfloat16 if o.lora else master
        self.weight = nn.Parameter(torch.empty(outputs, inputs, dtype=dtype), requires_grad=not o.lora)
        if o.lora:
            self.adapter_a = nn.Parameter(torch.empty(o.lora, inputs, dtype=master))
            self.adapter_b = nn.Parameter(torch.empty(outputs, o.lora, dtype=master))

    def forward(self, x):
        y = F.linear(x, self.weight)
        if self.rank:
            y = y + F.linear(F.linear(x, self.adapter_a), self.adapter_b) * (LORA_ALPHA / self.rank)
        return y


class RmsNorm(nn.Module):
    def __init__(self, size, o, master):
        super().__init__()
        dtype = torch.bfloat16 if o.lora else master
        self.weight = nn.Parameter(torch.empty(size, dtype=dtype), requires_grad=not o.lora)

    def forward(self, x):
        wide = x.float()
        scaled = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + NORM_EPSILON)
        return scaled.to(x.dtype) * self.weight


def rotate(x, cos, sin):
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Layer(nn.Module):
    def __init__(self, shape, o, master):
        super().__init__()
        self.shape = shape
        queries, keys = shape.heads * HEAD_SIZE, shape.kv_heads * HEAD_SIZE
        self.attention_norm = RmsNorm(shape.hidden, o, master)
        self.query = Linear(shape.hidden, queries, o, master)
        self.key = Linear(shape.hidden, keys, o, master)
        self.value = Linear(shape.hidden, keys, o, master)
        self.query_norm = RmsNorm(HEAD_SIZE, o, master)
        self.key_norm = RmsNorm(HEAD_SIZE, o, master)
        self.output = Linear(queries, shape.hidden, o, master)
        self.mlp_norm = RmsNorm(shape.hidden, o, master)
        self.gate = Linear(shape.hidden, shape.ffn, o, master)
        self.up = Linear(shape.hidden, shape.ffn, o, master)
        self.down = Linear(shape.ffn, shape.hidden, o, master)

    def forward(self, x, cos, sin):
        rows, length, _ = x.shape
        h = self.attention_norm(x)
        q = self.query(h).view(rows, length, self.shape.heads, HEAD_SIZE)
        k = self.key(h).view(rows, length, self.shape.kv_heads, HEAD_SIZE)
        v = self.value(h).view(rows, length, self.shape.kv_heads, HEAD_SIZE)
        q = rotate(self.query_norm(q), cos, sin).transpose(1, 2)
        k = rotate(self.key_norm(k), cos, sin).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(q, k, v.transpose(1, 2), is_causal=True, enable_gqa=True)
        x = x + self.output(mixed.transpose(1, 2).reshape(rows, length, -1))
        h = self.mlp_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


def log_probabilities(hidden, head, targets):
    """Of the targets [tokens], with the f32 logits [tokens, vocabulary] and their log of the sum of exponentials."""
    logits = F.linear(hidden, head).float()
    log_sum = logits.logsumexp(-1)
    return logits.gather(-1, targets[:, None]).squeeze(-1) - log_sum, logits, log_sum


def sft_loss(hidden, head, targets, old, advantages):
    """Sum of the cross-entropies of the tokens; no entropy."""
    log_probability, _, _ = log_probabilities(hidden, head, targets)
    return -log_probability.sum(), None


def rl_loss(hidden, head, targets, old, advantages):
    """Sum over tokens of -(ratio x advantage, held constant) x log-probability, as prime-rl's loss; and of the entropies,
    which a trainer reports."""
    log_probability, logits, log_sum = log_probabilities(hidden, head, targets)
    constant = logits.detach()
    entropy = log_sum.detach() - (constant.softmax(-1) * constant).sum(-1)
    weight = (torch.exp(log_probability - old) * advantages).detach()
    return -(weight * log_probability).sum(), entropy.sum()


class Model(nn.Module):
    """From tokens to the sum of the loss: the tied embedding is used inside forward only, where FSDP has it gathered."""

    def __init__(self, shape, o, master):
        super().__init__()
        self.checkpoint_layers = o.ac == "full"
        self.chunks = LOSS_CHUNKS if o.loss == "chunked" else 1
        self.loss = torch.compile(sft_loss if o.type == "sft" else rl_loss)
        dtype = torch.bfloat16 if o.lora else master
        self.embedding = nn.Parameter(torch.empty(VOCABULARY, shape.hidden, dtype=dtype), requires_grad=not o.lora)
        self.layers = nn.ModuleList(Layer(shape, o, master) for _ in range(shape.layers))
        self.final_norm = RmsNorm(shape.hidden, o, master)

    def forward(self, tokens, targets, old, advantages, cos, sin):
        x = F.embedding(tokens, self.embedding)
        for layer in self.layers:
            if self.checkpoint_layers:
                x = checkpoint(layer, x, cos, sin, use_reentrant=False)
            else:
                x = layer(x, cos, sin)
        hidden = self.final_norm(x).flatten(0, 1)
        if self.chunks == 1:
            return self.loss(hidden, self.embedding, targets.flatten(), old.flatten(), advantages.flatten())
        loss, entropy = 0, None
        parts = [t.chunk(self.chunks) for t in (hidden, targets.flatten(), old.flatten(), advantages.flatten())]
        for h, t, o, a in zip(*parts):
            part, part_entropy = checkpoint(self.loss, h, self.embedding, t, o, a, use_reentrant=False)
            loss = loss + part
            if part_entropy is not None:
                entropy = part_entropy if entropy is None else entropy + part_entropy
        return loss, entropy


def sharded_model(o, world):
    """Built without memory, wrapped, then given memory for this rank's shards alone."""
    shape = SHAPES[o.model]
    master = torch.float32 if o.master == "f32" else torch.bfloat16
    with torch.device("meta"):
        model = Model(shape, o, master)
    mesh = init_device_mesh("cuda", (world,))
    # No cast of inputs: they are integers, f32 on purpose (old, advantages), or bf16 already.
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for layer in model.layers:
        layer.compile(fullgraph=True)
        fully_shard(layer, mesh=mesh, mp_policy=policy, reshard_after_forward=not o.keep_weights)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    model.to_empty(device="cuda")
    return model


@torch.no_grad()
def initialise(model):
    """Normal of deviation 0.02, norms 1, B of an adapter 0; another seed on each rank, each has other shards."""
    for name, parameter in model.named_parameters():
        shard = parameter.to_local()
        if name.endswith("norm.weight"):
            shard.fill_(1)
        elif name.endswith("adapter_b"):
            shard.zero_()
        else:
            shard.normal_(std=0.02)


def rotary(length):
    """cos and sin [1, length, 1, head size] in bf16, as the model's activations are."""
    frequency = ROPE_BASE ** (-torch.arange(0, HEAD_SIZE, 2, device="cuda", dtype=torch.float32) / HEAD_SIZE)
    angle = torch.arange(length, device="cuda", dtype=torch.float32)[:, None] * frequency
    angle = torch.cat((angle, angle), dim=-1)[None, :, None, :]
    return angle.cos().bfloat16(), angle.sin().bfloat16()


# ---------------------------------------------------------------- the measurement


def train_step(model, trainable, optimizer, o, cos, sin):
    """One optimizer step. Returns the mean loss of the job's tokens and the gradient norm; the caller's stream is idle."""
    tokens_of_rank = o.rows * o.seq
    loss_sum = torch.zeros((), device="cuda")
    for _ in range(o.rows // o.micro_batch):
        ids = torch.randint(0, VOCABULARY, (o.micro_batch, o.seq + 1), device="cuda")
        # Log-probabilities near those of random weights, so that ratios are near 1 and no token is without gradient.
        old = torch.full((o.micro_batch, o.seq), -math.log(VOCABULARY), device="cuda")
        advantages = torch.randn(o.micro_batch, o.seq, device="cuda")
        loss, _ = model(ids[:, :-1].contiguous(), ids[:, 1:].contiguous(), old, advantages, cos, sin)
        (loss / tokens_of_rank).backward()  # FSDP averages over the ranks
        loss_sum += loss.detach()
    norm = nn.utils.clip_grad_norm_(trainable, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
    dist.all_reduce(loss_sum)
    values = loss_sum.item() / (tokens_of_rank * dist.get_world_size()), norm.item()
    torch.cuda.synchronize()
    return values


def seconds_since_start():
    """Since this process was started, as the kernel counts it; torchrun's own start is not in it."""
    ticks = int(pathlib.Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    uptime = float(pathlib.Path("/proc/uptime").read_text().split()[0])
    return uptime - ticks / os.sysconf("SC_CLK_TCK")


def measure(o, world):
    model = sharded_model(o, world)
    initialise(model)
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-5, weight_decay=0.01, fused=True)
    cos, sin = rotary(o.seq)
    torch.cuda.reset_peak_memory_stats()
    ends, losses, norms = [], [], []
    first_step = 0.0
    # Around backward too: layers that are computed again there choose their attention again.
    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
        for step in range(o.steps):
            loss, norm = train_step(model, trainable, optimizer, o, cos, sin)
            ends.append(time.perf_counter())
            losses.append(loss)
            norms.append(norm)
            first_step = first_step or seconds_since_start()
            if dist.get_rank() == 0:
                print(f"step {step}: loss {loss:.4f}, gradient norm {norm:.3e}", flush=True)
    if not all(math.isfinite(x) for x in losses + norms) or min(norms) == 0:
        sys.exit(f"error: losses {losses} and gradient norms {norms} are not those of a training step")
    # intervals[0] ends with the second step: WARM_UP steps are left out, so WARM_UP - 1 intervals are.
    intervals = [after - before for before, after in zip(ends, ends[1:])][WARM_UP - 1:]
    peaks = torch.tensor([torch.cuda.max_memory_reserved(), torch.cuda.max_memory_allocated()],
                         device="cuda", dtype=torch.float64)
    dist.all_reduce(peaks, op=dist.ReduceOp.MAX)
    reserved, allocated = (peaks / 2**30).tolist()
    median = statistics.median(intervals)
    return {
        "tokens_per_second": round(world * o.rows * o.seq / median, 1),
        "step_seconds": median,
        "peak_memory_gib": round(reserved, 3),
        "details": {"step_seconds": intervals, "losses": losses, "grad_norms": norms,
                    "first_step_seconds": first_step, "peak_allocated_gib": round(allocated, 3)},
    }


def peer_file(o, world, figures):
    version = torch.__version__.split("+")[0]
    device = torch.cuda.get_device_name()
    base = "bf16 base, " if o.lora else "bf16, "
    details = figures.pop("details", {})
    details["versions"] = {"torch": torch.__version__, "cuda": torch.version.cuda,
                           "cudnn": torch.backends.cudnn.version(),
                           "nccl": ".".join(str(n) for n in torch.cuda.nccl.version())}
    return {
        "peer": f"PyTorch {version} (FSDP2, torch.compile, cuDNN attention)",
        "model": SHAPES[o.model].name,
        "type": o.type,
        "lora_rank": o.lora or None,
        "num_gpus": world,
        "device_name": device,
        "seq_len": o.seq,
        "ac": "Recompute" if o.ac == "full" else "None",
        **figures,
        "numerics": f"{base}{o.master} {'adapters' if o.lora else 'master weights'} and moments, {o.loss} logits, "
                    f"{o.rows} rows a GPU, {o.micro_batch} at once" + (", weights kept" if o.keep_weights else ""),
        "source": {"command": command_of(o, world), "machine": f"{torch.cuda.device_count()} x {device}",
                   "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat()},
        "same_run": o.same_run,
        "details": details,
    }


def write(path, content):
    """Whole or not at all: ranks that fail together may write it together."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    partial.replace(path)


def main():
    o = OPTIONS
    if "LOCAL_RANK" not in os.environ:
        sys.exit(refusal("torchrun says which rank this is, and did not start it"))
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl", device_id=torch.device("cuda", torch.cuda.current_device()))
    rank, world = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(rank)
    try:
        figures = measure(o, world)
    except torch.OutOfMemoryError as error:
        # A figure too. The other ranks wait in a collective, so this one leaves without a farewell; torchrun ends them.
        print(f"error: rank {rank} is out of memory: {error}", file=sys.stderr, flush=True)
        if o.json:
            write(o.json, peer_file(o, world, {"error": "out of memory"}))
        os._exit(1)
    if rank == 0:
        print(f"{figures['tokens_per_second']:.0f} tokens/s, {figures['step_seconds']:.3f} s a step, "
              f"peak {figures['peak_memory_gib']:.1f} GiB", flush=True)
        if o.json:
            write(o.json, peer_file(o, world, figures))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
