"""Live progress of a run: a bar in a notebook, a line on a terminal."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from html import escape
from typing import Any, Literal, TextIO

#: How progress is shown.
Progress = Literal["auto", "notebook", "text"] | None
#: Least time between two drawings, in seconds.
PAUSE = 0.25
#: Running nodes that are listed.
LISTED = 8


class State:
    """What a run has come to, from its events."""

    def __init__(self) -> None:
        self.workflow = ""
        self.total = 0
        self.done = 0
        self.cached = 0
        self.failed: list[tuple[str, str]] = []
        self.skipped = 0
        self.warnings = 0
        self.elapsed = 0.0
        self.is_finished = False
        # Running nodes: units done, units in all, what it is at.
        self.running: dict[str, tuple[int, int, str]] = {}

    def take(self, event: dict[str, Any]) -> None:
        """Add one event."""
        kind, node = event["event"], event.get("id", "")
        self.elapsed = event.get("elapsed", self.elapsed)
        if kind == "started":
            self.workflow, self.total = event["workflow"], event["nodes"]
        elif kind == "will_execute":
            self.running[node] = (0, 0, "")
        elif kind == "progress":
            self.running[node] = (event["done"], event["total"], event["message"])
        elif kind == "warning":
            self.warnings += 1
        elif kind == "finished":
            self.is_finished = True
            self.running.clear()
        elif kind in ("did_reuse", "did_execute", "did_fail", "did_skip"):
            self.running.pop(node, None)
            self.done += 1
            self.cached += kind == "did_reuse"
            self.skipped += kind == "did_skip"
            if kind == "did_fail":
                self.failed.append((node, event["message"]))

    def summary(self) -> str:
        """One line: what, how far, since when."""
        parts = [f"{self.done}/{self.total}"]
        counts = {"cached": self.cached, "failed": len(self.failed), "skipped": self.skipped}
        parts += [f"{count} {word}" for word, count in counts.items() if count]
        if self.warnings:
            parts.append(f"{self.warnings} warning{'s' * (self.warnings > 1)}")
        parts.append(f"{self.elapsed:.0f} s")
        return f"{self.workflow}: {', '.join(parts)}"

    def at_work(self) -> list[str]:
        """What the running nodes are at, one text each."""
        return [_at_work(node, *state) for node, state in self.running.items()]


def _at_work(node: str, done: int, total: int, message: str) -> str:
    share = f" {100 * done // total} %" if total else ""
    return f"{node}{share}" + (f" ({message})" if message else "")


class Display:
    """Shows nothing; the others draw."""

    def __init__(self) -> None:
        self.state = State()
        self._last = float("-inf")

    def take(self, event: dict[str, Any]) -> None:
        """Add one event; draw if the last drawing is long enough ago."""
        self.state.take(event)
        now = time.monotonic()
        if now - self._last >= PAUSE or self.state.is_finished:
            self._last = now
            self.draw()

    def draw(self) -> None:
        """Show the state."""

    def close(self) -> None:
        """Show the last state."""


class Line(Display):
    """One line on a terminal, drawn over."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream

    def draw(self) -> None:
        text = "  ".join([self.state.summary(), *self.state.at_work()])
        # What comes from data moves no cursor.
        text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
        width = shutil.get_terminal_size().columns - 1
        self._stream.write(f"\r\x1b[K{text[:width]}")
        self._stream.flush()

    def close(self) -> None:
        self.draw()
        self._stream.write("\n")
        self._stream.flush()


class Cell(Display):
    """A bar in a notebook's cell."""

    def __init__(self) -> None:
        super().__init__()
        self._handle: Any = None

    def draw(self) -> None:
        from IPython.display import display as show

        shown = {"text/html": self.as_html(), "text/plain": self.state.summary()}
        if self._handle is None:
            self._handle = show(shown, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(shown, raw=True)

    def close(self) -> None:
        self.draw()

    def as_html(self) -> str:
        """The state as HTML."""
        state = self.state
        lines = [
            f'<progress value="{state.done}" max="{max(state.total, 1)}" style="width: 60%"></progress>',
            escape(state.summary()),
        ]
        at_work = state.at_work()
        lines += [f"<small>{escape(text)}</small>" for text in at_work[:LISTED]]
        if len(at_work) > LISTED:
            lines.append(f"<small>and {len(at_work) - LISTED} more</small>")
        lines += [f"<b>{escape(node)}</b>: {escape(message)}" for node, message in state.failed]
        return "<br>".join(lines)


def display(progress: Progress) -> Display:
    """The display that was asked for.

    Raises
    ------
    ValueError
        If there is no such display.
    """
    known: dict[str | None, Callable[[], Display]] = {
        "notebook": Cell,
        "text": lambda: Line(sys.stderr),
        None: Display,
    }
    if progress == "auto":
        progress = _fitting()
    if progress not in known:
        raise ValueError(f"progress is {progress!r}; expected 'auto', 'notebook', 'text' or None")
    return known[progress]()


def _fitting() -> Progress:
    # IPython is looked at only where it runs already.
    shell = sys.modules.get("IPython")
    if shell is not None:
        current = shell.get_ipython()
        if current is not None and hasattr(current, "kernel"):
            return "notebook"
    return "text" if sys.stderr.isatty() else None
