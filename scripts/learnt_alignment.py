# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.15.0", "numpy==2.4.6", "scipy==1.17.1", "pandas==2.3.3", "anndata==0.12.19"]
# ///
"""Learnt alignments of expression and copy number, beside the model of `discordance`.

    clcc-flow run scripts/learnt_alignment.yaml
    python scripts/learnt_alignment.py results/learnt_alignment base half few none thinned --seeds s1 s2 s3

Reads published results alone: raw counts (the zarr of `export`), clones with their log copy ratios (`dosage_clones`),
the scored cells of `discordance` and its best fit, and the planted truth. `half`, `few`, `none` and `thinned` are made of `base`, so
that cells, clones, copy numbers and noise are the same: counts of discordant cells are given back half of the response, or
all of it in seven of ten genes of the set, or in all; `thinned` is `few` with programmes that are not linear in the log.

Methods (docs/model.md, "What was tried beyond it"):
- `bp linear`: model 1 anew (one hypothesis, 40 rounds). `bp learnt`: with a state that a network predicts from a cell's
  genes of other chromosomes.
- `masked`: the learnt alignment. A cell's z is predicted from seen chromosomes, and the counts of hidden ones as state x mean
  x exp(-c z w) over its mean in the clone (c: log copy ratio, w: the gene's lost share). By gradients from nothing (`cold`)
  or from model 1 (`warm`), and `by parts`: by natural gradients, w the probability of a loss of known size.
- `contrast gated`: InfoNCE of a clone's profile on hidden chromosomes against profiles laid elsewhere on the genome, by
  residuals times how the cell departs on the seen ones. `contrast plain`: no gate, departures from normal cells.
"""
import argparse
import math
import time
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from torch.nn import functional as F

torch.set_num_threads(1)
ALTERED, LEAST_MEAN, P, DISPERSION = 0.15, 0.01, 0.3, 0.25
# Loss and share of genes that are tried; elsewhere those that `discordance` chose.
HYPOTHESIS = {"half": (0.5, 0.1), "few": (1.0, 0.03), "thinned": (1.0, 0.03)}
# Share of the held-back response that discordant cells are given back.
MADE = {"half": 0.5, "few": 1.0, "none": 1.0, "thinned": 1.0}


def table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", comment="#", dtype={"clone": str})


def dense(x) -> np.ndarray:
    return np.asarray(x.todense() if hasattr(x, "todense") else x)


