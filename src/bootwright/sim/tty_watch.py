"""Seeing every opening and closing of a terminal, however fast they follow each other.

A hang-up on the master's side lasts until somebody opens the terminal again: a client that comes at the heels of
another hides it. The kernel queues openings and closings for inotify, and a queue hides nothing.
"""

from __future__ import annotations

import ctypes
import os
import struct

_EVENT = struct.Struct("iIII")
_OPEN, _CLOSE_WRITE, _CLOSE_NOWRITE = 0x20, 0x08, 0x10


class TerminalWatch:
    """Tells when a terminal was closed by its last client and opened again before anyone saw the hang-up."""

    def __init__(self, path: str) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        watched = libc.inotify_add_watch(self._descriptor, path.encode(), _OPEN | _CLOSE_WRITE | _CLOSE_NOWRITE)
        if self._descriptor < 0 or watched < 0:
            raise OSError(ctypes.get_errno(), f"cannot watch {path}")
        self._clients = 0
        self._closed = False

    def was_reopened(self) -> bool:
        """Whether, since the last look, the last client went and another came."""
        reopened = False
        for mask in self._masks():
            if mask & _OPEN:
                reopened |= self._closed
                self._closed = False
                self._clients += 1
            else:
                self._clients = max(self._clients - 1, 0)
                self._closed = not self._clients
        return reopened

    def hung_up(self) -> bool:
        """The hang-up was seen, and what led to it is no news any more; whether there has been a client at all."""
        had_client = bool(self._masks() or self._clients or self._closed)
        self._clients = 0
        self._closed = False
        return had_client

    def close(self) -> None:
        """Watch no longer."""
        os.close(self._descriptor)

    def _masks(self) -> list[int]:
        try:
            queue = os.read(self._descriptor, 1 << 14)
        except BlockingIOError:
            return []
        return [_EVENT.unpack_from(queue, at)[1] for at in range(0, len(queue) - _EVENT.size + 1, _EVENT.size)]
