"""The door: how a person asks."""
