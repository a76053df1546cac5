#!/usr/bin/env python3
"""Reads the TensorBoard event files of a run with TensorBoard's own reader and compares them with metrics.jsonl.

  check_tensorboard.py RUN_DIRECTORY     every scalar of every step must be in both; exit 1 if not
  check_tensorboard.py --vectors         prints the bytes of TensorBoard's own writer that tests/monitor quotes

Written for tensorboard 2.21.0 (pip install tensorboard). Not needed by test.sh.
"""
import usage

if __name__ == "__main__":
    usage.answer(__doc__, most=None)

import glob
import io
import json
import math
import os
import struct
import sys

from tensorboard.backend.event_processing import event_accumulator, event_file_loader
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter


def as_float32(value):
    """The value as the event file stores it; too large ones become infinite, as in the writer."""
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


def same(logged, found):
    """`logged`: a number or None, as in metrics.jsonl, where None stands for NaN and both infinities."""
    if logged is None:
        return not math.isfinite(found)
    return as_float32(logged) == found


def read_jsonl(run):
    """{(step, name): value} and the number of lines."""
    values, lines = {}, 0
    with open(os.path.join(run, "metrics.jsonl"), encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            lines += 1
            for name, value in row.items():
                if name in ("step", "time", "producer"):
                    continue
                key = (row["step"], name)
                if key in values:
                    raise SystemExit(f"metrics.jsonl: {name} of step {row['step']} is there twice")
                values[key] = value
    return values, lines


def check(run):
    logged, lines = read_jsonl(run)
    directory = os.path.join(run, "tensorboard")
    files = sorted(glob.glob(os.path.join(directory, "events.out.tfevents.*")))
    if not files:
        raise SystemExit(f"{directory}: no event file")

    # 1. The reader of single files: framing, checksums, the version record.
    raw = {}
    for path in files:
        events = list(event_file_loader.LegacyEventFileLoader(path).Load())
        if not events or events[0].file_version != "brain.Event:2":
            raise SystemExit(f"{path}: the first record is not file_version brain.Event:2")
        with open(path, "rb") as file:
            size, position = os.path.getsize(path), 0
            while position < size:  # the loader stops silently at damage, so frames are counted here
                file.seek(position)
                position += struct.unpack("<Q", file.read(8))[0] + 16
                size_ok = position <= size
                if not size_ok:
                    raise SystemExit(f"{path}: cut short")
        for event in events:
            for value in event.summary.value:
                key = (event.step, value.tag)
                if key in raw:
                    raise SystemExit(f"{path}: {value.tag} of step {event.step} is there twice")
                raw[key] = value.simple_value

    # 2. What the TensorBoard page shows: the accumulator over the whole directory.
    accumulator = event_accumulator.EventAccumulator(directory, size_guidance={event_accumulator.SCALARS: 0,
                                                                                event_accumulator.TENSORS: 0})
    accumulator.Reload()
    shown = {}
    for tag in accumulator.Tags()["scalars"]:
        for scalar in accumulator.Scalars(tag):
            shown[(scalar.step, tag)] = scalar.value

    wrong = 0
    for source, values in (("event files", raw), ("EventAccumulator", shown)):
        for key in sorted(set(logged) | set(values)):
            if key not in values:
                print(f"{source}: {key[1]} of step {key[0]} is missing")
            elif key not in logged:
                print(f"{source}: {key[1]} of step {key[0]} is not in metrics.jsonl")
            elif not same(logged[key], values[key]):
                print(f"{source}: {key[1]} of step {key[0]} is {values[key]}, metrics.jsonl says {logged[key]}")
            else:
                continue
            wrong += 1
    print(f"{run}: {lines} lines, {len(logged)} scalars, {len(files)} event files, {wrong} differences")
    return 1 if wrong else 0


def vectors():
    class Memory(io.BytesIO):
        def flush(self):
            pass

    value = summary_pb2.Summary.Value(tag="loss/mean", simple_value=1.25)
    for event in (event_pb2.Event(wall_time=1700000000.25, file_version="brain.Event:2"),
                  event_pb2.Event(wall_time=1700000001.5, step=300, summary=summary_pb2.Summary(value=[value]))):
        memory = Memory()
        RecordWriter(memory).write(event.SerializeToString())
        print(memory.getvalue().hex())
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    sys.exit(vectors() if sys.argv[1] == "--vectors" else check(sys.argv[1]))
