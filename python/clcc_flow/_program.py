"""Where the program is, and how it is called."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from ._errors import NotInstalled, of_program

NAME = "clcc-flow"
#: Names another program to call, for example one built for a GPU.
VARIABLE = "CLCC_FLOW"


def executable() -> Path:
    """The program that this module calls.

    ``$CLCC_FLOW`` if it is set; else the one installed with this module (the scripts of this interpreter, then of
    this user); else the first ``clcc-flow`` on ``$PATH``.

    Raises
    ------
    NotInstalled
        If there is none.
    """
    named = os.environ.get(VARIABLE)
    if named:
        path = Path(named)
        if path.is_file() and os.access(path, os.X_OK):
            return path.absolute()
        raise NotInstalled(f"${VARIABLE} is `{named}`, which is not a program")
    for path in _installed():
        if path.is_file():
            return path
    found = shutil.which(NAME)
    if found:
        return Path(found).absolute()
    raise NotInstalled(
        f"the program `{NAME}` is neither beside {sys.executable} nor on $PATH; "
        f"`pip install {NAME}` brings it, or ${VARIABLE} names it"
    )


def _installed() -> Iterator[Path]:
    yield Path(sysconfig.get_path("scripts")) / NAME
    yield Path(sys.executable).parent / NAME
    yield Path(sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user"))) / NAME
    # `pip install --target DIR` puts the program into DIR/bin.
    yield Path(__file__).parent.parent / "bin" / NAME


def call(arguments: Sequence[str]) -> str:
    """Run the program to its end; its stdout.

    Raises
    ------
    ProgramError
        If it ends with another exit code than 0.
    """
    # Without a terminal on stdin it asks nothing.
    done = subprocess.run(
        [str(executable()), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        raise of_program(done.returncode, done.stderr)
    return done.stdout


@cache
def _version_of(program: Path) -> str:
    return call(["--version"]).split()[-1]


def version() -> str:
    """The version of the program."""
    return _version_of(executable())
