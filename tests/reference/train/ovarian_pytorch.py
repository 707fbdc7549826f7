"""Method A in dense PyTorch on the exported ovarian splits, five seeds: the quality that our training is held to.

    python ovarian_pytorch.py 1=seed1.npz 2=seed2.npz ... > ovarian_pytorch.jsonl

Settings: z-scores by the training cells; exact all-pairs hard negatives on the raw vectors (copy-number cosine > .5, expression
cosine < .3, the 10 lowest); anchors and negatives in passes of their own (separate batch-norm statistics); InfoNCE at .07 +
.5 margin (.3), 5 negatives an epoch; AdamW 1e-3, decay 1e-4; batch 256; dropout .1; cosine over 60 epochs, patience 10 on the
validation InfoNCE over all validation cells. Ties in a rank count against the model. One JSON line of results a seed.
"""
import json, sys, time
import numpy as np, scipy.sparse as sp, torch, torch.nn as nn, torch.nn.functional as F

EPOCHS, PATIENCE, BATCH, KEPT, DRAWN = 60, 10, 256, 10, 5


def mlp(inputs, hidden, out):
    layers = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.1)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, out))


def nce(e, c):
    logits, labels = e @ c.T / 0.07, torch.arange(len(e))
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def hard_negatives(X, C):
    X, C = F.normalize(X, dim=1), F.normalize(C, dim=1)
    e = torch.where(C @ C.T > 0.5, X @ X.T, torch.tensor(9.0)).fill_diagonal_(9.0)
    cosine, cell = e.topk(KEPT, largest=False)
    return cell, cosine < 0.3


def retrieval(similarity):
    rank = (similarity >= similarity.diag()[:, None]).sum(1)
    top = {f"top{k}": float((rank <= k).float().mean()) for k in (1, 5, 10)}
    return {**top, "mrr": float((1 / rank).mean()), "median_rank": float(rank.float().median())}


def run(seed, path):
    d = np.load(path)
    X = torch.tensor(sp.csr_matrix((d["data"], d["indices"], d["indptr"]), shape=(len(d["part"]), int(d["genes"]))).toarray(), dtype=torch.float32)
    C = torch.tensor(d["cnv"])
    train, val, test = (torch.tensor(np.flatnonzero(d["part"] == p)) for p in ("train", "val", "test"))
    negative, ok = hard_negatives(X[train], C[train])
    anchors = int(ok.any(1).sum())
    z = lambda M: (M - M[train].mean(0)) / (M[train].std(0) + 1e-6)
    X, C = z(X), z(C)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    fe, fc = mlp(X.shape[1], [512, 256], 128), mlp(C.shape[1], [256, 128], 128)
    embed = lambda i: (F.normalize(fe(X[i]), dim=1), F.normalize(fc(C[i]), dim=1))
    optimiser = torch.optim.AdamW([*fe.parameters(), *fc.parameters()], lr=1e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS)
    best, best_epoch, kept, losses, started = 9e9, 0, None, [], time.time()
    for epoch in range(EPOCHS):
        fe.train(), fc.train()
        order = rng.permutation(len(train))
        for at in range(0, len(order) - 1, BATCH):
            q = order[at : at + BATCH]
            e, c = embed(train[q])
            loss = nce(e, c)
            pick = torch.tensor(np.array([rng.permutation(KEPT)[:DRAWN] for _ in q]))
            cells, mask = negative[q].gather(1, pick), ok[q].gather(1, pick)
            if mask.any():
                en, cn = embed(train[cells.flatten()])
                en, cn = en.view(len(q), DRAWN, -1), cn.view(len(q), DRAWN, -1)
                own = 1 - (e * c).sum(1, keepdim=True)
                hinge = F.relu(own - (1 - (e[:, None] * cn).sum(2)) + 0.3) + F.relu(own - (1 - (c[:, None] * en).sum(2)) + 0.3)
                some = mask.any(1)
                loss = loss + 0.5 * ((hinge * mask).sum(1)[some] / mask.sum(1)[some]).mean() / 2
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
        fe.eval(), fc.eval()
        with torch.no_grad():
            losses.append(float(nce(*embed(val))))
        if losses[-1] < best:
            best, best_epoch, kept = losses[-1], epoch + 1, [{k: v.clone() for k, v in f.state_dict().items()} for f in (fe, fc)]
        elif epoch + 1 - best_epoch >= PATIENCE:
            break
    seconds = time.time() - started
    fe.load_state_dict(kept[0]), fc.load_state_dict(kept[1])
    with torch.no_grad():
        e, c = embed(test)
        s = e @ c.T
    both = {"expr_to_cnv": retrieval(s), "cnv_to_expr": retrieval(s.T)}
    mrr = (both["expr_to_cnv"]["mrr"] + both["cnv_to_expr"]["mrr"]) / 2
    return {"seed": seed, "mrr": mrr, **both, "best_epoch": best_epoch, "epochs": len(losses), "best_val_loss": best, "anchors_with_negative": anchors, "train_cells": len(train), "test_cells": len(test), "seconds": round(seconds, 1)}


print(json.dumps({"torch": torch.__version__, "numpy": np.__version__, "threads": torch.get_num_threads()}), flush=True)
for argument in sys.argv[1:]:
    seed, path = argument.split("=")
    print(json.dumps(run(int(seed), path)), flush=True)
