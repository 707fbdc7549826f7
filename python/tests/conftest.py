"""A small demo, run once: the real program on three simulated tumours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import clcc_flow

#: Small enough for a few seconds, large enough that every stage has something to do.
SMALL: dict[str, object] = {
    "simulate.n_cells": 200,
    "simulate.n_genes": 2000,
    "train.epochs": 2,
    "train_folds.epochs": 2,
}


class Demo:
    """The demo's folder, its first run and that run's events."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workflow = folder / "demo.yaml"
        self.events: list[clcc_flow.Event] = []
        clcc_flow.init(template="demo", workflow=self.workflow)
        self.first = self.run(on_event=self.events.append)

    def run(self, **options: object) -> clcc_flow.Run:
        """Run it (again), with its own cache and results."""
        given: dict[str, object] = {
            "set": SMALL,
            "cache": self.folder / "cache",
            "results": self.folder / "results",
            **options,
        }
        return clcc_flow.run(self.workflow, **given)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return Demo(tmp_path_factory.mktemp("demo"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
