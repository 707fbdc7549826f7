"""Terms, gradients and two Adam steps of the anchors objective in PyTorch (f64), for a batch that a formula makes.

    python anchors_step.py > anchors_step.json

The formulas are repeated in stages/align/src/train/anchors/tests.rs. Every array is reported whole, in torch's row-major order.
"""
import json, sys
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F

N, G, M, H, HEAD, Z, K = 14, 40, 5, 6, 7, 5, 2
HIDDEN = {"expr": [16, 8], "cnv": [8, 6]}
CELLS = [0, 1, 2, 3, 4, 5, 6, 7]
VAL = [11, 12, 13]
TAU, LR, DECAY, CLIP, W_CENTROID, W_H = 0.2, 0.01, 0.1, 0.5, 0.3, 0.05
OWN = torch.arange(N) * 3 % M


def single(x):
    return torch.tensor(np.asarray(x, dtype=np.float32).astype(np.float64))


def wave(n, a, b):
    return np.sin(a * np.arange(n) + b)


expr = single(np.maximum(0, wave(N * G, 1.7, 0.3) - 0.4) * 2).reshape(N, G) - single(0.1 * wave(G, 0.9, 1.0))
states = single(np.round(wave(M * G, 2.3, 0.7)) / 2).reshape(M, G)


class Net(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        layers, width = [], G
        for w in hidden:
            layers += [nn.Linear(width, w), nn.BatchNorm1d(w), nn.ReLU()]
            width = w
        self.body = nn.Sequential(*layers, nn.Linear(width, H)).double()
        self.head = nn.Sequential(nn.Linear(H, HEAD), nn.ReLU(), nn.Linear(HEAD, Z)).double()

    def forward(self, x):
        h = self.body(x)
        return h, F.normalize(self.head(h), dim=1)


def named(name, net):
    """Parameters in the order and under the names of ours."""
    layer = 0
    for module in net.body:
        if isinstance(module, nn.Linear):
            yield f"{name}.{layer}.weight", module.weight
            yield f"{name}.{layer}.bias", module.bias
        elif isinstance(module, nn.BatchNorm1d):
            yield f"{name}.{layer}.norm.weight", module.weight
            yield f"{name}.{layer}.norm.bias", module.bias
            layer += 1
    for layer, module in enumerate([net.head[0], net.head[2]]):
        yield f"{name}.head.{layer}.weight", module.weight
        yield f"{name}.head.{layer}.bias", module.bias


def nets():
    both = {name: Net(hidden) for name, hidden in HIDDEN.items()}
    all_named = [p for name, net in both.items() for p in named(name, net)]
    for p, (name, parameter) in enumerate(all_named):
        values = wave(parameter.numel(), 0.37 + 0.01 * p, p)
        if name.endswith("norm.weight"):
            values = 1 + 0.2 * values
        elif parameter.dim() == 2:
            values = values / np.sqrt(parameter.shape[1])
        else:
            values = 0.1 * values
        parameter.data = single(values).reshape(parameter.shape)
    return both


def nce(z, bank, own):
    logits = z @ bank.T / TAU
    positive = logits.gather(1, own[:, None])
    others = logits.masked_fill(F.one_hot(own, M).bool(), -torch.inf)
    hardest = others.topk(K, dim=1).values
    return F.cross_entropy(torch.cat([positive, hardest], 1), torch.zeros(len(z), dtype=torch.long))


def terms(net, bank, centroids, space):
    h, z = net(expr[CELLS])
    own = OWN[CELLS]
    a = nce(z, bank[1], own)
    b = ((z if space == "z" else h) - centroids[own]).pow(2).sum(1).mean()
    c = (h - bank[0][own]).pow(2).sum(1).mean()
    return a + W_CENTROID * b + W_H * c, a, b, c


def whole(t):
    return t.detach().flatten().tolist()


out = {"torch": torch.__version__, "numpy": np.__version__}
for space in ["z", "h"]:
    both = nets()
    net = both["expr"]
    with torch.no_grad():
        bank = both["cnv"](states)
    width = Z if space == "z" else H
    centroids = single(0.5 * wave(M * width, 1.3, 0.2)).reshape(M, width)
    parameters = [p for _, p in named("expr", net)]
    optimiser = torch.optim.Adam(parameters, lr=LR, weight_decay=DECAY)
    result = {"bank_h": whole(bank[0]), "bank_z": whole(bank[1])}
    for step in range(2):
        found = terms(net, bank, centroids, space)
        optimiser.zero_grad()
        found[0].backward()
        if step == 0:
            result["loss"] = [float(t.detach()) for t in found]
            result["gradients"] = {name: whole(p.grad) for name, p in named("expr", net)}
        length = nn.utils.clip_grad_norm_(parameters, CLIP)
        if step == 0:
            result["length"] = float(length)
        optimiser.step()
    after = {name: whole(p) for name, p in named("expr", net)}
    for layer, norm in enumerate(m for m in net.body if isinstance(m, nn.BatchNorm1d)):
        after[f"expr.{layer}.norm.running_mean"] = whole(norm.running_mean)
        after[f"expr.{layer}.norm.running_var"] = whole(norm.running_var)
    result["parameters_after_two_steps"] = after
    net.eval()
    with torch.no_grad():
        result["validation_loss"] = float(nce(net(expr[VAL])[1], bank[1], OWN[VAL]))
    out[space] = result
json.dump(out, sys.stdout)
print()
