# ruff: noqa: UP031 - MicroPython formats with % in less memory
"""The same on a PC: `python on_a_pc.py PORT http://host:port/manifest.json`; a person works reset and recovery pin.

`--pins FIFO` writes `recovery=1`, `reset` and so on to a pipe instead of asking, for a test bench.
"""

import argparse
import socket
import sys
import time
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

import bootwright.smp
from bootwright.host.smp import Session

sys.modules["smp"] = bootwright.smp  # the name that the folder has on a board
for name in ("header", "errors", "client", "messages", "negotiate", "upload"):
    sys.modules["smp." + name] = import_module("bootwright.smp." + name)

from updater import FileJournal, HttpSource, Updater  # noqa: E402 - it imports `smp`


class Stream:
    """A socket with MicroPython's two methods."""

    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port), timeout=10)

    def write(self, data):
        """Send everything."""
        self.socket.sendall(data)

    def readinto(self, view):
        """Read what there is."""
        return self.socket.recv_into(view)


class Hands:
    """A person at the pins."""

    def recovery(self, held):
        """Ask for it."""
        input("%s the neighbour's recovery pin, then press Enter " % ("hold" if held else "let go of"))

    def reset(self):
        """Ask for it."""
        input("reset the neighbour, then press Enter ")


class Pipe:
    """A test bench at the pins."""

    def __init__(self, path):
        self.path = Path(path)

    def recovery(self, held):
        """Tell it."""
        self.tell("5=%d\n" % held)

    def reset(self):
        """Tell it."""
        self.tell("4=0\n")
        self.tell("4=1\n")

    def tell(self, line):
        """Write a line."""
        with self.path.open("w") as file:
            file.write(line)
        time.sleep(0.03)


def main():
    """Run the update."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port")
    parser.add_argument("manifest")
    parser.add_argument("--baud", type=int, default=115200)
    parser.add_argument("--pins")
    parser.add_argument("--journal", default="update.journal")
    options = parser.parse_args()
    url = urlsplit(options.manifest)
    with Session.open(options.port, baud=options.baud) as session:
        pins = Pipe(options.pins) if options.pins else Hands()
        updater = Updater(session.link, session.drive, pins, FileJournal(options.journal), print)
        updater.update(HttpSource(lambda: Stream(url.hostname, url.port or 80), url.hostname, url.path))


if __name__ == "__main__":
    main()
