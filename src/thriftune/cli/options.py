"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Concatenate, ParamSpec

import click

from thriftune import project
from thriftune.cli.guard import META
from thriftune.config import Parameters

Options = ParamSpec("Options")

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _as_kedro_reads_it(
    ctx: click.Context, option: click.Parameter, value: str | Mapping[str, object]
) -> Mapping[str, object]:
    """Parse the value of --params as `kedro run` does."""
    from kedro.framework.cli.project import run  # takes half a second, which --help need not

    (same,) = (each for each in run.params if each.name == "params")
    parsed: Mapping[str, object] = same.callback(ctx, option, value)
    return parsed


def configured(command: Callable[Concatenate[Parameters, Options], None]) -> Callable[..., None]:
    """Return a command with the options --params and --env, which is called with the parameters they give.

    A ConfigError ends it before it is called where the current directory is in no project, or a parameter is
    wrong.

    Args:
        command: Takes the parameters, of the project around the current directory, and its own options.
    """

    @click.option(
        "--params", default="", callback=_as_kedro_reads_it, help="Parameters, as in `kedro run`: a.b=c,d=e."
    )
    @click.option("--env", help="The configuration environment, as in `kedro run`.")
    @wraps(command)
    def with_parameters(
        params: Mapping[str, object], env: str | None, *words: Options.args, **options: Options.kwargs
    ) -> None:
        parameters = project.load_parameters(project.project_root(), env, params)
        click.get_current_context().meta[META] = parameters
        command(parameters, *words, **options)

    return with_parameters
