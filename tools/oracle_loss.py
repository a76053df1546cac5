#!/usr/bin/env python3
"""Golden values for tests/train/loss_test.cpp: losses, metrics and autograd gradients in float64 (torch 2.15, CPU).

    python tools/oracle_loss.py > tests/data/train/loss.json

Written from the formulas (prime-rl trainer/rl/loss.py of January 2026; Shao et al. 2024 and Yu et al. 2025 for grpo), apart
from the C++ code: here the gradient comes from autograd through the written loss. Streams are float32 values; each document
is drawn until its case is hit (a token mask, a geometric mask, ...), and no value lies near a mask's border.
"""
import usage

if __name__ == "__main__":
    usage.answer(__doc__)

import json
import math
import sys

import torch

torch.manual_seed(20260112)
DEFAULTS = dict(type="default", ratio_type="token", token_mask_low=0.125, token_mask_high=8.0, sequence_clip_high=10.0,
                geo_mask_low=0.1, geo_mask_high=10.0, sequence_mask_low=0.0, sequence_mask_high=100.0, adv_tau=1.0,
                teacher_tau=0.0, kl_tau=0.0, clip_low=0.2, clip_high=0.2)


def f32(x):
    return x.to(torch.float32).to(torch.float64)


def document(n, spread, shift=0.0, outlier=None, teacher=False, mask_share=0.7):
    trainer = -torch.rand(n, dtype=torch.float64) * 6
    inference = torch.minimum(trainer + spread * torch.randn(n, dtype=torch.float64) - shift, torch.tensor(0.0))
    mask = torch.rand(n) < mask_share
    mask[0] = False
    mask[-1] = True
    if outlier is not None:
        inference[-1] = trainer[-1] - outlier
    doc = dict(trainer=f32(trainer), inference=f32(inference), advantage=f32(torch.randn(n, dtype=torch.float64)), mask=mask)
    if teacher:
        doc["teacher"] = f32(-torch.rand(n, dtype=torch.float64) * 6)
    return doc


def mean_or_zero(x):
    return x.mean().item() if x.numel() else 0.0


def default_loss(c, doc, trainer, scale):
    d = trainer - doc["inference"]
    m = doc["mask"]
    r = d.exp()
    geo = d[m].mean().exp()
    low, high = r < c["token_mask_low"], r > c["token_mask_high"]
    geo_low, geo_high = geo < c["geo_mask_low"], geo > c["geo_mask_high"]
    seq_low, seq_high = r[m].min() < c["sequence_mask_low"], r[m].max() > c["sequence_mask_high"]
    masked = low | high | geo_low | geo_high | seq_low | seq_high
    keep = m & ~masked
    rho = r
    if c["ratio_type"] == "sequence":
        rho = torch.clamp(torch.exp(torch.clamp(d[m].sum(), max=10.0)), max=c["sequence_clip_high"]).expand_as(r)
    a = c["adv_tau"] * doc["advantage"]
    if "teacher" in doc:
        a = a + c["teacher_tau"] * (doc["teacher"] - trainer)
    coefficient = (rho * (a - c["kl_tau"] * d)).detach()
    loss = -(coefficient * trainer)[keep].sum()
    if c["ratio_type"] == "sequence":
        loss = loss / max(int(m.sum()), 1)
    flags = dict(low=low, high=high, masked=masked, geo_low=geo_low, geo_high=geo_high, seq_low=seq_low, seq_high=seq_high)
    return loss / scale, flags


def grpo_loss(c, doc, trainer, scale):
    m = doc["mask"]
    r = (trainer - doc["inference"]).exp()
    a = c["adv_tau"] * doc["advantage"]
    clipped = r.clamp(1 - c["clip_low"], 1 + c["clip_high"])
    loss = -torch.minimum(r * a, clipped * a)[m].sum() / scale
    low, high = (r < 1 - c["clip_low"]) & (a < 0), (r > 1 + c["clip_high"]) & (a > 0)
    no = torch.tensor(False)
    return loss, dict(low=low, high=high, masked=low | high, geo_low=no, geo_high=no, seq_low=no, seq_high=no)


def cross_entropy_loss(c, doc, trainer, scale):
    no = torch.zeros_like(doc["mask"])
    zero = torch.tensor(False)
    return -trainer[doc["mask"]].sum() / scale, dict(low=no, high=no, masked=no, geo_low=zero, geo_high=zero, seq_low=zero, seq_high=zero)


LOSSES = dict(default=default_loss, grpo=grpo_loss, cross_entropy=cross_entropy_loss)


def evaluate(changes, doc, scale):
    c = {**DEFAULTS, **changes}
    trainer = doc["trainer"].clone().requires_grad_(True)
    loss, f = LOSSES[c["type"]](c, doc, trainer, scale)
    gradient = torch.autograd.grad(loss, trainer, allow_unused=True)[0] if loss.requires_grad else None
    gradient = torch.zeros_like(doc["trainer"]) if gradient is None else gradient
    m = doc["mask"]
    d = doc["trainer"] - doc["inference"]
    kl = d.exp() - d - 1
    expected = dict(
        loss=loss.item(), gradient=gradient.tolist(),
        trainer_probs=mean_or_zero(doc["trainer"][m].exp()), inference_probs=mean_or_zero(doc["inference"][m].exp()),
        mismatch_kl=mean_or_zero(kl[m]), masked_mismatch_kl=mean_or_zero(kl[m & f["masked"]]),
        unmasked_mismatch_kl=mean_or_zero(kl[m & ~f["masked"]]), is_masked=mean_or_zero(f["masked"][m].double()),
        is_masked_low=mean_or_zero(f["low"][m].double()), is_masked_high=mean_or_zero(f["high"][m].double()),
        sequence_masked_low=float(f["seq_low"]), sequence_masked_high=float(f["seq_high"]), geo_masked_low=float(f["geo_low"]),
        geo_masked_high=float(f["geo_high"]), geo_seq_ratio=d[m].mean().exp().item(), max_abs_mismatch=d[m].abs().max().item())
    if "teacher" in doc:
        expected["teacher_kl"] = mean_or_zero((doc["teacher"] - doc["trainer"])[m])
    return expected


