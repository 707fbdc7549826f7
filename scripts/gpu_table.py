"""The table of scripts/gpu-check.sh: what its runs wrote in a folder, as Markdown; fails where the device's losses leave
the range of the CPU's seeds.

    python gpu_table.py OUT DEVICE
"""
import json, pathlib, sys

out, device = pathlib.Path(sys.argv[1]), sys.argv[2]


def runs(name):
    path = out / f"{name}.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.startswith("{")]


def last_lines(name):
    path = out / f"{name}.txt"
    return path.read_text().split("\n")[:-1][-2:] if path.exists() else []


def outside(curves):
    """By how much of the CPU's range, at each epoch widened by itself on both sides, the device's losses leave it."""
    cpu, other = curves[: len(curves) // 2], curves[len(curves) // 2 :]
    worst = 0.0
    for epoch in range(min(len(r["val_loss"]) for r in curves)):
        seeds = [r["val_loss"][epoch] for r in cpu]
        low, high = min(seeds), max(seeds)
        room = max(high - low, 1e-6 * abs(high))
        for run in other:
            loss = run["val_loss"][epoch]
            worst = max(worst, (low - loss) / room, (loss - high) / room)
    return worst


card = (out / "card.txt").read_text().strip() if (out / "card.txt").exists() else "CPU"
rows, good = [f"Device: {card}", ""], True
rows += ["| run | ms a step | steps a second | seconds to the early stop | epochs (best) | device memory, MiB | MRR |"]
rows += ["|---|---|---|---|---|---|---|"]
memory = [int(v) for v in (out / "memory.txt").read_text().split()] if (out / "memory.txt").exists() else []
for run in runs("whole"):
    rate, mrr = run["steps_per_second"], run["mrr"]
    peak = f"{max(memory)} (most of all runs)" if memory else "-"
    rows.append(
        f"| clcc-flow, {run['precision']} | {1e3 / rate:.1f} | {rate:.1f} | {run['seconds']:.1f} "
        f"| {run['epochs']} ({run['best_epoch']}) | {peak} | {mrr:.4f} |"
    )
good &= bool(runs("whole"))
for how in ["eager", "fair", "compiled", "bf16"]:
    lines = last_lines(f"torch-{how}")
    if lines:
        ms = float(lines[-1])
        peak = lines[0].removeprefix("peak ") if lines[0].startswith("peak") else "-"
        rows.append(f"| PyTorch, {how} | {ms:.1f} | {1e3 / ms:.1f} | - | - | {peak} | - |")
curves = runs("curves")
if len(curves) == 6:
    worst = outside(curves)
    good &= worst <= 1.0
    verdict = "within" if worst <= 1.0 else "OUTSIDE"
    rows += ["", f"Validation losses of three seeds on {device}: {verdict} the CPU seeds' range widened by itself "]
    rows[-1] += f"(farthest: {worst:.2f} of the range beyond it)."
else:
    rows += ["", f"Validation losses: {len(curves)} runs of 6 ended, so they are not compared."]
    good = False
rows += ["", "| part | seconds |", "|---|---|"]
for line in (out / "seconds.txt").read_text().splitlines():
    rows.append("| {} | {} |".format(*line.split("\t")))
(out / "table.md").write_text("\n".join(rows) + "\n")
sys.exit(not good)
