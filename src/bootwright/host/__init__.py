"""Room 5: what the engineer does: plans are pure, drivers act."""
