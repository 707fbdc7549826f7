"""A training step of method A in plain PyTorch: dense z-scored inputs, InfoNCE and the margin loss, AdamW.

    python train.py CELLS GENES WINDOWS [HOW [DEVICE [STEPS]]]

prints milliseconds a step, the median of STEPS (8) after some that are not counted; on `cuda` also the peak of the
device's memory in MiB, in the line before. HOW is

    eager      as in the paper's text: anchors and negatives in two passes, AdamW as it comes
    fair       one pass over anchors and negatives, as ours, and the fused AdamW
    compiled   `fair` under torch.compile
    bf16       `compiled` under autocast to bfloat16
"""
import statistics, sys, time
import torch, torch.nn as nn, torch.nn.functional as F

cells, genes, windows = map(int, sys.argv[1:4])
how, device, steps = (sys.argv[4:] + ["eager", "cpu", "8"][len(sys.argv) - 4:])[:3]
steps, batch, drawn = int(steps), 256, 5
one_pass = how != "eager"
torch.manual_seed(0)


def mlp(inputs, hidden, out):
    layers = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.1)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, out))


X = torch.empty(cells, genes, device=device)
for rows in torch.arange(cells).split(4096):
    n = (len(rows), genes)
    X[rows] = (torch.rand(n, device=device) < 0.06).float() * (torch.rand(n[0], 1, device=device) * 3)
X = X.sub_(X.mean(0)).div_(X.std(0) + 1e-6)
C = torch.randn(cells, windows, device=device)
fe, fc = mlp(genes, [512, 256], 128).to(device), mlp(windows, [256, 128], 128).to(device)
optimiser = torch.optim.AdamW([*fe.parameters(), *fc.parameters()], lr=1e-3, weight_decay=1e-4, fused=one_pass)
labels = torch.arange(batch, device=device)


def embed(x, c):
    return F.normalize(fe(x), dim=1), F.normalize(fc(c), dim=1)


def loss_of(x, c, x_drawn, c_drawn):
    if one_pass:
        e, c = embed(torch.cat([x, x_drawn]), torch.cat([c, c_drawn]))
        (e, en), (c, cn) = e.split([batch, batch * drawn]), c.split([batch, batch * drawn])
    else:
        (e, c), (en, cn) = embed(x, c), embed(x_drawn, c_drawn)
    logits = e @ c.T / 0.07
    loss = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    en, cn = en.view(batch, drawn, -1), cn.view(batch, drawn, -1)
    own = 1 - (e * c).sum(1, keepdim=True)
    hinge = F.relu(own - (1 - (e[:, None] * cn).sum(2)) + 0.3) + F.relu(own - (1 - (c[:, None] * en).sum(2)) + 0.3)
    return loss + 0.5 * hinge.mean() / 2


if how in ("compiled", "bf16"):
    loss_of = torch.compile(loss_of)
times = []
for step in range(2 + 8 * (how in ("compiled", "bf16")) + steps):
    started = time.perf_counter()
    anchors = torch.randint(cells, (batch,), device=device)
    negatives = torch.randint(cells, (batch * drawn,), device=device)
    with torch.autocast(device, dtype=torch.bfloat16, enabled=how == "bf16"):
        loss = loss_of(X[anchors], C[anchors], X[negatives], C[negatives])
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    loss.item()
    times.append((time.perf_counter() - started) * 1e3)
if device == "cuda":
    print(f"peak {torch.cuda.max_memory_allocated() / 2**20:.0f}")
print(statistics.median(times[-steps:]))
