"""What `mcumgr help` says: every command of the original with what it takes."""

from __future__ import annotations

#: command → (what follows it, what it does)
COMMANDS: dict[tuple[str, ...], tuple[str, str]] = {
    ("config",): ("<var-name> [var-value]", "Read or write a config value on a device"),
    ("conn",): ("", "Keep connection profiles"),
    ("conn", "add"): ("<conn_profile> type=<type> connstring=<text>", "Add a connection profile"),
    ("conn", "delete"): ("<conn_profile>", "Delete a connection profile"),
    ("conn", "show"): ("[conn_profile]", "Show connection profiles"),
    ("crash",): ("<div0|jump0|ref0|assert|wdog>", "Make a device crash"),
    ("datetime",): ("[rfc-3339-date-string | now]", "Read or set the time of a device"),
    ("echo",): ("<text>", "Have a device say the text"),
    ("fs",): ("", "Files on a device"),
    ("fs", "download"): ("<src-filename> <dst-filename>", "Fetch a file from a device"),
    ("fs", "upload"): ("<src-filename> <dst-filename>", "Put a file on a device"),
    ("help",): ("[command]", "Say this about a command"),
    ("image",): ("", "Images on a device"),
    ("image", "confirm"): ("[hex-image-hash]", "Run an image for good; without a hash, the one that runs"),
    ("image", "corelist"): ("", "Say whether there is a core dump on a device"),
    ("image", "coreerase"): ("", "Erase the core dump on a device"),
    ("image", "erase"): ("", "Erase the unused slot of a device"),
    ("image", "list"): ("", "Show the images on a device"),
    ("image", "test"): ("<hex-image-hash>", "Run an image at the next reset, once"),
    ("image", "upload"): ("<image-file> [-n image] [-u] [-e=false]", "Upload an image to a device"),
    ("log",): ("", "Logs on a device"),
    ("log", "clear"): ("", "Clear the logs"),
    ("log", "level_list"): ("", "Show the log levels"),
    ("log", "list"): ("", "Show the log names"),
    ("log", "module_list"): ("", "Show the log modules"),
    ("log", "show"): ("[log-name [min-index [min-timestamp]]]", "Show the logs; min-index may be `last`"),
    ("mpstat",): ("", "Read the memory pools of a device"),
    ("reset",): ("", "Restart a device"),
    ("run",): ("", "Tests on a device"),
    ("run", "list"): ("", "Show the tests"),
    ("run", "test"): ("[all | testname] [token]", "Run tests"),
    ("shell",): ("", "The shell of a device"),
    ("shell", "exec"): ("<words>", "Run a shell command"),
    ("stat",): ("list | <stats_name>", "Read statistics from a device"),
    ("taskstat",): ("", "Read the tasks of a device"),
    ("version",): ("", "Say which mcumgr this is"),
}

_FLAGS = """  -c, --conn string         connection profile to use
      --connextra string    one more key=value for the connstring
      --connstring string   instead of the profile's connstring
      --conntype string     instead of the profile's type
  -h, --help                this text
  -l, --loglevel string     accepted (default "info")
  -t, --timeout float       seconds to wait for an answer (default 10)
  -r, --tries int           how often to ask (default 1)
"""


def help_of(command: tuple[str, ...]) -> str:
    """The help of a command or a group; of everything, if it is neither."""
    if command not in COMMANDS:
        return _group("mcumgr manages remote devices", "mcumgr", ())
    takes, does = COMMANDS[command]
    words = " ".join(("mcumgr", *command))
    if any(key[:-1] == command for key in COMMANDS):
        return _group(does, words, command)
    return f"{does}\n\nUsage:\n  {' '.join(filter(None, (words, takes)))} [flags]\n\nFlags:\n{_FLAGS}"


def _group(does: str, words: str, command: tuple[str, ...]) -> str:
    inner = {key[-1]: about for key, (_, about) in COMMANDS.items() if key[:-1] == command}
    width = max(map(len, inner))
    rows = "\n".join(f"  {name:<{width}} {about}" for name, about in sorted(inner.items()))
    return (
        f"{does}\n\nUsage:\n  {words} [flags]\n  {words} [command]\n\nAvailable Commands:\n{rows}\n\nFlags:\n{_FLAGS}"
        f'\nUse "{words} [command] --help" for more information about a command.\n'
    )
