#!/usr/bin/env python3
"""Where the time of a training step goes on the GPU: reads what librlcpp_timeline.so recorded (timeline.cpp).

  python3 tools/timeline/report.py FILE.csv [--steps N | --of-rollouts KERNEL] [--top N]

A step of training ends with its last adamw kernel, one of the rollout engine with each kernel whose name has KERNEL in it
(sample_rows). Prints the mean of the last N steps (3): milliseconds, share and calls of each kernel, and the idle time in
which nothing ran on any stream."""
import argparse
import collections
import csv

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("file")
parser.add_argument("--steps", type=int, default=3)
parser.add_argument("--of-rollouts", metavar="KERNEL")
parser.add_argument("--top", type=int, default=40)
arguments = parser.parse_args()

rows = []
with open(arguments.file) as lines:
    for start, end, stream, kind, name in csv.reader(lines):
        rows.append((int(start), int(end), stream, name if kind == "kernel" else f"{kind}"))
rows.sort()
last_kernel = arguments.of_rollouts or "adamw"
apart = 0 if arguments.of_rollouts else 5e6  # ns between the kernels of one update and the next
updates = [i for i, row in enumerate(rows) if last_kernel in row[3]]
if not updates:
    raise SystemExit(f"error: there is no {last_kernel} kernel in the file, so no step")
ends = [rows[i][1] for n, i in enumerate(updates) if n + 1 == len(updates) or rows[updates[n + 1]][0] - rows[i][1] > apart]
if len(ends) <= arguments.steps:
    raise SystemExit(f"error: {len(ends)} steps in the file, more than {arguments.steps} are needed")
first, last = ends[-1 - arguments.steps], ends[-1]
total, calls = collections.Counter(), collections.Counter()
busy, reached = 0, first
for start, end, _, name in rows:
    if start < first or end > last:
        continue
    total[name] += end - start
    calls[name] += 1
    busy += max(0, end - max(start, reached))
    reached = max(reached, end)
span = last - first
n = arguments.steps
print(f"{span / n / 1e6:9.2f} ms a step, {100 * (span - busy) / span:.1f} % of it idle ({n} steps)")
for name, time in total.most_common(arguments.top):
    print(f"{time / n / 1e6:9.2f} ms {100 * time / span:5.1f} % {calls[name] / n:7.0f} calls {time / calls[name] / 1e3:9.1f} us  {name}")
