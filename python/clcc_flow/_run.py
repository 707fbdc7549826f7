"""Runs a workflow and follows its events."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from ._errors import NodeFailure, ResultsError, RunFailed, of_program
from ._program import executable
from ._progress import Display, Progress, display

if TYPE_CHECKING:
    from ._results import Results

#: One event of the program, as ``run --format json`` prints it (docs/cli.md); ``event["event"]`` is its kind.
Event = dict[str, Any]
#: A path as Python's own functions take it.
PathLike = str | os.PathLike[str]
#: How long the program has to end its children after an interrupt, in seconds; it gives them 10.
PATIENCE = 15.0


@dataclass(frozen=True)
class RunWarning:
    """What a stage warned of."""

    node: str
    """The node, for example ``concordance``."""
    message: str
    """The warning."""


@dataclass(repr=False)
class Run:
    """How a run went.

    In a notebook it shows a line with a link to the report.
    """

    workflow: str = ""
    """The workflow's name."""
    directory: Path | None = None
    """The directory with the results; ``None`` where nothing was published."""
    ran: int = 0
    """Nodes that ran."""
    cached: int = 0
    """Nodes found in the cache."""
    failed: int = 0
    """Nodes that failed."""
    skipped: int = 0
    """Nodes that were not run."""
    seconds: float = 0.0
    """Wall time."""
    warnings: list[RunWarning] = field(default_factory=list)
    """What stages warned of, in their order. Nodes found in the cache warn no more; ``run.json`` keeps theirs."""

    @property
    def report(self) -> Path | None:
        """The page with the results, if the workflow has one."""
        page = self.directory / "report.html" if self.directory else None
        return page if page is not None and page.is_file() else None

    def read(self) -> Results:
        """The results, as :func:`read_results` reads them.

        Raises
        ------
        ResultsError
            If the run published none.
        """
        from ._results import read_results

        if self.directory is None:
            raise ResultsError(f"the run of `{self.workflow}` published no results")
        return read_results(self.directory)

    def __str__(self) -> str:
        counts = f"{self.ran} ran, {self.cached} cached, {self.failed} failed, {self.skipped} skipped"
        return f"{self.workflow}: {counts} in {self.seconds:.1f} s"

    def __repr__(self) -> str:
        return f"Run({self})"

    def _repr_html_(self) -> str:
        from html import escape

        link = ""
        if self.report is not None:
            shown = os.path.relpath(self.report)
            link = f' <a href="{escape(shown, quote=True)}" target="_blank">{escape(shown)}</a>'
        return f"<p>{escape(str(self))}.{link}</p>"


def run(
    workflow: PathLike,
    *,
    set: Mapping[str, object] | None = None,
    input: Mapping[str, PathLike] | None = None,
    only: Mapping[str, Sequence[str]] | None = None,
    until: str | Sequence[str] = (),
    force: str | Sequence[str] = (),
    jobs: int | None = None,
    memory: str | int | None = None,
    device: Literal["auto", "cpu", "cuda", "metal"] = "auto",
    cache: PathLike = ".clcc",
    results: PathLike = "results",
    rehash: bool = False,
    fail_fast: bool = False,
    force_results: bool = False,
    progress: Progress = "auto",
    on_event: Callable[[Event], object] | None = None,
) -> Run:
    """Run a workflow; what is known already is not computed again.

    Parameters
    ----------
    workflow
        The workflow file.
    set
        Parameters by ``stage.parameter``, for example ``{"cluster.resolution": 0.8}``; values as in the file.
    input
        Paths of inputs by their name, in place of those in the file.
    only
        Values of an axis to run, for example ``{"patient": ["P1"]}``.
    until
        Stages to run, with what they need and nothing after them.
    force
        Stages to run even where they are cached.
    jobs
        Cores to use; all by default.
    memory
        Memory that the run may hold, in bytes or as ``"8GB"``; nine tenths of the machine's by default.
    device
        Where training runs.
    cache
        The cache directory.
    results
        Where ``<workflow name>/`` with the results is written.
    rehash
        Read every input file again instead of trusting its size and times.
    fail_fast
        Start no node after the first failure.
    force_results
        Replace the results of another workflow file of the same name.
    progress
        ``"notebook"`` draws a bar in the cell, ``"text"`` writes one line to stderr, ``None`` shows nothing;
        ``"auto"`` takes what fits.
    on_event
        Called with each event, in their order, in this thread. If it raises, the run is stopped.

    Returns
    -------
    Run
        How it went.

    Raises
    ------
    WorkflowError
        If the workflow, an input or an option is wrong. Nothing was run.
    RunFailed
        If nodes failed. What did not depend on them is finished.
    ProgramError
        If the program ended otherwise than well.
    KeyboardInterrupt
        If it was interrupted (Ctrl+C, the kernel's stop button). The program is ended first; what was finished is
        cached, and the next run goes on from there.
    """
    arguments = _arguments(workflow, set or {}, input or {}, only or {}, until, force)
    arguments += ["--device", device, "--cache", os.fspath(cache), "--results", os.fspath(results)]
    if jobs is not None:
        arguments += ["--jobs", str(jobs)]
    if memory is not None:
        arguments += ["--memory", str(memory)]
    flags = {"--rehash": rehash, "--fail-fast": fail_fast, "--force-results": force_results}
    arguments += [flag for flag, is_given in flags.items() if is_given]
    follower = _Follower(display(progress), on_event)
    with tempfile.TemporaryFile() as errors:
        code = follower.follow(["run", *arguments, "--format", "json"], errors)
        errors.seek(0)
        stderr = errors.read().decode("utf-8", errors="replace")
    if code in (5, 6):
        raise RunFailed(code, stderr, follower.failures, follower.run)
    if code != 0:
        raise of_program(code, stderr)
    return follower.run


