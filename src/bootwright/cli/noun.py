"""A command with commands below it, whose help says what each of them does in a whole sentence."""

from __future__ import annotations

import click


class Noun(click.Group):
    """A group that lists its commands as people read them: the first sentence of each, wrapped and never cut off."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands that are not hidden."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        rows = [(name, first_sentence(found)) for name, found in commands.items() if found and not found.hidden]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def first_sentence(command: click.Command) -> str:
    """What a command does, from its help."""
    paragraph = " ".join((command.help or "").split("\n\n")[0].split())
    sentence, stop, _ = paragraph.partition(". ")
    return sentence + stop.strip()
