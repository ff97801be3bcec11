"""Options that several commands have."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import click
from kedro.framework.cli.utils import _split_params

from thriftune.cli.guard import META, RunInfo

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def configured(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the options --params and --env, which is given the project's folder, where it works, and
    the parameters."""

    @click.option("--params", default="", callback=_split_params, help="As of `kedro run`: a.b=c,d=e.")
    @click.option("--env", help="The configuration environment, as of `kedro run`.")
    @wraps(command)
    def with_settings(params: Mapping[str, Any], env: str | None, **options: Any) -> None:
        from thriftune.project.parameters import load_parameters, project_root

        root = project_root()
        settings = load_parameters(root, env, params)
        click.get_current_context().meta[META] = RunInfo(root, settings)
        os.chdir(root)  # paths in the parameters are from there
        command(root, settings, **options)

    return with_settings
