"""The notebook of the documentation: it is what its script says, and it runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"

jupytext = pytest.importorskip("jupytext")
nbformat = pytest.importorskip("nbformat")


def test_the_notebook_is_made_of_its_script() -> None:
    script = jupytext.read(DOCS / "notebook.py")
    shipped = nbformat.read(DOCS / "notebook.ipynb", as_version=4)
    cells = [(cell.cell_type, cell.source) for cell in script.cells]
    assert [(cell.cell_type, cell.source) for cell in shipped.cells] == cells
    assert any(cell.get("outputs") for cell in shipped.cells), "it is shipped with its outputs"


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("scanpy")
    notebook = jupytext.read(DOCS / "notebook.py")
    # The same with short trainings. On fewer cells no gene could be tested, and there would be nothing to show.
    short = {"train.epochs": 2, "train_folds.epochs": 2}
    changed = 0
    for cell in notebook.cells:
        if "clcc_flow.run(workflow)" in cell.source:
            cell.source = cell.source.replace("run(workflow)", f"run(workflow, set={short!r})")
            changed += 1
    assert changed == 1
    module = Path(__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(module), os.environ.get("PYTHONPATH", "")]))
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    html = "".join(output.get("data", {}).get("text/html", "") for output in outputs)
    assert "<progress" in html and "results/demo/report.html" in html
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert (tmp_path / "own.h5ad").is_file()
