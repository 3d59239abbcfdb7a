# mypy: ignore-errors

# What a board's `machine` module is under Node: the UART is a pty, pins are lines written to a pipe.
import time

import _hostio
from places import WORDS
from uctypes import addressof

_places = {}
for word in WORDS:
    key, _, value = word.partition("=")
    _places[key] = value

if hasattr(_hostio, "sleep"):
    time.sleep_ms = _hostio.sleep


class UART:
    def __init__(self, number, baudrate=115200, **options):
        self._fd = _hostio.open(_places["uart"])
        self._buffer = bytearray(4096)
        self._fill = 0

    def any(self):
        if self._fill == 0:
            self._fill = max(_hostio.read(self._fd, addressof(self._buffer), len(self._buffer)), 0)
        return self._fill

    def readinto(self, buf, nbytes=None):
        count = min(self.any(), len(buf) if nbytes is None else nbytes)
        buf[:count] = self._buffer[:count]
        self._buffer[: self._fill - count] = self._buffer[count : self._fill]
        self._fill -= count
        return count

    def write(self, buf):
        return max(_hostio.write(self._fd, addressof(buf), len(buf)), 0)


class Pin:
    OUT = 1
    OPEN_DRAIN = 2
    IN = 0

    def __init__(self, number, mode=OUT, value=None):
        self._number = number
        if value is not None:
            self.value(value)

    def value(self, level=None):
        line = b"%d=%d\n" % (self._number, level)
        _hostio.write(int(_places["pins"]), addressof(line), len(line))
        _hostio.sleep(30)

    __call__ = value
