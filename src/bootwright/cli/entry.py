"""The console script `bootwright`: it imports no more than the command needs, and ends the process at once."""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn

#: collecting while the modules are imported frees nothing, and takes a twentieth of a short run
IMPORT_THRESHOLD = 50_000


def run() -> NoReturn:
    """Run the command line and end as documented."""
    gc.set_threshold(IMPORT_THRESHOLD)
    if sys.argv[1:2] == ["imgtool"]:
        from bootwright.cli.dropin.imgtool import answer

        leave(answer(sys.argv[2:]))
    from bootwright.cli.main import run as run_here

    try:
        run_here()
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else 0)
    leave(0)


def leave(code: int) -> NoReturn:
    """End the process without taking the interpreter apart, which would take a sixth of a short run.

    Where threads or other processes still run, they are waited for in Python's own way.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = 141
    except OSError:  # /dev/full, say: what was said got lost
        code = code or 1
    if "multiprocessing" in sys.modules or ("threading" in sys.modules and _threads() > 1):
        sys.exit(code)
    os._exit(code)


def _threads() -> int:
    import threading

    return threading.active_count()