class Panel:
    """Malignant cells of the clones, clone by clone, as dense tensors of n cells x g genes."""

    def __init__(self, results: Path, seed: str, setting: str):
        branch = f"{seed}.base"
        read = lambda name: table(results / "tables" / f"{name}.{branch}.tsv")
        self.found = read("discordance_cells").sort_values(["patient", "clone", "cell"]).reset_index(drop=True)
        self.fit = read("discordance_fits").query("profile == 'own'").sort_values("evidence").iloc[-1]
        truth, self.truth_genes = read("truth_cells").set_index("cell"), read("truth_genes").set_index("gene")
        self.truth = truth.loc[self.found["cell"]]
        cells = [anndata.read_zarr(p) for p in sorted(results.rglob(f"*{branch}*.zarr"))]
        self.names = cells[0].var_names
        parts = [a[a.obs_names.isin(self.found["cell"])] for a in cells]
        index = np.concatenate([a.obs_names for a in parts])
        counts = np.concatenate([dense(a.layers["counts"]).astype(np.float32) for a in parts])
        n = torch.from_numpy(counts[pd.Index(index).get_indexer(self.found["cell"])])
        groups = self.found.groupby(["patient", "clone"], sort=True).indices
        self.runs = [slice(at[0], at[-1] + 1) for at in groups.values()]
        clones = anndata.read_h5ad(results / "tables" / f"dosage_clones.{branch}.h5ad")[:, self.names]
        ids, ratio, rates = clones.obs_names, np.nan_to_num(dense(clones.layers["log_copy_ratio"])), dense(clones.X)
        row = lambda patient, end: [k for k, name in enumerate(ids) if name.startswith(f"{patient}/") and end in name]
        # Cells in no clone have no row where they are few; they inform no gene.
        c = torch.tensor(np.array([ratio[row(p, f"/tumour/{u}")].sum(0) for p, u in groups]), dtype=torch.float32)
        normal = np.array([rates[row(p, "/normal/")].sum(0) for p, _ in groups])
        self.normal = torch.tensor(normal / normal.sum(1, keepdims=True), dtype=torch.float32)
        self.chromosome = torch.as_tensor(np.unique(clones.var["chromosome"].astype(str), return_inverse=True)[1])
        self.n_chromosomes = int(self.chromosome.max()) + 1
        self.informs = torch.tensor(self.found["informs"].astype(str).eq("True").to_numpy(np.float32))
        self.patient, self.rng = self.found["patient"].to_numpy(), np.random.default_rng(int(seed[1:]))
        self.set = self.truth_genes.reindex(self.names)["escape_state"].astype(str).eq("True").to_numpy()
        if setting in MADE:
            n = self.give_back(n, table(results / "tables" / f"truth_events.{branch}.tsv"), setting)
        self.profile = torch.where(c.abs() >= ALTERED, c, 0.0)
        self.count(self.switched(n) if setting == "thinned" else n)

    def count(self, n: torch.Tensor) -> None:
        """Residuals and what they are made of, from counts."""
        self.n, self.library, depth = n, n.sum(1), torch.zeros(len(n))
        self.clone = torch.cat([torch.full((r.stop - r.start,), u) for u, r in enumerate(self.runs)])
        for run in self.runs:
            depth[run] = self.library[run] / self.library[run].mean()
        self.mu, self.depth = torch.stack([n[run].mean(0) for run in self.runs]), depth[:, None]
        has = self.mu >= LEAST_MEAN
        self.mu = self.mu * has
        phi = moments(n, self.depth * self.mu[self.clone])
        sd = (self.mu + phi * self.mu**2).sqrt().clamp(min=1e-6)
        self.base, self.copy = self.mu / sd, torch.where(has, self.profile, 0.0)
        r = n / self.depth.sqrt() / sd[self.clone] - self.depth.sqrt() * self.base[self.clone]
        self.residual = torch.where(has[self.clone], r.clamp(max=math.sqrt(len(n))), 0.0)
        self.scale = (self.base[self.clone] ** 2).mean(0).sqrt()
        self.altered = (self.copy != 0).any(0)

    def give_back(self, n: torch.Tensor, events: pd.DataFrame, setting: str) -> torch.Tensor:
        """Multiply the rates of genes of the set in discordant cells by what they hold back of the response.

        Counts are gamma-Poisson: below 1 they are thinned, above 1 they get a Poisson count of their rate's posterior.
        """
        genes = np.flatnonzero(self.set)
        if setting in ("few", "thinned"):
            genes = genes[self.rng.random(len(genes)) < 0.7]
        if setting != "half":
            self.set[genes] = False
        place = self.truth_genes.reindex(self.names[genes])
        for (patient, clone), of in self.truth[self.truth["discordant"].astype(str) == "True"].groupby(["patient", "clone"]):
            log_ratio = np.zeros(len(genes))
            for e in events[(events["patient"] == patient) & (events["clone"] == clone)].itertuples():
                inside = (place["chromosome"] == e.chromosome) & (place["start"] >= e.start) & (place["end"] <= e.end)
                log_ratio[inside] = math.log(e.ratio)
            f = np.exp(log_ratio * place["slope"].to_numpy() * MADE[setting])
            at = np.ix_(self.truth.index.get_indexer(of.index), genes)
            own = n.numpy()[at]
            library = n.numpy()[at[0][:, 0]].sum(1, keepdims=True)
            m = np.maximum(own.sum(0) / library.sum() * library, 1e-6)
            rate = self.rng.gamma(1 / DISPERSION + own, 1 / (1 / (DISPERSION * m) + 1))
            more = own + self.rng.poisson(np.maximum(f - 1, 0) * rate)
            n.numpy()[at] = np.where(f > 1, more, self.rng.binomial(own.astype(int), np.minimum(f, 1)))
        return n

    def switched(self, n: torch.Tensor, depth: float = 3.0, n_latent: int = 4) -> torch.Tensor:
        """Thin by exp(-3) to 1: a quarter of the genes switch, each at a threshold of its own along one of four
        gradients, and a tenth where two gradients are high."""
        r, g = self.rng, n.shape[1]
        a, first, second, kind = r.normal(size=(len(n), n_latent)), r.integers(n_latent, size=g), r.integers(n_latent, size=g), r.random(g)
        on = lambda x: 1 / (1 + np.exp(-4 * x))
        off = on(a[:, first] - r.normal(size=g)) * (kind < 0.25)
        off += on(a[:, first] - 0.2) * on(a[:, second] - 0.2) * ((kind >= 0.25) & (kind < 0.35))
        return torch.tensor(r.binomial(n.numpy().astype(int), np.exp(-depth * off)), dtype=torch.float32)

    def hide(self, generator: torch.Generator | None = None, share: float = 0.5) -> torch.Tensor:
        """1 for the genes of a random half (or `share`) of the chromosomes."""
        return (torch.randperm(self.n_chromosomes, generator=generator) < self.n_chromosomes * share).float()[self.chromosome]

    def relaid(self, generator: torch.Generator) -> torch.Tensor:
        """The clones' profiles laid elsewhere on the genome: chromosomes in another order, from another start."""
        order = torch.randperm(self.n_chromosomes, generator=generator)
        source = torch.argsort(torch.argsort(order)[self.chromosome], stable=True)
        out = torch.zeros_like(self.profile)
        out[:, torch.argsort(self.chromosome, stable=True)] = self.profile[:, source]
        return torch.where(self.base > 0, out, 0.0)