def _arguments(
    workflow: PathLike,
    set: Mapping[str, object],
    input: Mapping[str, PathLike],
    only: Mapping[str, Sequence[str]],
    until: str | Sequence[str],
    force: str | Sequence[str],
) -> list[str]:
    arguments = [_path(workflow)]
    # JSON is YAML.
    for name, value in set.items():
        arguments += ["--set", f"{name}={json.dumps(value)}"]
    for name, path in input.items():
        arguments += ["--input", f"{name}={os.fspath(path)}"]
    for axis, values in only.items():
        arguments += ["--only", f"{axis}={','.join(_several(values))}"]
    for option, stages in {"--until": until, "--force": force}.items():
        for stage in _several(stages):
            arguments += [option, stage]
    return arguments


def _several(values: str | Sequence[str]) -> list[str]:
    return [values] if isinstance(values, str) else list(values)


def _path(path: PathLike) -> str:
    """A path that is not taken for an option."""
    text = os.fspath(path)
    return f"./{text}" if text.startswith("-") else text


class _Follower:
    """Turns the program's events into a :class:`Run`."""

    def __init__(self, shown: Display, on_event: Callable[[Event], object] | None) -> None:
        self.run = Run()
        self.failures: list[NodeFailure] = []
        self._shown = shown
        self._on_event = on_event

    def follow(self, arguments: Sequence[str], errors: IO[bytes]) -> int:
        """Run the program to its end; its exit code."""
        # In a session of its own, so that an interrupt of the terminal or kernel reaches it once, from here.
        process = subprocess.Popen(
            [str(executable()), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                # A program that was killed may leave half a line.
                if line.endswith(b"\n"):
                    self._take(json.loads(line))
            return process.wait()
        except BaseException:
            _end(process)
            raise
        finally:
            process.stdout.close()
            self._shown.close()

    def _take(self, event: Event) -> None:
        kind = event["event"]
        if kind == "started":
            self.run.workflow = event["workflow"]
        elif kind == "warning":
            self.run.warnings.append(RunWarning(event["id"], event["message"]))
        elif kind == "did_fail":
            self.failures.append(
                NodeFailure(event["id"], event["message"], event["class"], event["hint"], event["log"])
            )
        elif kind == "did_publish":
            self.run.directory = Path(event["dir"]).absolute()
        elif kind == "finished":
            self.run.ran, self.run.cached = event["ran"], event["cached"]
            self.run.failed, self.run.skipped = event["failed"], event["skipped"]
            self.run.seconds = event["seconds"]
        self._shown.take(event)
        if self._on_event is not None:
            self._on_event(event)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the program as Ctrl+C does: its children cleanly, then at once."""
    for patience in (PATIENCE, 5.0):
        if process.poll() is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        try:
            # Its pipe is read on, or a full one would hold it.
            process.communicate(timeout=patience)
            return
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    process.wait()
