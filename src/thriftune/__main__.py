"""`python -m thriftune` runs the project, as Kedro has it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from kedro.framework.project import configure_project

from thriftune.project.quiet import silence


def main(*words: Any, **options: Any) -> Any:
    """Run the project in the current directory, with the options of `kedro run`.

    Args:
        *words: As for click.Command.main; none: the words of the command line.
        **options: As for click.Command.main.

    Returns:
        What click's main returns; in an interactive interpreter alone, else the process exits.
    """
    silence()
    configure_project(Path(__file__).parent.name)
    from thriftune.cli.run import run  # Kedro's command line warns at its import

    options.setdefault("standalone_mode", not hasattr(sys, "ps1"))
    return run(*words, **options)


if __name__ == "__main__":
    main()