def moments(n: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
    """Overdispersion of each gene by moments around expected counts."""
    return (((n - m) ** 2 - m).sum(0) / (m**2).sum(0).clamp(min=1e-9)).clamp(0.01, 10)


def programmes(panel: Panel, k: int = 14, sweeps: int = 20) -> torch.Tensor:
    """Sparse factor analysis of the residuals, as model 1 has it: scores n x k and loadings g x k."""
    r, b, n = panel.residual, panel.scale.clamp(min=1e-6), len(panel.residual)
    used, turn = panel.scale > 0, torch.eye(k)
    u = torch.svd_lowrank(r * b.sqrt(), q=k + 6, niter=3)[0][:, :k]
    for _ in range(60):  # varimax
        y = u @ turn
        left, _, right = torch.linalg.svd(u.T @ (y**3 - y * (y**2).mean(0)))
        turn = left @ right
    x = u @ turn * math.sqrt(n)
    loadings, size, share, v = r.T @ x / n, torch.full((k,), 0.3), torch.full((k,), 0.04), torch.zeros(k, k)
    for _ in range(sweeps):
        xx, xr, variance = x.T @ x + n * v, r.T @ x, torch.zeros(k)
        for f in range(k):
            slab = (size[f] * b) ** 2
            var = 1 / (xx[f, f] + 1 / slab)
            m = var * (xr[:, f] - loadings @ xx[f] + xx[f, f] * loadings[:, f])
            p = torch.sigmoid(0.5 * torch.log(var / slab) + m**2 / (2 * var) + torch.logit(share[f])) * used
            loadings[:, f] = p * m
            variance[f] = (p * (var + m**2) - (p * m) ** 2).sum()
            size[f] = ((p * (var + m**2)).sum() / (p * b**2).sum().clamp(min=1e-9)).sqrt().clamp(0.1, 1.5)
            share[f] = (p.sum() / used.sum()).clamp(0.002, 0.5)
        v = torch.linalg.inv(loadings.T @ loadings + torch.diag(1 + variance))
        x = r @ loadings @ v
        s = ((x**2).mean(0) + v.diag()).sqrt()
        x, v, loadings = x / s, v / s[:, None] / s, loadings * s
    return x, loadings


class State(torch.nn.Module):
    """What a cell's genes of seen chromosomes say of its other genes: linear programmes, and a network beside them."""

    def __init__(self, panel: Panel, loadings: torch.Tensor, width: int = 48):
        super().__init__()
        (g, k), self.scale = loadings.shape, panel.scale
        self.loadings, self.inputs = torch.nn.Parameter(loadings.clone()), torch.nn.Linear(g, 16)
        self.hidden = torch.nn.Sequential(torch.nn.Linear(16 + k, width), torch.nn.GELU(), torch.nn.Linear(width, width),
                                          torch.nn.GELU(), torch.nn.Dropout(0.1))
        self.out = torch.nn.Linear(width, g, bias=False)
        torch.nn.init.normal_(self.inputs.weight, std=1 / math.sqrt(g))
        torch.nn.init.zeros_(self.out.weight)

    def forward(self, r: torch.Tensor, seen: torch.Tensor, network: bool = True) -> torch.Tensor:
        """Expected residuals of all genes, from those of genes where `seen` is 1."""
        b = self.loadings * seen[:, None]
        x = torch.linalg.solve(torch.eye(b.shape[1]) + b.T @ b, (r @ b).T).T
        linear = x @ self.loadings.T
        if not network:
            return linear
        return linear + self.out(self.hidden(torch.cat([self.inputs(r * seen / seen.mean()), x], 1))) * self.scale


def learn_state(panel: Panel, loadings: torch.Tensor, epochs: int = 12, lr: float = 3e-3) -> tuple[State, dict]:
    """Train on hidden halves of the chromosomes; keep the epoch that predicts cells held out (one in eight) best."""
    state, r, held = State(panel, loadings), panel.residual, torch.arange(len(panel.residual)) % 8 == 0
    train, mask = (~held).nonzero()[:, 0], panel.hide(torch.Generator().manual_seed(1))
    network = [p for name, p in state.named_parameters() if name != "loadings"]
    groups = [{"params": [state.loadings], "lr": lr / 10, "weight_decay": 0.0}, {"params": network}]
    optimizer = torch.optim.AdamW(groups, lr=lr, weight_decay=0.05)

    @torch.no_grad()
    def gain(use: bool) -> float:
        """Share of the variance of hidden residuals that is predicted, in cells held out."""
        state.eval()
        error = ((r[held] - state(r[held], 1 - mask, use)) ** 2 * mask).sum() / (r[held] ** 2 * mask).sum()
        state.train()
        return 1 - float(error)

    scores = {"linear": gain(False), "learnt": gain(True)}
    best = {k: v.clone() for k, v in state.state_dict().items()}
    for _ in range(epochs):
        for batch in train[torch.randperm(len(train))].split(128):
            m = panel.hide()
            loss = (((r[batch] - state(r[batch], 1 - m)) ** 2) * m).sum() / m.sum() / len(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if (now := gain(True)) > scores["learnt"]:
            scores["learnt"], best = now, {k: v.clone() for k, v in state.state_dict().items()}
    state.load_state_dict(best)
    return state.eval(), scores


@torch.no_grad()
def predicted(panel: Panel, state: State, folds: int = 4) -> torch.Tensor:
    """Each gene's expected residual by genes of other chromosomes, a quarter of the chromosomes at a time."""
    out = torch.zeros_like(panel.residual)
    for f in range(folds):
        hidden = (panel.chromosome % folds == f).float()
        out += state(panel.residual, 1 - hidden) * hidden
    return out


class Counts:
    """Counts of each clone's altered genes, and what the cells' state leads one to expect."""

    def __init__(self, panel: Panel, offsets: torch.Tensor):
        mult = (offsets / panel.base.clamp(min=1e-6)[panel.clone]).clamp_(-1.5, 2).exp_()
        for run in panel.runs:
            mult[run] /= (mult[run] * panel.depth[run]).sum(0) / panel.depth[run].sum()
        m = mult.mul_(panel.mu[panel.clone]).mul_(panel.depth)
        phi = moments(panel.n, m)
        self.panel, self.genes = panel, panel.copy.shape[1]
        self.at = [c.nonzero()[:, 0] for c in panel.copy]
        self.c = [panel.copy[u, at] for u, at in enumerate(self.at)]
        self.n, self.m = ([x[run][:, at] for run, at in zip(panel.runs, self.at)] for x in (panel.n, m))
        self.phi = [phi[at] for at in self.at]

    def of_set(self, u: int, loss: float) -> list[torch.Tensor]:
        """Log likelihood ratios of clone u's concordant and discordant cells, for a gene of the set."""
        rho = torch.exp(-loss * self.c[u])
        concordant, phi, m, n = -torch.log(1 + P * (rho - 1)), self.phi[u], self.m[u], self.n[u]
        log = lambda level: n * level - (n + 1 / phi) * torch.log((1 + phi * level.exp() * m) / (1 + phi * m))
        return [log(level).clamp_(-12, 12) for level in (concordant, concordant - loss * self.c[u])]


@torch.no_grad()
def propagate(counts: Counts, loss: float, share: float, rounds: int = 40) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Belief propagation: log odds of cells and of genes, and Bethe's free energy."""
    panel, lp, lpi = counts.panel, math.log(P / (1 - P)), math.log(share / (1 - share))
    e = [[x.exp_() for x in counts.of_set(u, loss)] for u in range(len(counts.c))]
    to_cell, to_gene = [torch.zeros_like(x) for x, _ in e], [torch.zeros_like(x) for x, _ in e]
    lq, lz = torch.full((counts.genes,), lpi), torch.zeros(len(panel.n))
    informs = [float(panel.informs[run].mean() > 0.5) for run in panel.runs]
    for k in range(rounds):
        keep, total = (0.5 if k else 0.0), torch.full_like(lq, lpi)
        for u, (e0, e1) in enumerate(e):
            q = torch.sigmoid(lq[counts.at[u]] - to_gene[u])
            to_cell[u] = to_cell[u].mul_(keep) + (1 - keep) * torch.log((1 + q * (e1 - 1)) / (1 + q * (e0 - 1)))
            lz[panel.runs[u]] = lp + to_cell[u].sum(1)
            z = torch.sigmoid(lz[panel.runs[u], None] - to_cell[u])
            to_gene[u] = to_gene[u].mul_(keep) + (1 - keep) * torch.log(e0 + z * (e1 - e0))
            total.index_add_(0, counts.at[u], to_gene[u].sum(0) * informs[u])
        lq = total
    energy, genes = 0.0, torch.zeros_like(lq)
    for u, (e0, e1) in enumerate(e):
        q, z = torch.sigmoid(lq[counts.at[u]] - to_gene[u]), torch.sigmoid(lz[panel.runs[u], None] - to_cell[u])
        x = e0 + z * (e1 - e0)
        side = [torch.log1p(q * (y - 1)).sum(1) + w for y, w in ((e0, math.log(1 - P)), (e1, math.log(P)))]
        energy += informs[u] * float((torch.logaddexp(*side) - torch.log1p(q * (x - 1)).sum(1)).sum())
        genes.index_add_(0, counts.at[u], torch.log(x).sum(0) * informs[u])
    genes = torch.logaddexp(torch.tensor(math.log(1 - share)), math.log(share) + genes)[panel.altered]
    return lz, lq, energy + float(genes.sum())


def masked(counts: Counts, start: torch.Tensor, steps: int = 80, lr: float = 0.1, prior: float = 1.0) -> dict:
    """The learnt alignment by gradients: lost shares w of the genes by predicting counts of hidden chromosomes; `start` has the first w.

    A cell's log odds are a + k x the sum over seen genes of w times its log likelihood ratio of a large loss. The hidden
    counts' likelihood has the gradient (n - m) / (1 + phi m) in log m, and log m is of rank one in a clone, so a step takes
    one exponential a pair. The prior of w is exponential.
    """
    panel, use = counts.panel, counts.panel.informs
    tables = [counts.of_set(u, 0.7) for u in range(len(counts.c))]
    evidence = [high - low for low, high in tables]
    logit_w = torch.logit(start.clamp(0.02, 0.98)).requires_grad_()
    line = torch.tensor([math.log(P / (1 - P)), 0.0], requires_grad=True)
    optimizer = torch.optim.Adam([{"params": [logit_w], "lr": lr}, {"params": [line], "lr": 0.03}])
    for _ in range(steps):
        hidden = panel.hide()
        w = torch.sigmoid(logit_w)
        loss = prior * (w * panel.altered).sum() / 2
        for u, run in enumerate(panel.runs):
            at, hide = counts.at[u], hidden[counts.at[u]]
            z = torch.sigmoid(line[0] + line[1].exp() * (evidence[u] @ (w[at] * (1 - hide))))
            cw = counts.c[u] * w[at] * hide
            shift = torch.log1p(P * torch.expm1(-cw))
            with torch.no_grad():
                some = hide.nonzero()[:, 0]
                m = torch.exp(-z[:, None] * cw[some] - shift[some]).mul_(counts.m[u][:, some])
                gradient = counts.n[u][:, some].sub_(m).div_(m.mul_(counts.phi[u][some]).add_(1)).mul_(use[run, None])
                of_z, of_cw, of_all = gradient @ cw[some], z @ gradient, gradient.sum(0)
            loss = loss + z @ of_z + cw[some] @ of_cw + shift[some] @ of_all
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    w, (a, k) = torch.sigmoid(logit_w).detach(), line.detach()
    cells = torch.cat([a + k.exp() * (evidence[u] @ w[at]) for u, at in enumerate(counts.at)])
    return {"cells": cells, "genes": w, "parameters": int(panel.altered.sum()) + 2}


@torch.no_grad()
def masked_by_parts(counts: Counts, loss: float, share: float, steps: int = 40, rate: float = 0.5) -> tuple:
    """The learnt alignment by natural gradients: w is the probability that a gene of known loss is in the set (spike and
    slab), and moves towards what the counts of hidden chromosomes say, given z by the seen ones."""
    panel, lp, lpi = counts.panel, math.log(P / (1 - P)), math.log(share / (1 - share))
    e, lq = [[x.exp_() for x in counts.of_set(u, loss)] for u in range(len(counts.c))], torch.full((counts.genes,), lpi)

    def cells(seen: torch.Tensor) -> torch.Tensor:
        q = [torch.sigmoid(lq[at]) * seen[at] for at in counts.at]
        return lp + torch.cat([torch.log((1 + q * (e1 - 1)) / (1 + q * (e0 - 1))).sum(1) for q, (e0, e1) in zip(q, e)])

    for k in range(steps):
        hidden = panel.hide(share=0.25)
        z, total = torch.sigmoid(cells(1 - hidden)), torch.full_like(lq, lpi)
        for u, (run, (e0, e1)) in enumerate(zip(panel.runs, e)):
            some = hidden[counts.at[u]].nonzero()[:, 0]
            says = torch.log(e0[:, some] + z[run, None] * (e1[:, some] - e0[:, some])) * panel.informs[run, None]
            total.index_add_(0, counts.at[u][some], says.sum(0))
        lq = torch.where(hidden > 0, lq + (rate if k > 3 else 1.0) * (total - lq), lq)
    return cells(torch.ones_like(lq)), lq


def contrast(panel: Panel, residual: torch.Tensor, gated: bool, steps: int = 60, lr: float = 0.15, n_relaid: int = 7) -> dict:
    """InfoNCE of each cell's own profile against relaid ones on hidden chromosomes; the genes' weights b are learnt.

    Alignment of cell i with profile c: the sum over hidden genes of b_g residual_ig base_ug c_ug. Gated, it is multiplied by
    the cell's own alignment on seen chromosomes, less its clone's mean, in standard deviations.
    """
    generator = torch.Generator().manual_seed(0)
    profiles = torch.stack([panel.copy] + [panel.relaid(generator) for _ in range(n_relaid)])
    raw, heat = torch.zeros(residual.shape[1], requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([{"params": [raw], "lr": lr}, {"params": [heat], "lr": 0.05}])

    def align(weights: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        return torch.cat([residual[run] @ (weights * panel.base[u] * which[:, u]).T for u, run in enumerate(panel.runs)])

    def gate(weights: torch.Tensor) -> torch.Tensor:
        a = align(weights, profiles[:1])[:, 0]
        a = torch.cat([a[run] - a[run].mean() for run in panel.runs])
        return a / a.std().clamp(min=1e-6)

    for _ in range(steps):
        hidden, b = panel.hide(), F.softplus(raw)
        a = align(b * hidden, profiles)
        a = a / a.detach().std() * (gate(b * (1 - hidden))[:, None] if gated else 1.0)
        loss = -(F.log_softmax(a * heat.exp(), 1)[:, 0] * panel.informs).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        b, genes = F.softplus(raw), torch.zeros(residual.shape[1])
        for k in range(panel.n_chromosomes):
            here = panel.chromosome == k
            g = gate(b * ~here) * panel.informs
            for u, run in enumerate(panel.runs):
                genes[here] += (g[run] @ residual[run][:, here]) * panel.base[u, here] * panel.copy[u, here]
        return {"cells": -align(b, profiles[:1])[:, 0], "genes": genes * b, "parameters": len(b) + 1}


def auroc(score: np.ndarray, label: np.ndarray) -> float:
    a, b = int(label.sum()), int((~label).sum())
    return (rankdata(score)[label].sum() - a * (a + 1) / 2) / (a * b) if a and b else math.nan


def judge(panel: Panel, cells: np.ndarray, genes: np.ndarray) -> list[float]:
    """AUROC of malignant cells (mean over patients) and of altered, expressed genes without constitutive escape."""
    true = lambda column: column.astype(str).eq("True").to_numpy()
    of = [true(panel.truth["malignant"]) & (panel.patient == p) for p in np.unique(panel.patient)]
    discordant = true(panel.truth["discordant"])
    constitutive = true(panel.truth_genes.reindex(panel.names)["escape_constitutive"])
    keep = panel.altered.numpy() & ((panel.n > 0).float().mean(0).numpy() >= 0.05) & ~constitutive
    return [np.mean([auroc(cells[i], discordant[i]) for i in of]), auroc(genes[keep], panel.set[keep])]


def methods(panel: Panel, setting: str, chosen: list[str]):
    """Yields method, scores of cells, scores of genes, evidence, seconds, parameters."""
    clock = time.process_time
    start = clock()
    x, loadings = programmes(panel)
    linear = x @ loadings.T
    counts, of_state = Counts(panel, linear), clock() - start
    loss, share = HYPOTHESIS.get(setting, (panel.fit["loss"], panel.fit["gene_share"]))
    start = clock()
    lz, lq, evidence = propagate(counts, loss, share)
    yield "bp linear", lz, lq, evidence, of_state + clock() - start, loadings.numel()
    start = clock()
    cells, genes = masked_by_parts(counts, loss, share)
    yield "masked by parts", cells, genes, math.nan, of_state + clock() - start, int(panel.altered.sum())
    for name, first in {"cold": torch.full_like(lq, 0.12), "warm": torch.sigmoid(lq)}.items():
        if name not in chosen:
            continue
        start = clock()
        out = masked(counts, first)
        yield f"masked {name}", out["cells"], out["genes"], math.nan, of_state + clock() - start, out["parameters"]
    if "gated" in chosen:
        start = clock()
        out = contrast(panel, panel.residual - linear, gated=True)
        yield "contrast gated", out["cells"], out["genes"], math.nan, of_state + clock() - start, out["parameters"]
    if "plain" in chosen:
        start = clock()
        m = panel.library[:, None] * panel.normal[panel.clone]
        out = contrast(panel, (panel.n - m) / (m + DISPERSION * m**2).sqrt().clamp(min=0.1), gated=False)
        yield "contrast plain", out["cells"], out["genes"], math.nan, clock() - start, out["parameters"]
    if "state" in chosen:
        start = clock()
        state, scores = learn_state(panel, loadings)
        counts = Counts(panel, predicted(panel, state))
        of_state, size = clock() - start, sum(p.numel() for p in state.parameters())
        print(f"# variance of hidden residuals predicted: linear {scores['linear']:.5f}, learnt {scores['learnt']:.5f}", flush=True)
        start = clock()
        lz, lq, evidence = propagate(counts, loss, share)
        yield "bp learnt", lz, lq, evidence, of_state + clock() - start, size
        start = clock()
        cells, genes = masked_by_parts(counts, loss, share)
        yield "masked by parts, learnt", cells, genes, math.nan, of_state + clock() - start, size + int(panel.altered.sum())


def report(results: Path, setting: str, seed: str, chosen: list[str]) -> None:
    torch.manual_seed(0)
    panel = Panel(results, seed, setting)
    for method, cells, genes, evidence, seconds, parameters in methods(panel, setting, chosen):
        scores = "\t".join(f"{x:.3f}" for x in judge(panel, np.asarray(cells), np.asarray(genes)))
        print(f"{setting}\t{seed}\t{method}\t{scores}\t{evidence:.1f}\t{seconds:.1f}\t{parameters}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("settings", nargs="+")
    parser.add_argument("--seeds", nargs="+", default=["s1", "s2", "s3"])
    parser.add_argument("--with", dest="chosen", nargs="*", default=["cold", "warm", "gated", "plain", "state"])
    args = parser.parse_args()
    print("setting\tseed\tmethod\tcells\tgenes\tevidence\tseconds\tparameters", flush=True)
    for setting in args.settings:
        for seed in args.seeds:
            report(args.results, setting, seed, args.chosen)


if __name__ == "__main__":
    main()
