#!/usr/bin/env python3
"""Golden values for the later losses and the algorithms, in float64 with numpy.

    python tools/oracle_algorithms.py losses     >tests/data/train/loss_later.json
    python tools/oracle_algorithms.py advantages >tests/data/orchestrator/advantages.json
    python tools/oracle_algorithms.py echo       >tests/data/train/loss_echo.json

Written from the formulas of the papers and of prime-rl's documentation (named in the C++ files), apart from the C++
code: a loss is written as a sum of terms, and its gradient is the complex-step derivative of that sum (imaginary part
at logp + i 1e-30, exact to rounding), with what the formula holds constant taken from the real part. Streams are
float32 values; each document is drawn until its case is hit, and no value lies near a mask's border.
"""
import usage

if __name__ == "__main__":
    usage.answer(__doc__, 1, 1)

import json
import sys

import numpy as np

RNG = np.random.default_rng(20260821)
STEP = 1e-30
DEFAULTS = dict(adv_tau=1.0, kl_tau=0.0, gspo_clip_low=3e-4, gspo_clip_high=4e-4, dppo_mask_low=0.2, dppo_mask_high=0.2,
                ipo_threshold=0.1)


def f32(x):
    return np.asarray(x, np.float32).astype(np.float64)


def document(n, spread, shift=0.0, teacher=False, one_advantage=False):
    trainer = -RNG.random(n) * RNG.choice([0.5, 3.0])
    doc = dict(
        trainer=f32(trainer),
        inference=f32(np.minimum(trainer + spread * RNG.standard_normal(n) - shift, 0.0)),
        advantage=f32(np.full(n, RNG.standard_normal()) if one_advantage else RNG.standard_normal(n)),
        mask=RNG.random(n) < 0.7,
    )
    doc["mask"][0], doc["mask"][-1] = False, True
    if teacher:
        doc["teacher"] = f32(-RNG.random(n) * 3)
    return doc


def terms(c, doc, x):
    """u of each token as constants, r and d as functions of x."""
    d = x - doc["inference"]
    u = np.exp(x.real) - np.exp(doc["inference"])
    return d, np.exp(d), u


def dppo(c, doc, x):
    d, r, u = terms(c, doc, x)
    a = c["adv_tau"] * doc["advantage"]
    low, high = (a <= 0) & (u < -c["dppo_mask_low"]), (a > 0) & (u > c["dppo_mask_high"])
    loss = -np.where(low | high, 0.0, a) * r + c["kl_tau"] * d**2
    return loss[doc["mask"]].sum(), low, high


def ipo(c, doc, x):
    d, r, u = terms(c, doc, x)
    a = c["adv_tau"] * doc["advantage"]
    low, high = u < -c["ipo_threshold"], u > c["ipo_threshold"]
    loss = -np.where(low | high, 0.0, a) * r + c["kl_tau"] * d**2
    return loss[doc["mask"]].sum(), low, high


def distill(c, doc, x):
    d, r, u = terms(c, doc, x)
    a = doc["teacher"] - x.real
    low = u < -c["dppo_mask_low"]
    loss = -np.where(low, 0.0, a) * r + c["kl_tau"] * d**2
    return loss[doc["mask"]].sum(), low, np.zeros_like(low)


def gspo(c, doc, x):
    m = doc["mask"]
    s = np.exp((x - doc["inference"])[m].mean())
    a = c["adv_tau"] * doc["advantage"]
    bounds = 1 - c["gspo_clip_low"], 1 + c["gspo_clip_high"]
    clipped = np.clip(s.real, *bounds)
    take_clipped = clipped * a < s.real * a
    loss = -np.where(take_clipped, clipped * a, s * a)
    low, high = take_clipped & (s.real < bounds[0]), take_clipped & (s.real > bounds[1])
    return loss[m].mean(), low, high


LOSSES = dict(dppo=dppo, ipo=ipo, distill=distill, gspo=gspo)


def mean_or_zero(x):
    return float(np.mean(x)) if len(x) else 0.0


