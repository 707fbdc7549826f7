"""``read_results``: AnnData and typed tables."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import clcc_flow
from clcc_flow import _tables
from conftest import Demo


@pytest.fixture(scope="module")
def results(demo: Demo) -> clcc_flow.Results:
    return demo.first.read()


def test_results_know_what_they_are(results: clcc_flow.Results) -> None:
    assert results.workflow == "demo"
    assert results.report is not None
    assert list(results.patients) == ["P1", "P2", "P3"]
    assert results.metrics["simulate"]["n_cells"] == 600
    assert repr(results).startswith("Results(demo: patients P1, P2, P3; ")


def test_patients_and_cohort_hold_the_same_cells(results: clcc_flow.Results) -> None:
    one, all_of_them = results.patients["P1"], results.cohort
    assert one.n_obs == 200 and all_of_them.n_obs == 600
    assert set(all_of_them.obs["patient"]) == {"P1", "P2", "P3"}
    rows = np.asarray(all_of_them.obs["patient"] == "P1")
    assert list(all_of_them.var_names) == list(one.var_names)
    assert (all_of_them.X[rows] != one.X).nnz == 0
    assert np.array_equal(all_of_them.obsm["X_cnv"][rows].toarray(), one.obsm["X_cnv"].toarray())


def test_every_table_has_its_declared_types(results: clcc_flow.Results) -> None:
    document = json.loads(clcc_flow._program.call(["schema", "--tables", "--format", "json"]))
    compared = 0
    for table in document["tables"]:
        name = Path(table["file"]).stem
        if name not in results.tables:
            continue
        frame = results.tables[name]
        for column in table["columns"]:
            if column["name"] in frame:
                expected = _tables.DTYPES[column["type"]]
                assert frame[column["name"]].dtype == expected, (name, column["name"])
                compared += 1
            else:
                assert column["optional"] or column["several"], (name, column["name"])
    assert compared > 100


def test_tables_are_those_on_disk(results: clcc_flow.Results, demo: Demo) -> None:
    assert demo.first.directory is not None
    files = sorted((demo.first.directory / "tables").glob("*.tsv"))
    rows = sum(sum(not line.startswith("#") for line in file.read_text().splitlines()) - 1 for file in files)
    assert rows == sum(len(results.tables[name]) for name in results.tables)


def test_files_per_patient_are_one_table(results: clcc_flow.Results) -> None:
    frame = results.tables["cnv_segments"]
    assert list(frame["patient"].unique()) == ["P1", "P2", "P3"]
    assert frame.columns[0] == "patient"
    assert frame.attrs["notes"] and "chromosome" in frame.attrs["columns"]
    # The mining of the model itself is of no fold.
    folds = results.tables["mining"]["fold"]
    assert folds.isna().any() and set(folds.dropna()) == {"f1", "f2", "f3"}
    with pytest.raises(KeyError):
        results.tables["cnv_segments.P1"]


def test_names_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "unknown.tsv"
    path.write_text('# how\n# why\ngene\tpatient\tvalue\tword\nNA\t11\t1.5\t"a\nMYC\t12\t\t\n')
    axes = [{}, {"patient": "1.1"}]
    tables = _tables.Tables([path], axes)
    frame = tables["unknown"]
    assert list(frame["gene"]) == ["NA", "MYC"]
    assert list(frame["patient"]) == ["11", "12"]
    assert frame["value"].dtype == "float64" and np.isnan(frame["value"][1])
    assert frame["word"][0] == '"a' and frame["word"][1] is pd.NA
    assert frame.attrs["notes"] == ["how", "why"]
    assert _tables._split("cnv_arms.1.1", {"1": {"patient": "1"}, "1.1": {"patient": "1.1"}}) == (
        "cnv_arms",
        {"patient": "1.1"},
    )


def test_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "doublets.tsv"
    path.write_text("cell\tdoublet_score\tpredicted_doublet\nc1\t0.5\tperhaps\n")
    with pytest.raises(clcc_flow.ResultsError, match=r"doublets\.tsv.*`predicted_doublet`.*perhaps"):
        _tables.Tables([path], [])["doublets"]
    with pytest.raises(clcc_flow.ResultsError, match=r"run\.json"):
        clcc_flow.read_results(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(clcc_flow.ResultsError, match=r"run\.json cannot be read"):
        clcc_flow.read_results(tmp_path)


def test_a_missing_package_is_named(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(clcc_flow.MissingPackage, match=r"pip install 'clcc-flow\[anndata\]'"):
        demo.first.read().patients["P1"]


def test_scanpy_goes_on_from_here(results: clcc_flow.Results) -> None:
    sc = pytest.importorskip("scanpy")
    adata = results.cohort.copy()
    sc.tl.rank_genes_groups(adata, "cell_type", method="t-test")
    assert len(sc.get.rank_genes_groups_df(adata, None)) > 0
    figure = sc.pl.embedding(adata, "X_cnv_umap", color="patient", show=False, return_fig=True)
    assert figure.axes[0].get_title() == "patient"
