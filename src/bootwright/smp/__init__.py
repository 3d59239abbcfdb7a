"""SMP and its console framing, without I/O; also runs on MicroPython.

Copy this folder onto a board as it is: it imports `struct`, `binascii` and `array`, and nothing of Bootwright's. The
`.pyi` files beside the modules carry the types and stay at home.

Programs are generators, as everywhere in Bootwright. What they yield is either a buffer (send it) or a number (wait at
most that many milliseconds for bytes, put them at the start of `link.inbox`, answer with how many came).
"""
