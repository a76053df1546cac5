#!/usr/bin/env python3
"""Loss curves of rlcpp on a GPU against an independent PyTorch loop, and what must repeat to the last bit.

A model of Qwen3-0.6B's shapes with random weights, made by transformers; real text with Qwen3's tokenizer; 200 steps of SFT:
by `rlcpp sft`, and by a loop over transformers' model under bf16 autocast with f32 weights, torch's AdamW, clipping and
schedule, on the rows that rlcpp says it trained on (data.dump), with the loss summed over the trained tokens of a step and
divided by their number. Both begin with the same weights. Then short runs: the same seed again, and activations recomputed
selectively and fully.

    tools/make_dictionary.py data/dictionary.jsonl 24000                    # where WordNet is installed
    tools/loss_curve.py --rlcpp build/cuda/bin/rlcpp --data data/dictionary.jsonl --json curves.json --svg curves.svg

Prints the differences of the loss in nats per token, over windows of 10 steps, and each comparison of bits. Leaves with 4 if
the mean difference of the windows is above --bound-mean, the largest above --bound-max, the loss did not fall by 2 nats, or
bits differ.
"""
import usage

if __name__ == "__main__":
    usage.answer(__doc__, most=None)

import argparse
import contextlib
import json
import lzma
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import warnings

import torch
import transformers
from transformers import AutoModelForCausalLM, Qwen3Config

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOKENIZER = ROOT / "tests/data/tokenizer/qwen3"
WINDOW = 10
WARMUP = 20


def save_model(arguments, path, device):
    """Initial weights in f32 with the tokenizer beside them."""
    torch.manual_seed(arguments.seed)
    config = Qwen3Config(vocab_size=151936, hidden_size=arguments.hidden, intermediate_size=3 * arguments.hidden,
                         num_hidden_layers=arguments.layers, num_attention_heads=16, num_key_value_heads=8, head_dim=128,
                         max_position_embeddings=40960, rms_norm_eps=1e-6, tie_word_embeddings=True,
                         eos_token_id=151645, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0})
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config)
    model.float().save_pretrained(path)
    with lzma.open(TOKENIZER / "tokenizer.json.xz") as packed, open(path / "tokenizer.json", "wb") as out:
        shutil.copyfileobj(packed, out)
    shutil.copy(TOKENIZER / "tokenizer_config.json", path)


def with_cuda_libraries():
    """The environment of this process, with the folders of tools/cuda_libraries.sh."""
    environment = dict(os.environ)
    folders = subprocess.run([ROOT / "tools/cuda_libraries.sh"], capture_output=True, text=True).stdout.strip()
    before = environment.get("LD_LIBRARY_PATH", "")
    if folders:
        environment["LD_LIBRARY_PATH"] = folders + (":" + before if before else "")
    return environment


def run_rlcpp(arguments, model, out, steps, *more):
    """Metrics of each step of a run."""
    command = [arguments.rlcpp, "sft", "--model.name", str(model), "--data.name", str(arguments.data), "--data.seq-len",
               str(arguments.seq_len), "--data.batch-size", str(arguments.batch_size), "--data.micro-batch-size", "1",
               "--max-steps", str(steps), "--optim.lr", str(arguments.lr), "--optim.weight-decay", "0.01",
               "--scheduler.type", "cosine", "--scheduler.warmup-steps", str(min(WARMUP, steps // 2)), "--ckpt", "None",
               "--device", arguments.device, "--output-dir", str(out), "--clean", *more]
    begun = time.monotonic()
    done = subprocess.run(command, env=with_cuda_libraries(), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"error: {' '.join(command)} left with {done.returncode}\n{done.stderr[-4000:]}")
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if "loss/mean" in row]
    if len(rows) != steps:
        sys.exit(f"error: {out}/metrics.jsonl has {len(rows)} steps, expected {steps}")
    return rows, time.monotonic() - begun


def rows_of(path):
    for line in path.read_text().splitlines():
        step = json.loads(line)
        yield step["rows"]


def document_mask(bounds, device):
    """[1, 1, T, T]: a token sees itself and what comes before it in its document."""
    documents = torch.repeat_interleave(torch.arange(len(bounds) - 1), torch.tensor(bounds).diff()).to(device)
    same = documents[:, None] == documents[None, :]
    return (same & torch.ones_like(same).tril())[None, None]


def summed_loss(model, row, device, packed=True):
    """Sum of -log p over the trained tokens of a packed row; `packed` False: document by document, without a mask."""
    ids = torch.tensor(row["ids"], device=device)
    trained = torch.tensor(row["mask"], device=device).bool()
    bounds = row["cu_seqlens"]
    positions = torch.cat([torch.arange(end - begin) for begin, end in zip(bounds, bounds[1:])]).to(device)
    if packed:
        hidden = model.model(input_ids=ids[None], attention_mask=document_mask(bounds, device), position_ids=positions[None],
                             use_cache=False).last_hidden_state[0]
    else:
        hidden = torch.cat([model.model(input_ids=ids[None, begin:end], use_cache=False).last_hidden_state[0]
                            for begin, end in zip(bounds, bounds[1:])])
    # Token t is predicted by the row before it; the first of a document is never trained.
    places = trained.nonzero()[:, 0]
    logits = torch.nn.functional.linear(hidden[places - 1], model.lm_head.weight).float()
    return torch.nn.functional.cross_entropy(logits, ids[places], reduction="sum")


def scheduler_of(optimizer, steps):
    warmup = min(WARMUP, steps // 2)
    rise = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1e-8, end_factor=1.0, total_iters=warmup)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps - warmup, eta_min=0.0)
    return torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, fall], milestones=[warmup])


