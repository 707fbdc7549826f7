"""``run``: what it returns, shows and raises."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

import clcc_flow
from clcc_flow import _progress
from conftest import SMALL, Demo


def test_a_run_says_what_it_did(demo: Demo) -> None:
    run = demo.first
    assert (run.failed, run.skipped, run.cached) == (0, 0, 0)
    assert run.ran == demo.events[0]["nodes"] > 20
    assert run.directory == demo.folder / "results" / "demo"
    assert run.report is not None and run.report.stat().st_size > 10_000
    assert str(run).startswith(f"demo: {run.ran} ran, 0 cached, 0 failed, 0 skipped in ")
    assert "report.html" in run._repr_html_()
    assert repr(run) == f"Run({run})"


def test_events_come_in_order_and_warnings_are_kept(demo: Demo) -> None:
    events = demo.events
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert events[0]["event"] == "started" and events[-1]["event"] == "finished"
    warned = [(e["id"], e["message"]) for e in events if e["event"] == "warning"]
    assert [(w.node, w.message) for w in demo.first.warnings] == warned


def test_a_second_run_finds_everything(demo: Demo) -> None:
    again = demo.run()
    assert (again.ran, again.cached) == (0, demo.first.ran)


def test_options_reach_the_program(demo: Demo) -> None:
    began: list[str] = []

    def note(event: clcc_flow.Event) -> None:
        if event["event"] == "will_execute":
            began.append(event["id"])

    forced = {"until": "preprocess", "force": ["preprocess"], "on_event": note}
    one = demo.run(**forced, only={"patient": ["P1"]}, jobs=1, memory="2GB")
    assert began == ["preprocess[P1]"] and one.ran == 1
    began.clear()
    other = demo.folder / "other"
    demo.run(**forced, results=other, rehash=True, device="cpu", fail_fast=True)
    assert sorted(began) == ["preprocess[P1]", "preprocess[P2]", "preprocess[P3]"]
    assert (other / "demo" / "run.json").is_file()


def test_a_wrong_workflow_is_refused_in_the_programs_words(here: Path) -> None:
    with pytest.raises(clcc_flow.WorkflowError) as missing:
        clcc_flow.run("nothing.yaml")
    assert missing.value.exit_code == 3
    assert "nothing.yaml" in missing.value.message
    clcc_flow.init(template="demo", workflow="demo.yaml")
    with pytest.raises(clcc_flow.WorkflowError) as wrong:
        clcc_flow.run("demo.yaml", set={"cluster.resolution": "high"})
    assert wrong.value.exit_code == 3
    assert "`resolution`" in wrong.value.message
    assert wrong.value.message in str(wrong.value)
    with pytest.raises(clcc_flow.WorkflowError) as usage:
        clcc_flow.run("demo.yaml", set={"nothing": 1})
    assert usage.value.exit_code in (2, 3)
    assert not (here / ".clcc").exists()


def test_failed_nodes_are_named(demo: Demo) -> None:
    with pytest.raises(clcc_flow.RunFailed) as failed:
        demo.run(
            set=SMALL | {"preprocess.min_counts": 1_000_000_000},
            results=demo.folder / "failed",
            until="preprocess",
        )
    error = failed.value
    assert error.exit_code in (5, 6)
    assert {f.node for f in error.failures} == {f"preprocess[P{i}]" for i in (1, 2, 3)}
    assert all(Path(f.log).is_file() for f in error.failures)
    assert error.run.failed == 3
    assert error.failures[0].message in error.message
    assert error.hint == error.failures[0].hint, "said once"
    assert str(error) == f"{error.message}\nhint: {error.hint}"


def test_an_interrupt_ends_the_program_and_keeps_what_is_done(demo: Demo) -> None:
    cache = demo.folder / "interrupted"

    def interrupt(event: clcc_flow.Event) -> None:
        if event["event"] == "did_execute" and event["id"] == "simulate":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo.run(cache=cache, on_event=interrupt, until="preprocess")
    # The cache is free again at once, and the simulation is in it.
    rest = demo.run(cache=cache, until="preprocess")
    assert rest.cached >= 1 and rest.ran + rest.cached == 4


def test_the_program_is_named_where_it_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLCC_FLOW", str(tmp_path / "nothing"))
    with pytest.raises(clcc_flow.NotInstalled, match="nothing"):
        clcc_flow.run("w.yaml")


def test_the_module_is_the_program() -> None:
    said = subprocess.run([sys.executable, "-m", "clcc_flow", "--version"], capture_output=True, text=True, check=True)
    assert said.stdout == f"clcc-flow {clcc_flow.version()}\n"


def test_hints_stand_apart() -> None:
    error = clcc_flow.ProgramError(7, "error: the cache is damaged\nat x\nhint: run verify\n")
    assert (error.message, error.hint) == ("the cache is damaged\nat x", "run verify")
    assert str(error) == "the cache is damaged\nat x\nhint: run verify"
    assert str(clcc_flow.ProgramError(-9, "")) == "clcc-flow ended with signal 9 and said nothing"


def state_of(events: list[clcc_flow.Event]) -> _progress.State:
    state = _progress.State()
    for event in events:
        state.take(event)
    return state


def test_progress_counts_every_node_once(demo: Demo) -> None:
    half = state_of(demo.events[: len(demo.events) // 2])
    assert 0 < half.done < half.total and half.running
    whole = state_of(demo.events)
    assert whole.done == whole.total == demo.first.ran and not whole.running
    assert whole.summary().startswith(f"demo: {whole.total}/{whole.total}")


EVENTS: list[clcc_flow.Event] = [
    {"event": "started", "workflow": "w<1>", "nodes": 4, "elapsed": 0.0},
    {"event": "did_reuse", "id": "ingest", "elapsed": 0.1},
    {"event": "will_execute", "id": "train", "elapsed": 0.2},
    {"event": "progress", "id": "train", "done": 1, "total": 4, "message": "a\x1b[2Jb", "elapsed": 3.0},
    {"event": "warning", "id": "train", "message": "x", "elapsed": 3.5},
    {"event": "will_execute", "id": "de", "elapsed": 3.6},
    {"event": "did_fail", "id": "de", "message": "no <cells>", "elapsed": 4.0},
]


def test_a_line_on_a_terminal() -> None:
    stream = io.StringIO()
    line = _progress.Line(stream)
    for event in EVENTS:
        line.state.take(event)
    line.close()
    assert "w<1>: 2/4, 1 cached, 1 failed, 1 warning, 4 s  train 25 %" in stream.getvalue()
    assert "\x1b[2J" not in stream.getvalue(), "what comes from data moves no cursor"


def test_a_bar_in_a_notebook() -> None:
    cell = _progress.Cell()
    for event in EVENTS:
        cell.state.take(event)
    html = cell.as_html()
    assert '<progress value="2" max="4"' in html
    assert "w&lt;1&gt;: 2/4" in html and "<b>de</b>: no &lt;cells&gt;" in html
    assert "train 25 %" in html


def test_an_unknown_display_is_refused() -> None:
    with pytest.raises(ValueError, match="'bar'"):
        _progress.display("bar")  # type: ignore[arg-type]
