"""The corridor: how host and chip talk, without I/O except in `transport`."""
