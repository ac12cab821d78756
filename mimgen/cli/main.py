"""The command line: finds the command, runs it, turns errors into one line and an exit status."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Sequence

from mimgen import __version__
from mimgen.cli import help as help_command
from mimgen.errors import UserError

__all__ = ["main", "run"]


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: the words after `mimgen`.

    Returns:
        The exit status of the command.

    Raises:
        UserError: unknown command, or whatever the command refuses.
    """
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        return help_command.main([])
    if arguments[0] in ("-V", "--version"):
        sys.stdout.write(f"mimgen {__version__}\n")
        return 0
    name, *rest = arguments
    if name not in help_command.COMMANDS:
        from mimgen.errors import choose

        choose(name, list(help_command.COMMANDS), "command")
    module = importlib.import_module(f"mimgen.cli.{name}")
    status: int = module.main(rest)
    return status


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the `mimgen` script: 0 done, 2 user error, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Where in our sources a warning arose helps nobody at a terminal.
    warnings.formatwarning = lambda message, *_, **__: f"mimgen: warning: {message}\n"
    try:
        return run(words)
    except UserError as error:
        if os.environ.get("MIMGEN_TRACEBACK"):
            raise
        sys.stderr.write(f"mimgen: error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("mimgen: interrupted\n")
        return 130
    except BrokenPipeError:
        # The reader (head, less) has gone: nothing is left to say, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
