#!/usr/bin/env python3
"""Golden learning rates for tests/train/schedule_test.cpp, from torch's own schedulers composed as the reference does.

prime-rl (trainer/scheduler.py, January 2026) composes ConstantLR, LinearLR, CosineAnnealingLR and SequentialLR; this script
builds the same compositions and records the learning rate of every step. Made with torch 2.15.

    python3 tools/oracle_schedules.py > tests/data/train/schedules.json
"""
import usage

if __name__ == "__main__":
    usage.answer(__doc__)

import json
import warnings

import torch
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, SequentialLR

warnings.filterwarnings("ignore")


def build(optimizer, kind, max_steps, warmup, decay, lr, min_lr):
    if kind == "constant":
        return ConstantLR(optimizer, factor=1.0)
    floor = min_lr / lr if min_lr > 0 else 1e-8
    phases, milestones = [], []
    if warmup > 0:
        phases.append(LinearLR(optimizer, start_factor=floor, end_factor=1.0, total_iters=warmup))
        milestones.append(warmup)
    if kind == "linear":
        if decay > 0:
            start = max_steps - decay
            phases.append(LinearLR(optimizer, start_factor=1.0, end_factor=1.0, total_iters=start - warmup))
            phases.append(LinearLR(optimizer, start_factor=1.0, end_factor=floor, total_iters=decay - 1))
            milestones.append(start)
    else:
        phases.append(CosineAnnealingLR(optimizer, T_max=max_steps - warmup, eta_min=min_lr))
    return phases[0] if len(phases) == 1 else SequentialLR(optimizer, phases, milestones=milestones)


def rates(case):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=case["lr"])
    scheduler = build(optimizer, case["type"], case["max_steps"], case["warmup_steps"], case["decay_steps"], case["lr"],
                      case["min_lr"])
    out = []
    for _ in range(case["max_steps"]):
        out.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return out


CASES = [
    dict(type="constant", max_steps=5, warmup_steps=3, decay_steps=2, lr=1e-3, min_lr=0.0),
    dict(type="linear", max_steps=20, warmup_steps=5, decay_steps=6, lr=2e-5, min_lr=0.0),
    dict(type="linear", max_steps=20, warmup_steps=5, decay_steps=6, lr=2e-5, min_lr=4e-6),
    dict(type="linear", max_steps=12, warmup_steps=4, decay_steps=0, lr=1e-3, min_lr=0.0),
    dict(type="linear", max_steps=12, warmup_steps=0, decay_steps=5, lr=1e-3, min_lr=1e-4),
    dict(type="linear", max_steps=10, warmup_steps=4, decay_steps=6, lr=1e-3, min_lr=0.0),
    dict(type="linear", max_steps=40, warmup_steps=10, decay_steps=10, lr=3e-4, min_lr=3e-5),
    dict(type="cosine", max_steps=20, warmup_steps=5, decay_steps=10, lr=2e-5, min_lr=0.0),
    dict(type="cosine", max_steps=20, warmup_steps=0, decay_steps=10, lr=2e-5, min_lr=1e-6),
    dict(type="cosine", max_steps=33, warmup_steps=10, decay_steps=10, lr=5e-4, min_lr=5e-5),
]

if __name__ == "__main__":
    print(json.dumps([dict(case, rates=rates(case)) for case in CASES], indent=None))