def on_border(doc, changes):
    c = {**DEFAULTS, **changes}
    d = (doc["trainer"] - doc["inference"])[doc["mask"]]
    values = [*d.exp().tolist(), d.mean().exp().item()]
    borders = [c[k] for k in c if "_mask_" in k] + [1 - c["clip_low"], 1 + c["clip_high"]]
    return any(abs(v - b) < 1e-4 * max(b, 1e-3) for v in values for b in borders)


CASES = []  # (name, config changes, maker, hit: what the case must show, count)


def case(name, changes, maker, hit=lambda e: True, count=6):
    CASES.append((name, changes, maker, hit, count))


n = lambda: int(torch.randint(2, 24, ()))
case("on policy", {}, lambda: document(n(), 0.0), lambda e: e["max_abs_mismatch"] == 0 and e["is_masked"] == 0)
case("near policy", {}, lambda: document(n(), 0.05), lambda e: e["is_masked"] == 0)
case("token low", {}, lambda: document(n(), 1.5), lambda e: 0 < e["is_masked_low"] < 1 and e["geo_masked_low"] == 0)
case("token high", {}, lambda: document(n(), 1.5), lambda e: 0 < e["is_masked_high"] < 1 and e["is_masked"] < 1)
case("geo low", {}, lambda: document(n(), 0.1, -2.6), lambda e: e["geo_masked_low"] == 1)
case("geo high", {}, lambda: document(n(), 0.1, 2.6), lambda e: e["geo_masked_high"] == 1)
case("sequence high", {}, lambda: document(n() + 8, 0.1, outlier=5.5), lambda e: e["sequence_masked_high"] == 1 and e["geo_masked_high"] == 0)
case("sequence low", {"sequence_mask_low": 0.3}, lambda: document(n() + 8, 0.1, outlier=-1.5), lambda e: e["sequence_masked_low"] == 1)
case("taus", {"adv_tau": 0.7, "kl_tau": 0.3, "teacher_tau": 0.4}, lambda: document(n(), 0.4, teacher=True))
case("teacher unused", {}, lambda: document(n(), 0.2, teacher=True))
case("sequence ratio", {"ratio_type": "sequence"}, lambda: document(n(), 0.2), lambda e: e["is_masked"] == 0)
case("sequence ratio clipped", {"ratio_type": "sequence"}, lambda: document(n() + 8, 0.1, 0.8), lambda e: e["is_masked"] == 0)
case("sequence ratio over e^10", {"ratio_type": "sequence", "sequence_clip_high": 1e6}, lambda: document(24, 0.1, 1.2, mask_share=1.0), lambda e: e["is_masked"] == 0)
case("sequence ratio masked", {"ratio_type": "sequence", "kl_tau": 0.1}, lambda: document(n(), 1.5), lambda e: 0 < e["is_masked"] < 1)
case("own bounds", {"token_mask_low": 0.5, "token_mask_high": 2.0, "geo_mask_low": 0.5, "geo_mask_high": 2.0, "sequence_mask_high": 3.0}, lambda: document(n(), 0.6))
case("grpo on policy", {"type": "grpo"}, lambda: document(n(), 0.0), lambda e: e["is_masked"] == 0)
case("grpo clipped", {"type": "grpo"}, lambda: document(n(), 0.5), lambda e: 0 < e["is_masked_low"] and 0 < e["is_masked_high"])
case("grpo own bounds", {"type": "grpo", "clip_low": 0.1, "clip_high": 0.28, "adv_tau": 1.7}, lambda: document(n(), 0.5))
case("cross entropy", {"type": "cross_entropy"}, lambda: document(n(), 0.5))

rows = []
for name, changes, maker, hit, count in CASES:
    made = 0
    for _ in range(20000):
        doc = maker()
        scale = float(torch.randint(1, 60, ()))
        expected = evaluate(changes, doc, scale)
        if not hit(expected) or on_border(doc, changes):
            continue
        streams = {k: ([int(b) for b in v] if k == "mask" else v.tolist()) for k, v in doc.items()}
        rows.append(dict(case=name, config=changes, scale=scale, **streams, expected=expected))
        made += 1
        if made == count:
            break
    assert made == count, name
short = lambda o: {k: short(v) for k, v in o.items()} if isinstance(o, dict) else [short(v) for v in o] if isinstance(o, list) else float(f"{o:.10g}") if isinstance(o, float) and math.isfinite(o) else o
json.dump(dict(torch=torch.__version__, rows=[short(r) for r in rows]), sys.stdout, separators=(",", ":"))
sys.stdout.write("\n")
print(len(rows), "documents", file=sys.stderr)
