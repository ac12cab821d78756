"""What the command line does: one module a command, each with `main(arguments) -> exit status`.

The modules are imported when their command runs, so that help stays quick.
"""

__all__ = ["bench", "compare", "convert", "data", "evaluate", "generate", "help", "quickstart", "systems", "train"]
