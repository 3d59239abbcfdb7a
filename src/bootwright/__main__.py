"""`python -m bootwright`."""

from bootwright.cli.entry import run

run()
