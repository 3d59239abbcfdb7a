"""Room 3: what MCUboot does, as programs that yield what they want done."""
