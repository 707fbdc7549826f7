"""Loss, gradients and two AdamW steps of the CLCC objective in PyTorch (f64), for a batch that a formula makes.

    python clcc_step.py > clcc_step.json

The objective follows the paper's text; the formula is repeated in stages/align/src/train/tests.rs. Every array is reported whole,
in torch's row-major order.
"""
import json, sys
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F

N, G, W, D = 14, 40, 12, 5
HIDDEN = {"expr": [16, 8], "cnv": [8, 6]}
ANCHORS = [0, 1, 2, 3, 4, 5]
NEGATIVES = [[7, 2], [9], [], [7, 8, 10], [1], []]
VAL = [11, 12, 13]
TAU, LAMBDA, MARGIN, LR, DECAY = 0.07, 0.5, 0.3, 0.01, 0.1


def single(x):
    return torch.tensor(np.asarray(x, dtype=np.float32).astype(np.float64))


def wave(n, a, b):
    return np.sin(a * np.arange(n) + b)


y = np.maximum(0, wave(N * G, 1.7, 0.3) - 0.4) * 2
expr = single(y).reshape(N, G) - single(0.1 * wave(G, 0.9, 1.0))
cnv = single(wave(N * W, 2.3, 0.7)).reshape(N, W) - single(0.2 * wave(W, 1.1, 0.0))


def encoder(n_inputs, hidden):
    layers = []
    for width in hidden:
        layers += [nn.Linear(n_inputs, width), nn.BatchNorm1d(width), nn.ReLU()]
        n_inputs = width
    return nn.Sequential(*layers, nn.Linear(n_inputs, D)).double()


def named(encoders):
    """Parameters in the order and under the names of our encoders."""
    for modality, net in encoders.items():
        layer = 0
        for module in net:
            if isinstance(module, nn.Linear):
                yield f"{modality}.{layer}.weight", module.weight
                yield f"{modality}.{layer}.bias", module.bias
            elif isinstance(module, nn.BatchNorm1d):
                yield f"{modality}.{layer}.norm.weight", module.weight
                yield f"{modality}.{layer}.norm.bias", module.bias
                layer += 1


def fill(encoders):
    for p, (name, parameter) in enumerate(named(encoders)):
        values = wave(parameter.numel(), 0.37 + 0.01 * p, p)
        if name.endswith("norm.weight"):
            values = 1 + 0.2 * values
        elif parameter.dim() == 2:
            values = values / np.sqrt(parameter.shape[1])
        else:
            values = 0.1 * values
        parameter.data = single(values).reshape(parameter.shape)


def nce(e, c):
    logits = e @ c.T / TAU
    labels = torch.arange(len(e))
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def losses(encoders, scope):
    embed = lambda cells: (F.normalize(encoders["expr"](expr[cells]), dim=1), F.normalize(encoders["cnv"](cnv[cells]), dim=1))
    if scope == "joint":
        cells = ANCHORS + [j for j in dict.fromkeys(sum(NEGATIVES, [])) if j not in ANCHORS]
        e, c = embed(cells)
        rows = [[cells.index(j) for j in h] for h in NEGATIVES]
    else:
        e, c = embed(ANCHORS)
        en, cn = embed(sum(NEGATIVES, []))
        count = iter(range(len(ANCHORS), len(ANCHORS) + len(en)))
        rows = [[next(count) for _ in h] for h in NEGATIVES]
        e, c = torch.cat([e, en]), torch.cat([c, cn])
    d = lambda u, v: 1 - (u * v).sum()
    terms = []
    for i, h in enumerate(rows):
        if h:
            terms.append(sum(F.relu(d(e[i], c[i]) - d(e[i], c[j]) + MARGIN) + F.relu(d(c[i], e[i]) - d(c[i], e[j]) + MARGIN) for j in h) / len(h))
    margin = sum(terms) / (2 * len(terms))
    base = nce(e[: len(ANCHORS)], c[: len(ANCHORS)])
    return base + LAMBDA * margin, base, margin


def whole(t):
    return t.detach().flatten().tolist()


out = {"torch": torch.__version__, "numpy": np.__version__}
for scope in ["joint", "separate"]:
    encoders = {"expr": encoder(G, HIDDEN["expr"]), "cnv": encoder(W, HIDDEN["cnv"])}
    fill(encoders)
    optimiser = torch.optim.AdamW([p for _, p in named(encoders)], lr=LR, weight_decay=DECAY)
    result = {}
    for step in range(2):
        total, base, margin = losses(encoders, scope)
        optimiser.zero_grad()
        total.backward()
        if step == 0:
            result["loss"] = [float(total.detach()), float(base.detach()), float(margin.detach())]
            result["gradients"] = {name: whole(p.grad) for name, p in named(encoders)}
        optimiser.step()
    result["parameters_after_two_steps"] = {name: whole(p) for name, p in named(encoders)}
    for modality, net in encoders.items():
        for layer, norm in enumerate(m for m in net if isinstance(m, nn.BatchNorm1d)):
            result["parameters_after_two_steps"][f"{modality}.{layer}.norm.running_mean"] = whole(norm.running_mean)
            result["parameters_after_two_steps"][f"{modality}.{layer}.norm.running_var"] = whole(norm.running_var)
        net.eval()
    with torch.no_grad():
        result["validation_loss"] = float(nce(F.normalize(encoders["expr"](expr[VAL]), dim=1), F.normalize(encoders["cnv"](cnv[VAL]), dim=1)))
    out[scope] = result
json.dump(out, sys.stdout)
print()