def run_torch(arguments, path, steps, device):
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="sdpa").to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=arguments.lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01,
                                  fused=device.startswith("cuda"))
    warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")
    scheduler = scheduler_of(optimizer, len(steps))
    half = lambda: torch.autocast(device.split(":")[0], torch.bfloat16)  # noqa: E731
    with torch.no_grad(), half():
        packed = summed_loss(model, steps[0][0], device).item()
        alone = summed_loss(model, steps[0][0], device, packed=False).item()
    if abs(packed - alone) > 2e-3 * alone:
        sys.exit(f"error: transformers' loss of a packed row is {packed}, of its documents alone {alone}: the mask is ignored")
    losses, norms, rates = [], [], []
    begun = time.monotonic()
    for rows in steps:
        tokens = sum(sum(row["mask"]) for row in rows)
        optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for row in rows:
            with half():
                loss = summed_loss(model, row, device) / tokens
            loss.backward()
            total += loss.item()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
        losses.append(total)
    return losses, norms, rates, time.monotonic() - begun


def windows(values):
    return [sum(values[i:i + WINDOW]) / len(values[i:i + WINDOW]) for i in range(0, len(values), WINDOW)]


def compare_bits(arguments, model, work, failures):
    """Losses, gradient norms and everything else that does not tell the time, in runs that must be the same."""
    def numbers(rows):
        keys = [key for key in rows[0] if key.startswith(("loss/", "optim/", "progress/"))]
        return [[row[key] for key in keys] for row in rows], keys

    base, _ = run_rlcpp(arguments, model, work / "base", arguments.bit_steps)
    expected, keys = numbers(base)
    lines = {}
    for name, more in {"the same seed again": [], "recompute selective": ["--model.ac.mode", "selective"],
                       "recompute full": ["--model.ac.mode", "full"]}.items():
        rows, _ = run_rlcpp(arguments, model, work / name.replace(" ", "-"), arguments.bit_steps, *more)
        got, _ = numbers(rows)
        differ = [step + 1 for step, (a, b) in enumerate(zip(expected, got, strict=True)) if a != b]
        lines[name] = "same bits" if not differ else f"differs from step {differ[0]}"
        print(f"{name}: {lines[name]} in {arguments.bit_steps} steps ({len(keys)} metrics each)", flush=True)
        if differ:
            failures.append(name)
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rlcpp", required=True, help="the binary, built with CUDA")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="a .jsonl file of tools/make_dictionary.py")
    parser.add_argument("--json", type=pathlib.Path, help="file for both curves and the verdict")
    parser.add_argument("--svg", type=pathlib.Path, help="file for the plot")
    parser.add_argument("--only", choices=["curve", "bits"], help="one half of the checks")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--bit-steps", type=int, default=12)
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--seq-len", type=int, default=2048)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--bound-mean", type=float, default=0.02, help="nats per token (default 0.02)")
    parser.add_argument("--bound-max", type=float, default=0.06, help="nats per token (default 0.06)")
    parser.add_argument("--work", type=pathlib.Path, help="folder for models and runs, which then stay there")
    arguments = parser.parse_args()
    arguments.rlcpp = str(pathlib.Path(arguments.rlcpp).resolve())
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("error: torch finds no GPU here")
    failures, report = [], {}
    with contextlib.ExitStack() as stack:
        work = arguments.work or pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work.mkdir(parents=True, exist_ok=True)
        model = work / "model"
        save_model(arguments, model, arguments.device)
        if arguments.device.startswith("cuda"):
            torch.cuda.empty_cache()
        if arguments.only != "bits":
            dump = work / "rows.jsonl"
            dump.unlink(missing_ok=True)
            rows, seconds = run_rlcpp(arguments, model, work / "rlcpp", arguments.steps, "--data.dump", str(dump))
            ours = [row["loss/mean"] for row in rows]
            print(f"rlcpp: {arguments.steps} steps in {seconds:.0f} s, loss {ours[0]:.4f} -> {ours[-1]:.4f}", flush=True)
            steps = list(rows_of(dump))
            if len(steps) != arguments.steps:
                sys.exit(f"error: {dump} has {len(steps)} steps")
            theirs, norms, rates, seconds = run_torch(arguments, model, steps, arguments.device)
            print(f"torch: {arguments.steps} steps in {seconds:.0f} s, loss {theirs[0]:.4f} -> {theirs[-1]:.4f}", flush=True)
            wrong = max(abs(row["optim/lr"] - rate) for row, rate in zip(rows, rates))
            if wrong > 1e-6 * arguments.lr:
                failures.append(f"learning rates differ by {wrong}")
            difference = [abs(a - b) for a, b in zip(windows(ours), windows(theirs))]
            mean, most = sum(difference) / len(difference), max(difference)
            print(f"loss at step 1: {ours[0]:.5f} and {theirs[0]:.5f}; gradient norm {rows[0]['optim/grad_norm']:.4f} and "
                  f"{norms[0]:.4f}")
            print(f"windows of {WINDOW} steps: mean difference {mean:.5f} (bound {arguments.bound_mean}), largest {most:.5f} "
                  f"(bound {arguments.bound_max}); single steps up to {max(abs(a - b) for a, b in zip(ours, theirs)):.5f}")
            if not mean <= arguments.bound_mean:
                failures.append("mean difference")
            if not most <= arguments.bound_max:
                failures.append("largest difference")
            if arguments.steps >= 100 and not ours[0] - windows(ours)[-1] > 2:
                failures.append("the loss did not fall by 2 nats")
            other = work / "torch"
            other.mkdir(exist_ok=True)
            (other / "metrics.jsonl").write_text(
                "".join(json.dumps({"step": i + 1, "loss/mean": loss}) + "\n" for i, loss in enumerate(theirs)))
            if arguments.svg:
                subprocess.run([arguments.rlcpp, "curves", "--runs", f"{work / 'rlcpp'},{other}", "--keys", "loss/mean",
                                "--together", "--out", str(arguments.svg)], check=True, stdout=subprocess.DEVNULL)
            report.update({"steps": arguments.steps, "layers": arguments.layers, "hidden": arguments.hidden,
                           "tokens_per_step": arguments.batch_size * arguments.seq_len, "lr": arguments.lr,
                           "rlcpp": [round(x, 5) for x in ours], "torch": [round(x, 5) for x in theirs],
                           "window": WINDOW, "difference_mean": round(mean, 6), "difference_max": round(most, 6),
                           "bound_mean": arguments.bound_mean, "bound_max": arguments.bound_max})
            del theirs
            if arguments.device.startswith("cuda"):
                torch.cuda.empty_cache()
        if arguments.only != "curve":
            report["bits"] = compare_bits(arguments, model, work, failures)
    report["versions"] = {"torch": torch.__version__, "transformers": transformers.__version__,
                          "gpu": torch.cuda.get_device_name() if arguments.device.startswith("cuda") else "none"}
    report["passed"] = not failures
    if arguments.json:
        arguments.json.write_text(json.dumps(report) + "\n")
    print("loss curves: passed" if not failures else f"loss curves: FAILED: {'; '.join(failures)}")
    return 4 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
