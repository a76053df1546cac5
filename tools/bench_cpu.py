#!/usr/bin/env python3
"""Training on a CPU: rlcpp beside PyTorch and transformers, the same model, tokens a step, threads and f32 arithmetic.

    tools/bench_cpu.py [--rlcpp build/release-cpu/bin/rlcpp] [--threads 16] [--compile]
    tools/bench_cpu.py --no-peer            # where PyTorch is not installed: rlcpp's half alone
    tools/bench_cpu.py --render             # the page again, from the JSON

A Qwen3 of 20 million parameters with random weights, 8 rows of 512 random tokens a step, full fine-tuning with AdamW. Every program
runs --repeats times, all of them in turn, each in a fresh process on the same cores; medians count. Peak memory is the largest
resident set that the kernel saw. Then the checkpoint of that model, beside a plain file of the same bytes (rlcpp bench-checkpoint),
and 16 rollouts of its engine beside transformers' generate (rlcpp bench rollout, tools/peers/transformers_generate.py).
Writes --json (benchmarks/cpu/results.json) and --page (docs/benchmarks-cpu.md). --compile measures torch.compile too.
Needs PyTorch 2.4 and transformers 5, unless --no-peer is given. Leaves with 4 if a figure is below what the project asks for.
"""
import usage

if __name__ == "__main__":
    usage.answer(__doc__, most=None)

import argparse
import datetime
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEER = ROOT / "tools/peers/torch_cpu.py"
GENERATE = ROOT / "tools/peers/transformers_generate.py"
LOAD = ["--load", "nano", "--scale", 0.25, "--sequences", 16, "--device", "cpu"]
WEIGHTS = """import sys, torch
from transformers import AutoConfig, AutoModelForCausalLM
AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(sys.argv[1]), dtype=torch.float32).save_pretrained(sys.argv[2])"""
ROWS, LENGTH = 8, 512
# configs/models/qwen3-20m with two layers more: 20.3 million parameters, 15 % of them the vocabulary's.
LAYERS = 10
# What the project asks for.
SPEED, MEMORY, START, ROLLOUTS = 1.0, 0.6, 0.5, 3.0


class Parser(argparse.ArgumentParser):
    def error(self, message):
        print(f"error: {message} (see --help)", file=sys.stderr)
        sys.exit(2)


def parse():
    p = Parser(add_help=False)
    p.add_argument("--rlcpp", type=pathlib.Path, default=ROOT / "build/cpu/bin/rlcpp")
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--steps", type=int, default=12)
    p.add_argument("--compile", action="store_true")
    p.add_argument("--no-peer", action="store_true")
    p.add_argument("--render", action="store_true")
    p.add_argument("--json", type=pathlib.Path, default=ROOT / "benchmarks/cpu/results.json")
    p.add_argument("--page", type=pathlib.Path, default=ROOT / "docs/benchmarks-cpu.md")
    o = p.parse_args()
    cores = len(os.sched_getaffinity(0))
    if o.render:
        if not o.json.is_file():
            p.error(f"there is no {o.json} to render")
        return o
    if not os.access(o.rlcpp, os.X_OK) or o.rlcpp.is_dir():
        p.error(f"--rlcpp: there is no program {o.rlcpp}")
    if not 1 <= o.threads <= cores:
        p.error(f"--threads must be 1 to {cores}, the cores that this process may use")
    if o.repeats < 1 or o.steps < 4:
        p.error("--repeats must be at least 1 and --steps at least 4")
    return o


def on_cores(threads):
    """Both programs run on the same cores, as many as they have threads."""
    cores = sorted(os.sched_getaffinity(0))[:threads]
    return lambda: os.sched_setaffinity(0, cores)


def run(command, threads):
    """Runs a program to its end: what it printed, and its largest resident set in bytes."""
    words = [str(word) for word in command]
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
                             preexec_fn=on_cores(threads))
    errors = []
    reader = threading.Thread(target=lambda: errors.append(child.stderr.read()))
    reader.start()
    output = child.stdout.read()
    reader.join()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise RuntimeError(f"{' '.join(words)} left with {child.returncode}: {errors[0].strip()[-2000:]}")
    return output, used.ru_maxrss * 1024


