#!/usr/bin/env python3
"""Golden values of Muon for tests/train/optimizer_test.cpp, in float64 with numpy.

    python tools/oracle_muon.py >tests/data/train/muon.json

Written from Jordan et al. 2024 and Liu et al. 2025, apart from the C++ code: the iteration is applied to the matrix's
singular values (an odd polynomial of a matrix is that polynomial of its singular values), so no product of the C++
form is repeated here. A parameter has two matrices, one upon the other, as q and k have.
"""
import usage

if __name__ == "__main__":
    usage.answer(__doc__)

import json
import sys

import numpy as np

RNG = np.random.default_rng(20241208)
A, B, C = 3.4445, -4.7750, 2.0315


def orthogonal(m):
    u, s, v = np.linalg.svd(m, full_matrices=False)
    s = s / (np.linalg.norm(m) + 1e-7)
    for _ in range(5):
        s = A * s + B * s**3 + C * s**5
    return u @ np.diag(s) @ v


def f32(x):
    return np.asarray(x, np.float32).astype(np.float64)


cases = []
for rows, columns in [((16, 12), 20), ((24, 8), 12), ((20, 20), 20), ((3, 5), 33), ((1, 7), 9)]:
    lr, mu, decay, clip = f32(0.02), 0.95, 0.1, f32(0.7)
    w = f32(RNG.standard_normal((sum(rows), columns)) * 0.2)
    case = dict(rows=list(rows), columns=columns, lr=float(lr), mu=mu, weight_decay=decay, gradient_scale=float(clip),
                start=w.ravel().tolist(), gradients=[], weights=[])
    m = np.zeros_like(w)
    for _ in range(2):
        g = f32(RNG.standard_normal(w.shape) * 0.1)
        m = mu * m + clip * g
        begin = 0
        for count in rows:
            part = slice(begin, begin + count)
            w[part] = (1 - lr * decay) * w[part] - lr * 0.2 * np.sqrt(max(count, columns)) * orthogonal(m[part])
            begin += count
        case["gradients"].append(g.ravel().tolist())
        case["weights"].append(w.ravel().tolist())
    cases.append(case)


def short(o):
    if isinstance(o, dict):
        return {k: short(v) for k, v in o.items()}
    if isinstance(o, list):
        return [short(v) for v in o]
    return float(f"{o:.9g}") if isinstance(o, float) else o


json.dump(dict(numpy=np.__version__, cases=[short(c) for c in cases]), sys.stdout, separators=(",", ":"))
sys.stdout.write("\n")
