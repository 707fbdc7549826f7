"""What can go wrong, as exceptions that carry the program's own words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._run import Run

HINT = "hint: "


class ClccFlowError(Exception):
    """Any error of this module."""


class NotInstalled(ClccFlowError):
    """The program ``clcc-flow`` was not found."""


class MissingPackage(ClccFlowError, ImportError):
    """A Python package that this function needs is not installed."""


class ResultsError(ClccFlowError):
    """A folder does not hold results, or a file in it is not what the program writes."""


class ProgramError(ClccFlowError):
    """The program ended with another exit code than 0.

    Attributes
    ----------
    exit_code
        As ``docs/cli.md`` lists them. Negative: the signal that ended it.
    message
        What the program said, without hints.
    hint
        What can be done about it; empty where it gave none.
    stderr
        All that it wrote to stderr.
    """

    def __init__(self, exit_code: int, stderr: str) -> None:
        self.exit_code = exit_code
        self.stderr = stderr
        self.message, self.hint = split_hints(stderr)
        shown = self.message or f"clcc-flow ended with {ending(exit_code)} and said nothing"
        super().__init__(with_hint(shown, self.hint))


class WorkflowError(ProgramError):
    """The command line, the workflow file, an input or the selection is wrong (exit codes 2, 3, 4).

    Nothing was run.
    """


@dataclass(frozen=True)
class NodeFailure:
    """One node that failed."""

    node: str
    """The node, for example ``cluster[P1]``."""
    message: str
    """What failed, with its cause."""
    kind: str
    """The kind of failure, for example ``input`` or ``memory``."""
    hint: str | None
    """What can be done about it."""
    log: str
    """The file that holds the node's output."""


class RunFailed(ProgramError):
    """Some branches of the run failed (exit code 5), or all of them (6).

    Attributes
    ----------
    failures
        The nodes that failed, in the order of their failing.
    run
        The run; what did not depend on them is finished, published and cached.
    """

    def __init__(self, exit_code: int, stderr: str, failures: Sequence[NodeFailure], run: Run) -> None:
        super().__init__(exit_code, stderr)
        self.failures = tuple(failures)
        self.run = run
        if failures:
            lines = [f"{len(failures)} failed, {run.skipped} skipped"]
            lines += [f"{failure.node}: {failure.message}" for failure in failures]
            self.message = "\n".join(lines)
            self.hint = "\n".join(dict.fromkeys(f.hint for f in failures if f.hint))
            self.args = (with_hint(self.message, self.hint),)


def with_hint(message: str, hint: str) -> str:
    """A message with its hint below it, as the program prints them."""
    return f"{message}\n{HINT}{hint}" if hint else message


def split_hints(stderr: str) -> tuple[str, str]:
    """The program's message and its hints, each without its mark."""
    message, hints = [], []
    for line in stderr.strip().splitlines():
        if line.startswith(HINT):
            hints.append(line.removeprefix(HINT))
        else:
            message.append(line)
    return "\n".join(message).strip().removeprefix("error: "), "\n".join(hints)


def ending(exit_code: int) -> str:
    """An exit code in words."""
    return f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"


def of_program(exit_code: int, stderr: str) -> ProgramError:
    """The exception for an exit code."""
    kind = WorkflowError if exit_code in (2, 3, 4) else ProgramError
    return kind(exit_code, stderr)