def run_rlcpp(o, model, out, rows_at_once):
    file = out / "rlcpp.json"
    chunk = min(LENGTH * rows_at_once, 1024)  # larger chunks of logits where more rows are there; 32 MiB at most
    _, peak = run([o.rlcpp, "sft", "--bench", "--model.name", model, "--model.debug.random-init", "--data.type", "fake",
                   "--data.seq-len", LENGTH, "--data.batch-size", ROWS, "--data.micro-batch-size", rows_at_once,
                   "--model.fused-lm-head-token-chunk-size", chunk, "--max-steps", o.steps, "--device", "cpu",
                   "--threads", o.threads, "--bench.output-json", file], o.threads)
    result = json.loads(file.read_text())
    more = result["rlcpp"]
    return {"tokens_per_second": result["metrics"]["throughput"]["mean"], "peak_bytes": peak,
            "first_step_begins": more["first_step_begins"], "first_step_seconds": more["first_step_seconds"],
            "losses": more["losses"], "versions": more["versions"]}


def run_peer(o, model, out, rows_at_once, compiled):
    file = out / "torch.json"
    _, peak = run([sys.executable, PEER, "--config", model, "--threads", o.threads, "--seq", LENGTH, "--rows", ROWS,
                   "--micro-batch", rows_at_once, "--steps", o.steps + 1, "--json", file,
                   *(["--compile"] if compiled else [])], o.threads)
    return dict(json.loads(file.read_text()), peak_bytes=peak)


def checkpoint(o, model, out):
    text, _ = run([o.rlcpp, "bench-checkpoint", "--model.name", model, "--device", "cpu", "--directory", out / "checkpoint",
                   "--rounds", max(3, o.repeats), "--threads", o.threads, "--json"], o.threads)
    saved = json.loads(text)
    del saved["model"]  # a folder that is gone
    return saved


def rollouts(o, model, out):
    """Tokens per second of each run, both in turn."""
    programs = {"rlcpp": [o.rlcpp, "bench", "rollout", "--model.name", model, *LOAD, "--threads", o.threads, "--output-json"]}
    if not o.no_peer:
        run([sys.executable, "-c", WEIGHTS, model, out / "weights"], o.threads)
        programs["transformers"] = [sys.executable, GENERATE, "--model", out / "weights", *LOAD, "--batch", 16, "--dtype", "float32",
                                    "--threads", o.threads, "--json"]
    rates = {name: [] for name in programs}
    for _ in range(o.repeats):
        for name, command in programs.items():
            file = out / f"{name}-rollouts.json"
            file.unlink(missing_ok=True)
            run([*command, file], o.threads)
            load = json.loads(file.read_text())["loads"][0]
            rates[name].append(load["tokens_per_second"])
            print(f"rollouts, {name}: {rates[name][-1]:.0f} tokens/s", file=sys.stderr, flush=True)
    return {"sequences": load["sequences"], "prompt_tokens": load["prompt_tokens"], "output_tokens": load["output_tokens"],
            "tokens_per_second": rates}


