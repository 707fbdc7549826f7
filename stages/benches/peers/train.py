"""A training step of method A in plain PyTorch on the CPU: dense z-scored inputs, InfoNCE and the margin loss, AdamW.

    python train.py CELLS GENES WINDOWS        # prints milliseconds a step: median of 8 after 2
"""
import statistics, sys, time
import torch, torch.nn as nn, torch.nn.functional as F

cells, genes, windows = map(int, sys.argv[1:])
batch, drawn = 256, 5
torch.manual_seed(0)


def mlp(inputs, hidden, out):
    layers = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.1)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, out))


X = (torch.rand(cells, genes) < 0.06).float() * (torch.rand(cells, 1) * 3)
X = (X - X.mean(0)) / (X.std(0) + 1e-6)
C = torch.randn(cells, windows)
fe, fc = mlp(genes, [512, 256], 128), mlp(windows, [256, 128], 128)
optimiser = torch.optim.AdamW([*fe.parameters(), *fc.parameters()], lr=1e-3, weight_decay=1e-4)
embed = lambda i: (F.normalize(fe(X[i]), dim=1), F.normalize(fc(C[i]), dim=1))
times = []
for step in range(10):
    started = time.perf_counter()
    e, c = embed(torch.randint(cells, (batch,)))
    logits, labels = e @ c.T / 0.07, torch.arange(batch)
    loss = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    en, cn = embed(torch.randint(cells, (batch * drawn,)))
    en, cn = en.view(batch, drawn, -1), cn.view(batch, drawn, -1)
    own = 1 - (e * c).sum(1, keepdim=True)
    hinge = F.relu(own - (1 - (e[:, None] * cn).sum(2)) + 0.3) + F.relu(own - (1 - (c[:, None] * en).sum(2)) + 0.3)
    loss = loss + 0.5 * hinge.mean() / 2
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    loss.item()
    times.append((time.perf_counter() - started) * 1e3)
print(statistics.median(times[2:]))
