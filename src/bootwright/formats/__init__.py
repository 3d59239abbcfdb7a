"""Room 1: what the bytes mean, at rest. Pure: no flash, no chip, no clock."""
