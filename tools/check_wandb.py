#!/usr/bin/env python3
"""Checks tools/wandb_relay.py against the real package wandb in offline mode: what it stored, read back.

    pip install wandb && tools/check_wandb.py

The tests use a stand-in for the package (tests/app/watch_test.cpp), since machines without it build too.
"""
import usage

if __name__ == "__main__":
    usage.answer(__doc__)

import glob
import json
import os
import subprocess
import sys
import tempfile

from wandb.proto import wandb_internal_pb2


def records(path):
    """The file is a LevelDB log behind 7 bytes: blocks of 32 KiB with pieces of (CRC 4, length 2, type 1, bytes)."""
    with open(path, "rb") as file:
        data = file.read()
    assert data[:4] == b":W&B", data[:7]
    at, whole = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


def value_of(item):
    return json.loads(item.value_json)


def main():
    relay = os.path.join(os.path.dirname(os.path.abspath(__file__)), "wandb_relay.py")
    with tempfile.TemporaryDirectory() as run:
        os.makedirs(run + "/rollouts")
        steps = [{"step": s, "time": 1e9 + s, "producer": "rl", "loss/mean": 1.0 / s, "absent": None} for s in range(1, 6)]
        with open(run + "/metrics.jsonl", "w") as file:
            file.writelines(json.dumps(line) + "\n" for line in steps)
            file.write(json.dumps({"step": 3, "producer": "trainer", "loss/mean": 99}) + "\n")
        with open(run + "/rollouts/step_2.jsonl", "w") as file:
            for i in range(10):
                row = {"env": "e", "example_id": i, "prompt": [{"role": "user", "content": "ä"}], "completion": "b",
                       "reward": i / 10, "advantage": 0.0, "completion_len": i}
                file.write(json.dumps(row) + "\n")
        words = ["--run-dir", run, "--producer", "rl", "--project", "p", "--offline", "--interval", "2", "--samples",
                 "--distributions"]
        with open(relay) as file:
            script = file.read()
        done = subprocess.run([sys.executable, "-c", script, *words], input='{"optim": {"lr": 0.1}}\nfinish 0\n',
                              capture_output=True, text=True, timeout=300, cwd=run)
        assert done.returncode == 0 and done.stdout.startswith("ready "), done
        (path,) = glob.glob(run + "/wandb/offline-run-*/*.wandb")
        history, config, exit_code = {}, {}, None
        for record in records(path):
            kind = record.WhichOneof("record_type")
            if kind == "history":
                row = {(item.key or "/".join(item.nested_key)): value_of(item) for item in record.history.item}
                history.setdefault(record.history.step.num or row.get("_step"), {}).update(row)
            elif kind in ("run", "config"):
                source = record.run.config if kind == "run" else record.config
                config.update({item.key: value_of(item) for item in source.update if item.key})
            elif kind == "exit":
                exit_code = record.exit.exit_code
        assert {s: history[s]["loss/mean"] for s in range(1, 6)} == {s: 1.0 / s for s in range(1, 6)}, history
        assert config["optim"] == {"lr": 0.1}, config
        assert exit_code == 0
        keys = set(history[2])
        assert any(key.startswith("samples") for key in keys), keys
        assert any(key.startswith("distributions/reward") for key in keys), keys
        assert not any(key.startswith("samples") for key in history[1])
    print("5 steps, configuration, 1 table and 3 histograms read back")


if __name__ == "__main__":
    main()
