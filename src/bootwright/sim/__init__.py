"""Room 4: what the chip would do: a deterministic machine."""
