"""What ``export`` and ``export_cohort`` write, in the hands of anndata, scanpy and CELLxGENE's validator."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import clcc_flow

WORKFLOW = """\
version: 1
name: exported
seed: 3
axes: {patient: [P1, P2]}
inputs: {genes: {builtin: grch38}}
stages:
  simulate: {params: {n_cells: 150, n_genes: 2500}}
  preprocess: {per: patient, needs: [simulate], inputs: [genes]}
  infercnv: {per: patient, needs: [preprocess], params: {dynamic_threshold: null}}
  cluster: {per: patient, needs: [preprocess, infercnv]}
  export: {per: patient, needs: [preprocess, infercnv, cluster]}
  export_cohort: {needs: [export]}
"""

CELLXGENE = {
    "export.profile": "cellxgene",
    "export.h5ad": True,
    "export.cellxgene.title": "Two simulated tumours",
    "export.cellxgene.is_primary_data": False,
    "export.cellxgene.assay": "EFO:0009922",
    "export.cellxgene.cell_type": "unknown",
    "export.cellxgene.development_stage": "unknown",
    "export.cellxgene.disease": "MONDO:0005233",
    "export.cellxgene.self_reported_ethnicity": "unknown",
    "export.cellxgene.sex": "unknown",
    "export.cellxgene.tissue": "UBERON:0002048",
}


def run(folder: Path, **set_: object) -> clcc_flow.Results:
    workflow = folder / "w.yaml"
    workflow.write_text(WORKFLOW)
    options = {"cache": folder / "cache", "results": folder / "results"}
    return clcc_flow.run(workflow, set=set_, **options).read()  # type: ignore[arg-type]


def test_the_cohort_on_disk_is_what_anndata_joins(tmp_path: Path) -> None:
    results = run(tmp_path)
    assert (results.directory / "cohort.zarr").is_dir()
    cohort = results.cohort
    parts = {name: results.patients[name] for name in ("P1", "P2")}
    joined = anndata.concat(parts, join="inner", merge="same", uns_merge="same")
    assert list(cohort.obs_names) == list(joined.obs_names)
    assert list(cohort.var_names) == list(joined.var_names)
    assert (cohort.X != joined.X).nnz == 0
    assert (cohort.layers["counts"] != joined.layers["counts"]).nnz == 0
    assert set(cohort.obsm) == set(joined.obsm)
    for name in cohort.obsm:
        assert abs(cohort.obsm[name] - joined.obsm[name]).max() == 0, name
    assert set(joined.var.columns) == set(cohort.var.columns)
    assert set(joined.obs.columns) <= set(cohort.obs.columns)
    for name in joined.obs.columns:
        assert list(cohort.obs[name].astype(str)) == list(joined.obs[name].astype(str)), name
    assert cohort.uns["cnv"]["chr_pos"] == joined.uns["cnv"]["chr_pos"]

    # It is scanpy's to go on with.
    sc.tl.rank_genes_groups(cohort, "patient", method="t-test")
    sc.pp.pca(cohort, n_comps=5)
    assert np.isfinite(cohort.obsm["X_pca"]).all()


def validator() -> str:
    program = os.environ.get("CELLXGENE_SCHEMA") or shutil.which("cellxgene-schema")
    if program is None:
        pytest.skip("cellxgene-schema is neither on the path nor named by $CELLXGENE_SCHEMA")
    return program


def validate(file: Path) -> None:
    """Asks cellxgene-schema (7.1.2: schema 7.1.0), which needs no network to validate."""
    said = subprocess.run([validator(), "validate", str(file)], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr


def test_cellxgene_takes_patients_and_cohort(tmp_path: Path) -> None:
    validator()
    results = run(tmp_path, **CELLXGENE)
    validate(results.directory / "P1.h5ad")
    # The two lines of docs/inputs.md.
    cohort = anndata.read_zarr(results.directory / "cohort.zarr")
    cohort.write_h5ad(tmp_path / "cohort.h5ad")
    validate(tmp_path / "cohort.h5ad")


def test_what_cellxgene_misses_is_named_at_once(tmp_path: Path) -> None:
    without = {k: v for k, v in CELLXGENE.items() if k not in ("export.cellxgene.assay", "export.cellxgene.sex")}
    # Before anything runs, where the columns of the cells are known.
    with pytest.raises(clcc_flow.WorkflowError) as error:
        run(tmp_path, **without)
    for name in ("assay", "sex"):
        assert f"`cellxgene.{name}`: the cells have no column `{name}_ontology_term_id`" in str(error.value)


SECTIONS = """\
version: 1
name: sections
seed: 3
axes: {patient: [P1, P2]}
inputs:
  counts: {path: "PLACE/sections.h5ad"}
  genes: {builtin: grch38}
stages:
  ingest: {inputs: [counts], params: {group_by: patient}}
  preprocess: {per: patient, needs: [ingest], inputs: [genes], params: {cancer_vs_normal: {column: side, normal: [n]}}}
  infercnv: {per: patient, needs: [preprocess]}
  export: {per: patient, needs: [preprocess, infercnv], params: {h5ad: true}}
"""


def test_pictures_of_sections_are_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    genes = run(tmp_path).patients["P1"].var_names
    obs = pd.DataFrame({"patient": ["P1", "P2"] * 30, "side": list("nnttnn") * 10})
    obs.index = pd.Index([f"spot{i}" for i in range(60)])
    obs["library_id"] = obs["patient"].map({"P1": "A1", "P2": "B1"})
    data = anndata.AnnData(sparse.csr_matrix(rng.poisson(2, (60, len(genes))).astype(np.float32)), obs=obs)
    data.var_names = genes
    data.obsm["spatial"] = rng.uniform(0, 100, (60, 2))
    pictures: dict[str, dict[str, Any]] = {
        library: {
            "images": {
                "hires": rng.integers(0, 256, (30, 20, 3)).astype(np.uint8),
                "lowres": rng.uniform(0, 1, (9, 6, 3)).astype(np.float32),
            },
            "scalefactors": {"spot_diameter_fullres": 8.5, "tissue_hires_scalef": 0.25},
            "metadata": {"chemistry_description": "Visium"},
        }
        for library in ("A1", "B1")
    }
    data.uns["spatial"] = pictures
    data.write_h5ad(tmp_path / "sections.h5ad")
    workflow = tmp_path / "sections.yaml"
    workflow.write_text(SECTIONS.replace("PLACE", str(tmp_path)))
    results = clcc_flow.run(workflow, cache=tmp_path / "cache", results=tmp_path / "results").read()
    for patient, library in (("P1", "A1"), ("P2", "B1")):
        h5ad = anndata.read_h5ad(results.directory / f"{patient}.h5ad")
        for found in (results.patients[patient], h5ad):
            # A patient has the sections that its cells name, with the values and types that came in.
            assert list(found.uns["spatial"]) == [library]
            own, expected = found.uns["spatial"][library], pictures[library]
            for name, picture in expected["images"].items():
                assert own["images"][name].dtype == picture.dtype
                assert np.array_equal(own["images"][name], picture)
            assert own["scalefactors"] == expected["scalefactors"]
            assert own["metadata"] == expected["metadata"]
            places = data[data.obs["patient"] == patient].obsm["spatial"]
            assert np.allclose(found.obsm["spatial"], places, rtol=1e-6)
    sc.pl.spatial(results.patients["P1"], library_id="A1", img_key="hires", show=False)
