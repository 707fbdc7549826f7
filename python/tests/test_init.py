"""``init``: a workflow from an AnnData."""

from __future__ import annotations

from pathlib import Path

import anndata
import pytest

import clcc_flow
from conftest import Demo


@pytest.fixture(scope="module")
def counts(demo: Demo) -> anndata.AnnData:
    """Counts as a scanpy user has them: normalised, the counts in a layer."""
    return demo.first.read().cohort.copy()


def test_an_anndata_becomes_a_workflow_that_runs(here: Path, counts: anndata.AnnData) -> None:
    workflow = clcc_flow.init(
        counts,
        "own.yaml",
        patient="patient",
        cell_type="cell_type",
        by="cancer_vs_normal",
        cancer="Cancer",
        layer="counts",
    )
    assert workflow == Path("own.yaml") and (here / "own.h5ad").is_file()
    assert "patient: [P1, P2, P3]" in workflow.read_text().replace('"', "")
    run = clcc_flow.run(workflow, until="preprocess")
    assert (run.ran, run.failed) == (4, 0)


def test_nothing_is_overwritten(here: Path, counts: anndata.AnnData) -> None:
    (here / "own.h5ad").write_text("mine")
    with pytest.raises(FileExistsError, match="own.h5ad"):
        clcc_flow.init(counts, "own.yaml", layer="counts")
    (here / "own.yaml").write_text("mine")
    with pytest.raises(FileExistsError, match="own.yaml"):
        clcc_flow.init(counts, "own.yaml", layer="counts")
    assert (here / "own.h5ad").read_text() == (here / "own.yaml").read_text() == "mine"


def test_what_the_data_lack_is_an_error(here: Path, counts: anndata.AnnData) -> None:
    with pytest.raises(clcc_flow.WorkflowError, match="nothing"):
        clcc_flow.init(counts, "own.yaml", patient="nothing", layer="counts")
    assert list(here.iterdir()) == [], "nothing is left behind"
    with pytest.raises(clcc_flow.WorkflowError, match=r"absent\.h5ad"):
        clcc_flow.init("absent.h5ad")


def test_a_template_or_data(here: Path) -> None:
    with pytest.raises(ValueError, match="either data or a template"):
        clcc_flow.init()
    with pytest.raises(ValueError, match="either data or a template"):
        clcc_flow.init("counts.h5ad", template="demo")
    with pytest.raises(clcc_flow.WorkflowError, match="demoo") as unknown:
        clcc_flow.init(template="demoo")
    assert "demo" in unknown.value.hint
    assert list(here.iterdir()) == []
