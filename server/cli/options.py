"""Options that several commands share, above all those that name a pool as the server's do."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from server.cli.named import NamedPool

_PANEL = "The pool"

App = Annotated[
    Path | None,
    typer.Option(
        "--app",
        "-a",
        metavar="FOLDER",
        help="Folder of the app, such as apps/cxr_lungs.",
        rich_help_panel=_PANEL,
    ),
]
Studies = Annotated[
    str | None,
    typer.Option(
        "--studies",
        "-s",
        metavar="FOLDER|URL",
        help="Folder of the images, or DICOMweb URL.",
        rich_help_panel=_PANEL,
    ),
]
StateFolder = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="FOLDER",
        help="Folder of the pool's state, if the server was given one.",
        rich_help_panel=_PANEL,
    ),
]
Conf = Annotated[
    list[str] | None,
    typer.Option(
        "--conf",
        "-c",
        metavar="KEY VALUE",
        help="A setting of the server, also written KEY=VALUE; may be repeated.",
        rich_help_panel=_PANEL,
    ),
]
Images = Annotated[list[str], typer.Argument(help="Ids of images.")]
Reason = Annotated[str, typer.Option(help="Why; recorded in the ledger.")]
Who = Annotated[str, typer.Option("--as", help="Who decides; recorded in the ledger.")]

_POOL = {"app": App, "studies": Studies, "state": StateFolder, "conf": Conf}


class PairsCommand(TyperCommand):
    """A command that takes `--conf KEY VALUE`, as the server does, and `--conf KEY=VALUE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words of the command line. Raises typer.BadParameter."""
        return super().parse_args(ctx, _with_joined_pairs(args))


def _with_joined_pairs(words: list[str]) -> list[str]:
    """Write each `--conf KEY VALUE` as `--conf KEY=VALUE`. Raises typer.BadParameter for a lone key."""
    joined, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        joined.append(word)
        if word not in ("--conf", "-c") or not rest:
            continue
        key = rest.pop(0)
        if "=" not in key:
            if not rest:
                raise typer.BadParameter(f"{key} needs a value, as in --conf alpha 0.5", param_hint="--conf")
            key = f"{key}={rest.pop(0)}"
        joined.append(key)
    return joined


def pool_command(
    commands: typer.Typer, name: str | None = None, panel: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Declare a command whose first argument is the pool that --app, --studies, --state and --conf name.

    The function's other arguments are options of their own.

    :param name: name of the command; by default the function's
    :param panel: heading under which the help lists it
    """

    def declare(function: Callable[..., None]) -> Callable[..., None]:
        def command(**values: Any) -> None:
            named = NamedPool(*(values.pop(key) for key in _POOL))
            function(named, **values)

        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        named = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
            for key, option in _POOL.items()
        ]
        keyword_only = [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in own]
        command.__signature__ = inspect.Signature([*keyword_only, *named])  # type: ignore[attr-defined]
        command.__annotations__, command.__doc__ = {}, function.__doc__
        command_name = name or function.__name__.replace("_", "-")
        commands.command(command_name, cls=PairsCommand, rich_help_panel=panel)(command)
        return function

    return declare
