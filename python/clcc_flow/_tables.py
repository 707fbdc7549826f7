"""The result tables: TSV with notes above the header, typed as the program declares them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._errors import MissingPackage, ResultsError
from ._program import call, executable

if TYPE_CHECKING:
    import pandas as pd

#: pandas' type of a declared type, each of which has a missing value.
DTYPES: dict[str, Any] = {"text": "string", "integer": "Int64", "number": "float64", "flag": "boolean"}


@dataclass(frozen=True)
class Part:
    """One file of a table: the whole of it, or one axis value's rows."""

    path: Path
    axes: Mapping[str, str]


class Tables(Mapping[str, "pd.DataFrame"]):
    """The tables of a run by name, read when they are asked for.

    ``tables["dosage_genes"]`` is ``tables/dosage_genes.tsv``. Where a stage wrote one file per patient or fold
    (``cnv_segments.P1.tsv``, ...), ``tables["cnv_segments"]`` has the rows of all with the column ``patient`` or
    ``fold``; it is missing in rows of a file that is of none.

    Columns have the types of ``docs/tables.md``: ``string``, ``Int64``, ``float64``, ``boolean``. A missing value is
    missing (``pd.NA``, in numbers NaN). ``frame.attrs["notes"]`` says how the numbers were made,
    ``frame.attrs["columns"]`` what each column is.
    """

    def __init__(self, files: Iterable[Path], axes: Sequence[Mapping[str, str]]) -> None:
        self._parts: dict[str, list[Part]] = {}
        suffixes = {".".join(a.values()): a for a in axes if a}
        for path in sorted(files):
            name, values = _split(path.stem, suffixes)
            self._parts.setdefault(name, []).append(Part(path, values))
        self._read: dict[str, pd.DataFrame] = {}

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self._read:
            need_pandas()
            self._read[name] = _read_parts(name, self._parts[name])
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def __repr__(self) -> str:
        return f"Tables({', '.join(self._parts)})"


def _split(stem: str, suffixes: Mapping[str, Mapping[str, str]]) -> tuple[str, Mapping[str, str]]:
    """A file's table and axis values: ``cnv_segments.P1`` is of patient P1. Values may hold dots."""
    fitting = [s for s in suffixes if stem.endswith(f".{s}")]
    if not fitting:
        return stem, {}
    longest = max(fitting, key=len)
    return stem.removesuffix(f".{longest}"), suffixes[longest]


def _read_parts(name: str, parts: Sequence[Part]) -> pd.DataFrame:
    import pandas as pd

    declared = _declared(executable()).get(name, {})
    notes: dict[str, None] = {}
    frames = []
    for part in parts:
        frame, said = _read_file(part.path)
        notes.update(dict.fromkeys(said))
        axes = {a: v for a, v in part.axes.items() if a not in frame.columns}
        for place, (axis, value) in enumerate(axes.items()):
            frame.insert(place, axis, pd.Series(value, index=frame.index, dtype="string"))
        frames.append(frame)
    # Typed after they are joined: one file's column may be empty throughout.
    table = pd.concat(frames, ignore_index=True)
    for column in table.columns:
        kind = declared.get(column, {}).get("type") or _usual_types(executable()).get(column)
        try:
            table[column] = _typed(table[column], kind)
        except (ValueError, TypeError) as error:
            files = ", ".join(str(part.path) for part in parts)
            raise ResultsError(f"{files}, column `{column}`: expected {kind}: {error}") from error
    table.attrs = {"notes": list(notes), "columns": declared}
    return table


def _read_file(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """A file's rows as text, and its notes."""
    import pandas as pd

    notes = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith("#"):
                break
            notes.append(line.removeprefix("#").strip())
    try:
        frame = pd.read_csv(
            path,
            sep="\t",
            skiprows=len(notes),
            dtype="string",
            # A gene may be called NA; only an empty field is missing. Nothing is quoted.
            keep_default_na=False,
            na_values=[""],
            quoting=csv.QUOTE_NONE,
            skip_blank_lines=False,
        )
    except ValueError as error:
        raise ResultsError(f"{path} is no table of clcc-flow: {error}") from error
    return frame, notes


def _typed(values: pd.Series[Any], kind: str | None) -> pd.Series[Any]:
    """Text as the declared type; of a column without one, numbers where all are numbers, else text."""
    import pandas as pd

    if kind == "flag":
        known = {"True": True, "False": False}
        unknown = values.dropna()[~values.dropna().isin(list(known))]
        if len(unknown):
            raise ValueError(f"found `{unknown.iloc[0]}`")
        return values.map(known).astype("boolean")
    if kind in ("integer", "number"):
        return pd.to_numeric(values).astype(DTYPES[kind])
    if kind is None and values.notna().any():
        try:
            return pd.to_numeric(values).astype("float64")
        except ValueError:
            return values
    return values


@cache
def _declared(program: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Tables by name, their columns by name."""
    document = json.loads(call(["schema", "--tables", "--format", "json"]))
    tables: dict[str, dict[str, dict[str, Any]]] = {}
    for table in document["tables"]:
        columns = tables.setdefault(Path(table["file"]).stem, {})
        columns.update({column["name"]: column for column in table["columns"]})
    return tables


@cache
def _usual_types(program: Path) -> dict[str, str]:
    """Types of columns that have one type wherever they are declared. A table without a declaration goes by them:
    patients, clusters and cells are text, even where all are called by numbers."""
    types: dict[str, set[str]] = {}
    for columns in _declared(program).values():
        for name, column in columns.items():
            types.setdefault(name, set()).add(column["type"])
    return {name: kinds.pop() for name, kinds in types.items() if len(kinds) == 1}


def need_pandas() -> None:
    """See that pandas can be imported.

    Raises
    ------
    MissingPackage
        If it is not installed.
    """
    try:
        import pandas  # noqa: F401
    except ImportError as error:
        raise missing("pandas", "tables") from error


def missing(package: str, what: str) -> MissingPackage:
    """The error for a package that is not installed."""
    return MissingPackage(f"reading {what} needs {package}: pip install 'clcc-flow[anndata]'", name=package)
