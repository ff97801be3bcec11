"""`python -m thriftune` runs the project, as Kedro has it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from kedro.framework.project import configure_project

from thriftune.project.quiet import silence


def main(*args: Any, **kwargs: Any) -> Any:
    """Run the project in the current directory with `kedro run`'s own options."""
    silence()
    configure_project(Path(__file__).parent.name)
    from thriftune.cli.run import run

    kwargs.setdefault("standalone_mode", not hasattr(sys, "ps1"))
    return run(*args, **kwargs)


if __name__ == "__main__":
    main()