def evaluate(changes, doc, scale):
    c = {**DEFAULTS, **changes}
    loss_of = LOSSES[c["type"]]
    x = doc["trainer"].astype(np.complex128)
    loss, low, high = loss_of(c, doc, x)
    gradient = np.zeros(len(x))
    for t in range(len(x)):
        moved = x.copy()
        moved[t] += 1j * STEP
        gradient[t] = loss_of(c, doc, moved)[0].imag / STEP / scale
    m = doc["mask"]
    d = doc["trainer"] - doc["inference"]
    kl = np.exp(d) - d - 1
    masked = low | high
    expected = dict(
        loss=float(loss.real / scale), gradient=gradient.tolist(),
        trainer_probs=mean_or_zero(np.exp(doc["trainer"])[m]), inference_probs=mean_or_zero(np.exp(doc["inference"])[m]),
        mismatch_kl=mean_or_zero(kl[m]), masked_mismatch_kl=mean_or_zero(kl[m & masked]),
        unmasked_mismatch_kl=mean_or_zero(kl[m & ~masked]), is_masked=mean_or_zero(masked[m]),
        is_masked_low=mean_or_zero(low[m]), is_masked_high=mean_or_zero(high[m]), sequence_masked_low=0.0,
        sequence_masked_high=0.0, geo_masked_low=0.0, geo_masked_high=0.0, geo_seq_ratio=float(np.exp(d[m].mean())),
        max_abs_mismatch=float(np.abs(d[m]).max()))
    if "teacher" in doc:
        expected["teacher_kl"] = mean_or_zero((doc["teacher"] - doc["trainer"])[m])
    return expected


def on_border(doc, changes):
    c = {**DEFAULTS, **changes}
    m = doc["mask"]
    u = (np.exp(doc["trainer"]) - np.exp(doc["inference"]))[m]
    s = np.exp((doc["trainer"] - doc["inference"])[m].mean())
    borders = [-c["dppo_mask_low"], c["dppo_mask_high"], -c["ipo_threshold"], c["ipo_threshold"]]
    return any(abs(v - b) < 1e-4 for v in u for b in borders) or any(
        abs(s - b) < 1e-5 for b in (1 - c["gspo_clip_low"], 1 + c["gspo_clip_high"]))


def losses():
    n = lambda: int(RNG.integers(2, 24))
    cases = [
        ("dppo near policy", {"type": "dppo", "kl_tau": 1e-3}, lambda: document(n(), 0.05), lambda e: e["is_masked"] == 0),
        ("dppo masked", {"type": "dppo", "kl_tau": 1e-3}, lambda: document(n(), 0.9),
         lambda e: e["is_masked_low"] > 0 and e["is_masked_high"] > 0),
        ("dppo own bounds", {"type": "dppo", "adv_tau": 1.7, "kl_tau": 0.3, "dppo_mask_low": 0.05, "dppo_mask_high": 0.4},
         lambda: document(n(), 0.9), lambda e: 0 < e["is_masked"] < 1),
        ("ipo near policy", {"type": "ipo", "kl_tau": 1e-3}, lambda: document(n(), 0.02), lambda e: e["is_masked"] == 0),
        ("ipo masked", {"type": "ipo", "kl_tau": 1e-3}, lambda: document(n(), 0.7),
         lambda e: e["is_masked_low"] > 0 and e["is_masked_high"] > 0),
        ("ipo own bound", {"type": "ipo", "ipo_threshold": 0.3, "adv_tau": 0.5}, lambda: document(n(), 1.2),
         lambda e: 0 < e["is_masked"] < 1),
        ("distill", {"type": "distill", "kl_tau": 1e-3}, lambda: document(n(), 0.1, teacher=True), lambda e: e["is_masked"] == 0),
        ("distill masked", {"type": "distill", "kl_tau": 1e-3}, lambda: document(n(), 0.9, teacher=True),
         lambda e: e["is_masked_low"] > 0 and e["is_masked_high"] == 0),
        ("gspo on policy", {"type": "gspo"}, lambda: document(n(), 0.0, one_advantage=True), lambda e: e["is_masked"] == 0),
        ("gspo clipped high", {"type": "gspo"}, lambda: document(n(), 0.05, 0.05, one_advantage=True),
         lambda e: e["is_masked_high"] == 1),
        ("gspo clipped low", {"type": "gspo"}, lambda: document(n(), 0.05, -0.05, one_advantage=True),
         lambda e: e["is_masked_low"] == 1),
        ("gspo open", {"type": "gspo", "gspo_clip_low": 0.2, "gspo_clip_high": 0.28, "adv_tau": 1.3},
         lambda: document(n(), 0.1, one_advantage=True), lambda e: e["is_masked"] == 0 and e["geo_seq_ratio"] != 1),
        ("gspo advantages of tokens", {"type": "gspo"}, lambda: document(n(), 0.1, 0.1), lambda e: 0 < e["is_masked"] < 1),
    ]
    rows = []
    for name, changes, maker, hit in cases:
        made = 0
        for _ in range(20000):
            doc, scale = maker(), float(RNG.integers(1, 60))
            expected = evaluate(changes, doc, scale)
            if not hit(expected) or on_border(doc, changes):
                continue
            streams = {k: [int(b) for b in v] if k == "mask" else v.tolist() for k, v in doc.items()}
            rows.append(dict(case=name, config=changes, scale=scale, **streams, expected=expected))
            made += 1
            if made == 6:
                break
        assert made == 6, name
    return dict(numpy=np.__version__, rows=rows)


