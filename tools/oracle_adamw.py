"""Golden values of torch.optim.AdamW for tests/ops/optimizer_test.cpp (made with torch 2.15).

Usage: python tools/oracle_adamw.py > tests/data/ops/adamw.json
"""
import usage

if __name__ == "__main__":
    usage.answer(__doc__)

import json

import torch

torch.manual_seed(20)


def case(n, steps, lr, betas, eps, weight_decay, scale):
    start = torch.randn(n)
    weight = torch.nn.Parameter(start.clone())
    optimizer = torch.optim.AdamW([weight], lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, foreach=False)
    gradients, weights = [], []
    for _ in range(steps):
        weight.grad = torch.randn(n) * scale
        gradients.append(weight.grad.tolist())
        optimizer.step()
        weights.append(weight.tolist())
    return {"lr": lr, "beta1": betas[0], "beta2": betas[1], "eps": eps, "weight_decay": weight_decay,
            "start": start.tolist(), "gradients": gradients, "weights": weights}


cases = [
    case(13, 10, 1e-3, (0.9, 0.999), 1e-8, 0.0, 1.0),
    case(20, 12, 3e-4, (0.9, 0.95), 1e-8, 0.1, 1e-3),
    case(5, 8, 5e-2, (0.8, 0.99), 1e-6, 0.01, 10.0),
]
print(json.dumps({"torch": torch.__version__, "cases": cases}))