def measure(o):
    programs = [(f"rlcpp, {n} row{'s' * (n > 1)} at a time", lambda m, t, n=n: run_rlcpp(o, m, t, n)) for n in (1, 2, 4, 8)]
    if not o.no_peer:
        programs += [(f"transformers, {n} rows at a time", lambda m, t, n=n: run_peer(o, m, t, n, False)) for n in (8, 2)]
        if o.compile:
            programs.append(("transformers, compiled, 8 rows at a time", lambda m, t: run_peer(o, m, t, 8, True)))
    runs = {name: [] for name, _ in programs}
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder)
        model = out / "model"
        model.mkdir()
        config = json.loads((ROOT / "configs/models/qwen3-20m/config.json").read_text())
        config["num_hidden_layers"] = LAYERS
        (model / "config.json").write_text(json.dumps(config, indent=1))
        for turn in range(o.repeats):
            for name, program in programs:
                runs[name].append(program(model, out))
                print(f"{turn + 1}/{o.repeats} {name}: {runs[name][-1]['tokens_per_second']:.0f} tokens/s, "
                      f"{runs[name][-1]['peak_bytes'] / 2**30:.2f} GiB", file=sys.stderr, flush=True)
        first = {run["losses"][0] for name, all_runs in runs.items() if name.startswith("rlcpp") for run in all_runs}
        if max(first) - min(first) > 1e-12 * max(first):  # a sum in float64, whose order is the chunks'
            raise RuntimeError(f"the first loss of rlcpp depends on how many rows are computed at a time: {sorted(first)}")
        saved = checkpoint(o, model, out)
        rolled = rollouts(o, model, out)
    names = [line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")]
    return {
        "schema": 1,
        "machine": {"cpu": names[0] if names else platform.machine(), "cores": len(os.sched_getaffinity(0)),
                    "kernel": platform.release(), "load": os.getloadavg()},
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "threads": o.threads, "repeats": o.repeats, "steps": o.steps, "config": config, "runs": runs, "checkpoint": saved,
        "rollouts": rolled,
    }


def medians(results):
    keys = ("tokens_per_second", "peak_bytes", "first_step_begins", "first_step_seconds")
    return {name: {key: statistics.median(run[key] for run in runs) for key in keys}
            for name, runs in results["runs"].items()}


def spread(runs):
    rates = [run["tokens_per_second"] for run in runs]
    return f"{min(rates):,.0f} to {max(rates):,.0f}"


def checkpoint_rates(results):
    rows = {row["name"]: row for row in results["checkpoint"]["rows"]}
    rate = lambda row: row["bytes"] / row["seconds"] / 1e9
    written = [rate(row) for name, row in rows.items() if name.endswith(": checkpoint committed")]
    return {"written": statistics.median(written), "plain": rate(rows["plain file, written and synced"]),
            "restored": rate(rows["restored and verified, from disk"]), "plain read": rate(rows["plain file, read from disk"]),
            "bytes": rows["plain file, written and synced"]["bytes"]}


def verdicts(results):
    """(what, asked, measured, holds), as far as it was measured."""
    figures = medians(results)
    ours = {name: f for name, f in figures.items() if name.startswith("rlcpp")}
    peers = {name: f for name, f in figures.items() if not name.startswith("rlcpp")}
    out = []
    if peers:
        fastest = max(peers, key=lambda name: peers[name]["tokens_per_second"])
        smallest = min(peer["peak_bytes"] for peer in peers.values())
        # The quickest of ours that keeps the bound of memory, so that one run has both figures.
        within = [name for name, f in ours.items() if f["peak_bytes"] <= MEMORY * peers[fastest]["peak_bytes"]]
        best = max(within or ours, key=lambda name: ours[name]["tokens_per_second"])
        speed = ours[best]["tokens_per_second"] / peers[fastest]["tokens_per_second"]
        memory = ours[best]["peak_bytes"] / peers[fastest]["peak_bytes"]
        out.append((f"tokens per second, {best}, against {fastest}", f"at least {SPEED:.1f} times", f"{speed:.2f} times",
                    speed >= SPEED))
        out.append((f"peak memory of the same two", f"at most {MEMORY:.1f} times",
                    f"{memory:.2f} times ({ours[best]['peak_bytes'] / smallest:.2f} of the smallest of theirs)", memory <= MEMORY))
    rates = {name: statistics.median(each) for name, each in results["rollouts"]["tokens_per_second"].items()}
    if "transformers" in rates:
        times = rates["rlcpp"] / rates["transformers"]
        out.append(("sampled tokens per second of 16 rollouts, against generate of transformers", f"at least {ROLLOUTS:.1f} times",
                    f"{times:.2f} times", times >= ROLLOUTS))
    begins = max(f["first_step_begins"] for f in ours.values())
    out.append(("the first step begins after the start of the process", f"within {START:.1f} s", f"{begins:.2f} s", begins <= START))
    return out


def rollout_lines(rolled):
    rates = {name: statistics.median(each) for name, each in rolled["tokens_per_second"].items()}
    text = " and ".join(f"{rate:,.0f} tokens a second by {'the engine of rlcpp' if name == 'rlcpp' else 'generate of transformers'}"
                        for name, rate in rates.items())
    return [f"{rolled['sequences']} rollouts of the same model ({rolled['prompt_tokens']:,} prompt tokens, {rolled['output_tokens']:,} "
            f"sampled ones; the load `nano` of docs/benchmarking.md at a quarter of its lengths): {text}."]


def page(results):
    figures = medians(results)
    machine = results["machine"]
    rates = checkpoint_rates(results)
    versions = {}
    for runs in results["runs"].values():
        versions.update(runs[0]["versions"])
    config = results["config"]
    lines = [
        "# Training on a CPU",
        "",
        "Written by `tools/bench_cpu.py` from `benchmarks/cpu/results.json`; run it to measure another machine.",
        "",
        f"A Qwen3 of 20 million parameters ({config['num_hidden_layers']} layers of {config['hidden_size']}, vocabulary "
        f"{config['vocab_size']}) with random weights, {ROWS} rows of {LENGTH} random tokens a step, full fine-tuning with AdamW and "
        "clipping, f32.",
        f"{machine['cpu']}, {results['threads']} threads on as many of {machine['cores']} cores, {results['date']}; rlcpp "
        f"{versions['rlcpp']}" + (f"; PyTorch {versions['torch']}, transformers {versions['transformers']}, fused AdamW, sdpa attention"
                                  if "torch" in versions else "; the peer was not measured") + ".",
        f"{results['steps']} steps a process; "
        + (f"medians of {results['repeats']} processes each, all programs in turn." if results["repeats"] > 1 else "one process each."),
        "",
        "| program | tokens/s | lowest to highest | peak memory | first step begins | ends |",
        "|---|---|---|---|---|---|",
    ]
    for name, f in figures.items():
        lines.append(f"| {name} | {f['tokens_per_second']:,.0f} | {spread(results['runs'][name])} | {f['peak_bytes'] / 2**30:.2f} GiB | "
                     f"{f['first_step_begins']:.2f} s | {f['first_step_seconds']:.2f} s |")
    lines += ["", "| asked | bound | measured |", "|---|---|---|"]
    for what, asked, measured, holds in verdicts(results):
        lines.append(f"| {what} | {asked} | {measured}{'' if holds else ' **missed**'} |")
    lines += [
        "",
        f"A checkpoint of this model ({rates['bytes'] / 2**30:.2f} GiB, checksums, synced, renamed) is written at {rates['written']:.2f} GB/s "
        f"beside training, {rates['written'] / rates['plain']:.2f} times a plain file of the same bytes, written by one thread and synced "
        f"({rates['plain']:.2f} GB/s). It is read and verified at {rates['restored']:.2f} GB/s, {rates['restored'] / rates['plain read']:.2f} "
        f"times a plain read ({rates['plain read']:.2f} GB/s).",
        "",
        *rollout_lines(results["rollouts"]),
        "",
        "Peak memory is the largest resident set of the process. \"Begins\" and \"ends\" count from the start of the process, as the kernel "
        "does. Rows at a time change memory and speed, not what is computed: the loss of the first step "
        "differs by less than 1e-12 of itself.",
    ]
    return "\n".join(lines) + "\n"


def main():
    o = parse()
    if o.render:
        o.page.write_text(page(json.loads(o.json.read_text())))
        return 0
    if not o.no_peer:
        missing = subprocess.run([sys.executable, "-c", "import torch, transformers"], capture_output=True, text=True)
        if missing.returncode != 0:
            print(f"error: the peer needs PyTorch and transformers, which {sys.executable} does not have; --no-peer measures rlcpp alone",
                  file=sys.stderr)
            return 3
    try:
        results = measure(o)
    except RuntimeError as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    o.json.parent.mkdir(parents=True, exist_ok=True)
    o.json.write_text(json.dumps(results, indent=1) + "\n")
    o.page.write_text(page(results))
    print(page(results), end="")
    return 0 if all(holds for *_, holds in verdicts(results)) else 4


if __name__ == "__main__":
    sys.exit(main())