def group(n):
    kind = RNG.integers(3)
    rewards = RNG.random(n) if kind == 0 else RNG.integers(0, 2, n) if kind == 1 else RNG.standard_normal(n)
    return [dict(reward=float(r), length=int(l), agent=int(a), episode=int(e))
            for r, l, a, e in zip(rewards, RNG.integers(0, 50, n), RNG.integers(0, 3, n), RNG.integers(0, 3, n))]


def advantages():
    rows = []
    for _ in range(40):
        groups = [group(int(RNG.integers(1, 9))) for _ in range(int(RNG.integers(1, 6)))]
        rs = [np.array([o["reward"] for o in g]) for g in groups]
        ls = [np.array([o["length"] for o in g], float) for g in groups]
        out = dict(grpo=[r - r.mean() for r in rs], raw_reward=rs)
        out["length_weighted_mean"] = [r - (np.average(r, weights=l) if l.sum() > 0 else r.mean()) for r, l in zip(rs, ls)]
        out["echo"] = out["grpo"]
        out["rloo"] = [np.array([r[i] - np.delete(r, i).mean() if len(r) > 1 else 0.0 for i in range(len(r))]) for r in rs]
        out["max_rl"] = [(r - r.mean()) / r.mean() if r.mean() > 0 else 0 * r for r in rs]
        sets = [[(o["agent"], o["episode"]) if o["agent"] == 0 else (o["agent"],) for o in g] for g in groups]
        out["hierarchical_grpo"] = [
            np.array([r[i] - r[[s == own[i] for s in own]].mean() if own.count(own[i]) > 1 else 0.0 for i in range(len(r))])
            for r, own in zip(rs, sets)]
        for name, start in (("reinforce++", rs), ("reinforce++_baseline", out["grpo"])):
            tokens = np.repeat(np.concatenate(start), np.concatenate(ls).astype(int))
            mean, variance = (tokens.mean(), tokens.var()) if len(tokens) else (0.0, 0.0)
            out[name] = [(a - mean) / np.sqrt(max(variance, 1e-8)) for a in start]
        rows.append(dict(groups=groups, expected={k: [a.tolist() for a in v] for k, v in out.items()}))
    return dict(numpy=np.__version__, rows=rows)


def echo():
    """Steps of several documents: the policy's loss over its tokens, and the text's over its own."""
    steps = []
    for i in range(30):
        kind = ["dppo", "ipo", "gspo"][i % 3]
        c = {**DEFAULTS, "type": kind, **({} if kind == "gspo" else {"kl_tau": 1e-3})}
        docs = []
        while len(docs) < 4:
            doc = document(int(RNG.integers(3, 20)), 0.2, one_advantage=True)
            if on_border(doc, c):
                continue
            free = ~doc["mask"] & (RNG.random(len(doc["mask"])) < 0.6)
            free[0] = False
            doc["weights"] = f32(np.where(free, RNG.choice([0.1, 0.5, 1.0], len(free)), 0.0))
            docs.append(doc)
        if i % 5 == 0:
            docs[0]["weights"] = 0 * docs[0]["weights"]
        policy = float(len(docs) if kind == "gspo" else sum(d["mask"].sum() for d in docs))
        text = float(sum((d["weights"] > 0).sum() for d in docs))

        def loss_of(doc, x):
            return LOSSES[kind](c, doc, x)[0] / policy - (doc["weights"] * x).sum() / text

        total, rows = 0.0, []
        for n, doc in enumerate(docs):
            x = doc["trainer"].astype(np.complex128)
            total += loss_of(doc, x).real
            gradient = []
            for t in range(len(x)):
                moved = x.copy()
                moved[t] += 1j * STEP
                gradient.append(loss_of(doc, moved).imag / STEP)
            rows.append(dict(row=n % 2, gradient=gradient,
                             **{k: [int(b) for b in v] if k == "mask" else v.tolist() for k, v in doc.items()}))
        nll = -sum((d["trainer"][d["weights"] > 0]).sum() for d in docs)
        steps.append(dict(type=kind, kl_tau=c["kl_tau"], policy_scale=policy, text_scale=text, loss=float(total), nll=float(nll),
                          documents=rows))
    return dict(numpy=np.__version__, steps=steps)


def short(o):
    if isinstance(o, dict):
        return {k: short(v) for k, v in o.items()}
    if isinstance(o, list):
        return [short(v) for v in o]
    return float(f"{o:.12g}") if isinstance(o, float) else o


if __name__ == "__main__":
    json.dump(short({"losses": losses, "advantages": advantages, "echo": echo}[sys.argv[1]]()), sys.stdout, separators=(",", ":"))
    sys.stdout.write("\n")
