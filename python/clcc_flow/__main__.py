"""``python -m clcc_flow`` is the program ``clcc-flow``."""

import os
import sys

from ._errors import NotInstalled
from ._program import executable


def main() -> None:
    """Replace this process by the program, with the same arguments."""
    try:
        program = str(executable())
    except NotInstalled as error:
        sys.exit(f"error: {error}")
    os.execv(program, [program, *sys.argv[1:]])


main()
