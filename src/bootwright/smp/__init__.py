"""SMP and its console framing, without I/O; also runs on MicroPython."""
