"""Reads what a run published: AnnData, tables, the record of the run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._errors import ResultsError
from ._tables import Tables, missing

if TYPE_CHECKING:
    from anndata import AnnData

#: The record of the run; a folder without it holds no results.
RECORD = "run.json"


def read_results(directory: str | os.PathLike[str]) -> Results:
    """Open a results directory (``results/<workflow name>``).

    Nothing but the record of the run is read yet; AnnData and tables are when they are asked for.

    Raises
    ------
    ResultsError
        If the directory holds no results.
    """
    return Results(Path(directory))


class Patients(Mapping[str, "AnnData"]):
    """Patients' AnnData by name, read when they are asked for."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = dict(files)
        self._read: dict[str, AnnData] = {}

    def __getitem__(self, name: str) -> AnnData:
        if name not in self._read:
            self._read[name] = _read_anndata(self._files[name])
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def __repr__(self) -> str:
        return f"Patients({', '.join(self._files)})"


class Results:
    """What a run published.

    Attributes
    ----------
    directory
        The results directory.
    record
        ``run.json``: inputs with digests, each node's key, parameters, time and warnings.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        if not (self.directory / RECORD).is_file():
            raise ResultsError(f"{self.directory} holds no results of clcc-flow: it has no `{RECORD}`")
        self.record: dict[str, Any] = _read_json(self.directory / RECORD)

    @property
    def workflow(self) -> str:
        """The workflow's name."""
        return str(self.record["workflow"]["name"])

    @property
    def report(self) -> Path | None:
        """The page with the results, if the workflow has one."""
        page = self.directory / "report.html"
        return page if page.is_file() else None

    @cached_property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """``metrics.json``: the headline numbers of each node."""
        metrics: dict[str, dict[str, Any]] = _read_json(self.directory / "metrics.json")
        return metrics

    @cached_property
    def tables(self) -> Tables:
        """The result tables by name, with typed columns; see :class:`Tables`."""
        files = (self.directory / "tables").glob("*.tsv")
        return Tables(files, [node["axes"] for node in self.record["nodes"]])

    @cached_property
    def patients(self) -> Patients:
        """Each patient's cells as AnnData, as ``anndata.read_zarr`` reads them.

        Empty where the workflow has no stage ``export``.
        """
        exports = [node["axes"] for node in self.record["nodes"] if node["kind"] == "export"]
        named = {".".join(axes.values()): self.directory for axes in exports if axes}
        files = {name: place / f"{name}.zarr" for name, place in named.items()}
        return Patients({name: path for name, path in files.items() if path.is_dir()})

    @cached_property
    def cohort(self) -> AnnData:
        """All patients' cells as one AnnData.

        ``cohort.zarr`` if the run wrote one. Else the patients are joined here: cells one after another in the order
        of patients, genes and ``obsm`` that all have, ``obs`` columns of any, ``uns`` entries that are the same in
        all. The column ``patient`` names the patient, and where two patients have a cell of the same name, cells are
        called ``<cell>-<patient>``. Graphs between cells (``obsp``) are within a patient and are left out. Names of
        clusters and clones, UMAPs and components are of each patient's cells alone and do not compare between
        patients.

        Raises
        ------
        ResultsError
            If there is no patient.
        """
        whole = self.directory / "cohort.zarr"
        if whole.is_dir() and "cohort" not in self.patients:
            return _read_anndata(whole)
        if not self.patients:
            raise ResultsError(f"{self.directory} has no AnnData: the workflow has no `export`")
        return _joined(self.patients)

    def __repr__(self) -> str:
        return (
            f"Results({self.workflow}: patients {', '.join(self.patients) or 'none'}; "
            f"{len(self.tables)} tables; {self.directory})"
        )


def _joined(patients: Mapping[str, AnnData]) -> AnnData:
    try:
        import anndata
    except ImportError as error:
        raise missing("anndata", "AnnData") from error
    import pandas as pd

    parts = dict(patients)
    names = pd.Index([cell for part in parts.values() for cell in part.obs_names])
    joined = anndata.concat(
        parts,
        label="patient" if all("patient" not in part.obs for part in parts.values()) else None,
        index_unique=None if names.is_unique else "-",
        join="inner",
        merge="same",
        uns_merge="same",
    )
    # `join` decides over genes and over `obs`; a column that one patient lacks is missing in its cells.
    obs = pd.concat([part.obs.astype(object) for part in parts.values()])
    for column in obs.columns.difference(joined.obs.columns, sort=False):
        joined.obs[column] = obs[column].infer_objects().to_numpy()
    return joined


def _read_anndata(path: Path) -> AnnData:
    try:
        import anndata
    except ImportError as error:
        raise missing("anndata and zarr", "AnnData") from error
    return anndata.read_zarr(path)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path} cannot be read: {error}") from error
