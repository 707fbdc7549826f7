"""Starts a workflow from data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ._errors import ClccFlowError
from ._program import call

if TYPE_CHECKING:
    from anndata import AnnData


def init(
    data: AnnData | str | os.PathLike[str] | None = None,
    workflow: str | os.PathLike[str] = "workflow.yaml",
    *,
    template: str | None = None,
    patient: str | None = None,
    sample: str | None = None,
    cell_type: str | None = None,
    by: str | None = None,
    cancer: str | Sequence[str] = (),
    normal: str | Sequence[str] = (),
    layer: str | None = None,
    annotations: str | os.PathLike[str] | None = None,
    cell_id: str | None = None,
    genes: str | os.PathLike[str] | None = None,
    format: str | None = None,
) -> Path:
    """Write a workflow to start from: for these counts, or a shipped one, as ``clcc-flow init`` does.

    Parameters
    ----------
    data
        Counts: an AnnData, or a path to an h5ad, zarr, 10x folder or h5, or a text. An AnnData is written beside the
        workflow as ``<workflow>.h5ad``.
    workflow
        The file to write.
    template
        In place of data, the shipped workflow to write, for example ``"demo"``. It takes no other option.
    patient, sample, cell_type
        Columns of the cells.
    by
        The column that tells cancer from normal cells; by default the one that has the values.
    cancer, normal
        Values of cancer cells (all others are normal), or of normal cells (all others are cancer).
    layer
        The layer that holds the counts, or ``"raw"``.
    annotations
        A table with one row per cell.
    cell_id
        The column of cell ids in the annotations.
    genes
        Positions of genes, for example a GTF; human, GRCh38 by default.
    format
        The layout of the data, where its name does not say it.

    Returns
    -------
    pathlib.Path
        The workflow file, to edit or to give to :func:`run`.

    Raises
    ------
    WorkflowError
        If the data cannot be read, or lack what was named.
    FileExistsError
        If a file would be overwritten. Nothing is written then.
    ValueError
        If neither data nor a template is given, or both.
    """
    workflow = Path(workflow)
    if workflow.exists():
        raise FileExistsError(f"{workflow} exists; remove it, or name another file")
    if (data is None) == (template is None):
        raise ValueError("init takes either data or a template")
    if data is None:
        call(["init", f"--template={template}", "--", str(workflow)])
        return workflow
    is_path = isinstance(data, (str, os.PathLike))
    source = Path(os.fspath(data)) if isinstance(data, (str, os.PathLike)) else _write(data, workflow)
    options = {
        "--patient": patient,
        "--sample": sample,
        "--cell-type": cell_type,
        "--by": by,
        "--layer": layer,
        "--annotations": annotations,
        "--cell-id": cell_id,
        "--genes": genes,
        "--format": format,
    }
    # With `=`, a value that begins with a dash is none of the options.
    arguments = [f"--from={source}"]
    arguments += [f"{o}={os.fspath(v)}" for o, v in options.items() if v is not None]
    arguments += [f"--cancer={value}" for value in _several(cancer)]
    arguments += [f"--normal={value}" for value in _several(normal)]
    try:
        call(["init", *arguments, "--", str(workflow)])
    except ClccFlowError:
        if not is_path:
            source.unlink()
        raise
    return workflow


def _several(values: str | Sequence[str]) -> list[str]:
    return [values] if isinstance(values, str) else list(values)


def _write(adata: AnnData, workflow: Path) -> Path:
    path = workflow.with_suffix(".h5ad")
    if path.exists():
        raise FileExistsError(
            f"{path} exists; remove it, give its path in place of the AnnData, or name another workflow"
        )
    try:
        adata.write_h5ad(path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path
