#!/usr/bin/env python3
"""Sends the metrics of a run to Weights & Biases. rlcpp starts it where a configuration has [wandb].

It follows metrics.jsonl of the run directory, so a run never waits for it and loses nothing if it ends. What
rlcpp tells it comes through its standard input: a line of JSON with the configuration, then `finish CODE` or
nothing: when the pipe closes, the run has ended. It says `ready TEXT` or `no REASON` once, on its standard
output. To send a run that has ended:

    tools/wandb_relay.py --run-dir outputs --project prime-rl --once </dev/null
"""
import argparse
import json
import os
import select
import sys
import time


class Parser(argparse.ArgumentParser):
    def error(self, message):
        sys.exit(print("error: %s (see --help)" % message, file=sys.stderr) or 2)


def arguments():
    parser = Parser(description=__doc__.split("\n")[0])
    parser.add_argument("--run-dir", required=True)
    parser.add_argument("--project", default="prime-rl")
    parser.add_argument("--producer", default="", help="send only lines of this producer")
    parser.add_argument("--name")
    parser.add_argument("--id")
    parser.add_argument("--offline", action="store_true")
    parser.add_argument("--first-step", type=int, default=0, help="earlier lines were sent before")
    parser.add_argument("--interval", type=int, default=0, help="rollouts of every so many steps; 0: none")
    parser.add_argument("--samples", action="store_true")
    parser.add_argument("--distributions", action="store_true")
    parser.add_argument("--once", action="store_true", help="send what is there, then end")
    return parser.parse_args()


class Lines:
    """Whole lines of a growing file."""

    def __init__(self, path):
        self.path, self.place, self.rest = path, 0, b""

    def new(self):
        try:
            with open(self.path, "rb") as file:
                file.seek(self.place)
                data = file.read()
        except FileNotFoundError:
            return []
        self.place += len(data)
        *whole, self.rest = (self.rest + data).split(b"\n")
        return whole


class Pipe:
    """Standard input, without waiting for it."""

    def __init__(self, once):
        self.open, self.code, self.text = not once, 0, b""

    def read(self, seconds):
        while self.open and select.select([0], [], [], seconds)[0]:
            part = os.read(0, 65536)
            self.text += part
            if not part:
                self.open = False
            seconds = 0
        *lines, self.text = self.text.split(b"\n")
        for line in lines:
            if line.startswith(b"finish "):
                self.code, self.open = int(line[7:]), False
        return lines


def wandb_id(run_dir, args):
    """The id of this run directory: a resumed run goes on where it was."""
    path = os.path.join(run_dir, "wandb", "id")
    if args.id:
        return args.id
    if args.first_step > 1 and os.path.exists(path):
        with open(path) as file:
            return file.read().strip()
    return None


def rollouts(run_dir, step, limit):
    path = os.path.join(run_dir, "rollouts", "step_%d.jsonl" % step)
    rows = []
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                rows.append(json.loads(line))
                if limit and len(rows) == limit:
                    break
    except (FileNotFoundError, ValueError):
        pass
    return rows


def rollout_entries(wandb, args, step):
    if not args.interval or step < 1 or step % args.interval:
        return {}
    out = {}
    if args.samples:
        columns = ["step", "env", "example_id", "prompt", "completion", "reward"]
        rows = rollouts(args.run_dir, step, 8)
        if rows:
            table = wandb.Table(columns=columns)
            for row in rows:
                row["prompt"] = "\n".join(m["role"] + ": " + m["content"] for m in row.get("prompt", []))
                table.add_data(step, *[row.get(name) for name in columns[1:]])
            out["samples"] = table
    if args.distributions:
        rows = rollouts(args.run_dir, step, 0)
        for name in ("reward", "advantage", "completion_len"):
            values = [row[name] for row in rows if isinstance(row.get(name), (int, float))]
            if values:
                out["distributions/" + name] = wandb.Histogram(values)
    return out


def send(wandb, run, args, lines):
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        step = entry.pop("step", None)
        producer = entry.pop("producer", "")
        if step is None or step < args.first_step or (args.producer and producer != args.producer):
            continue
        entry["_timestamp"] = entry.pop("time", None)
        entry = {name: value for name, value in entry.items() if value is not None}
        entry.update(rollout_entries(wandb, args, step))
        run.log(entry, step=step)


def main():
    args = arguments()
    sys.path[:] = [p for p in sys.path if p not in ("", os.getcwd())]  # a directory wandb/ of a run is no package
    try:
        import wandb
    except ImportError as error:
        print("no %s" % error, flush=True)
        return 3
    pipe = Pipe(args.once)
    config = {}
    if not args.once:
        for line in pipe.read(30):
            if line.startswith(b"{"):
                config = json.loads(line)
    options = dict(
        project=args.project,
        name=args.name,
        id=wandb_id(args.run_dir, args),
        resume="allow",
        dir=args.run_dir,
        config=config,
        mode="offline" if args.offline else "online",
    )
    try:
        run = wandb.init(**options)
    except Exception as error:  # no login, no network: the run goes on without
        print("no %s: %s" % (type(error).__name__, " ".join(str(error).split())), flush=True)
        return 3
    os.makedirs(os.path.join(args.run_dir, "wandb"), exist_ok=True)
    with open(os.path.join(args.run_dir, "wandb", "id"), "w") as file:
        file.write(run.id + "\n")
    print("ready %s" % (getattr(run, "url", None) or run.dir), flush=True)
    lines = Lines(os.path.join(args.run_dir, "metrics.jsonl"))
    while pipe.open:
        pipe.read(0.5)
        send(wandb, run, args, lines.new())
    send(wandb, run, args, lines.new())
    run.finish(exit_code=pipe.code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
