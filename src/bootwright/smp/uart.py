"""Driving the programs on MicroPython: a `machine.UART` (or anything with its methods) and the board's clock."""

import time


class Ticks:
    """The link's clock: MicroPython's millisecond ticks, which wrap."""

    def now(self):
        """Milliseconds since some moment."""
        return time.ticks_ms()

    def since(self, then):
        """Milliseconds since then."""
        return time.ticks_diff(time.ticks_ms(), then)


def run(program, link, uart, idle=None):
    """Run a program to its end and return its result; `idle` is called while nothing comes, about every millisecond.

    The UART should have `timeout=0` and a receive buffer of 512 bytes or more.
    """
    count = None
    try:
        while True:
            want = program.send(count)
            if isinstance(want, int):
                count = _receive(uart, link.inbox, want, idle)
            else:
                _send(uart, want)
                count = None
    except StopIteration as end:
        return end.value


def _send(uart, view):
    sent = uart.write(view) or 0
    while sent < len(view):
        time.sleep_ms(1)
        sent += uart.write(view[sent:]) or 0


def _receive(uart, inbox, timeout_ms, idle):
    start = time.ticks_ms()
    while True:
        count = uart.any()
        if count:
            return uart.readinto(inbox, min(count, len(inbox))) or 0
        if time.ticks_diff(time.ticks_ms(), start) >= timeout_ms:
            return 0
        if idle:
            idle()
        time.sleep_ms(1)
