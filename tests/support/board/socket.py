# mypy: ignore-errors
# ruff: noqa: N801 - a script for MicroPython as well: it prints, names are the board's, types stay at home
# A board's `socket` under Node: one connection that is already there, as a file descriptor.
import _hostio
from places import WORDS
from uctypes import addressof

AF_INET = 2
SOCK_STREAM = 1


def getaddrinfo(host, port, *rest):
    return [(AF_INET, SOCK_STREAM, 0, "", (host, port))]


class socket:
    def __init__(self, *kind):
        self._fd = int(next(word for word in WORDS if word.startswith("http="))[5:])

    def settimeout(self, seconds):
        pass

    def connect(self, address):
        pass

    def write(self, data):
        while True:
            count = _hostio.write(self._fd, addressof(data), len(data))
            if count >= 0:
                return count
            _hostio.sleep(1)

    def readinto(self, buf, nbytes=None):
        size = len(buf) if nbytes is None else nbytes
        while True:
            count = _hostio.read(self._fd, addressof(buf), size)
            if count >= 0:
                return count
            _hostio.sleep(1)

    def close(self):
        pass
