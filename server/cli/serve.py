"""`scan-selection serve`: MONAI Label's own `start_server`, from anywhere, with mistakes said at once."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from bundle_configs import Bundle
from server import config
from server.app_file import bundle_of_app
from server.cli.named import NamedPool
from server.cli.options import pool_command
from server.config import ConfigError
from server.open_pool import is_url
from server.places import running_servers, state_folder
from server.starting import ONE_WORKER, check_app, check_port, check_studies

_TLS, _MORE = "Encryption (TLS)", "As MONAI Label has them"
_WRITTEN = ("model", "lib", "logs", "bin")  # folders that MONAI Label makes in an app

KeyFile = Annotated[Path | None, typer.Option("--ssl_keyfile", metavar="FILE", rich_help_panel=_TLS)]
Certificate = Annotated[Path | None, typer.Option("--ssl_certfile", metavar="FILE", rich_help_panel=_TLS)]
KeyPassword = Annotated[str, typer.Option("--ssl_keyfile_password", metavar="TEXT", rich_help_panel=_TLS)]
Authorities = Annotated[Path | None, typer.Option("--ssl_ca_certs", metavar="FILE", rich_help_panel=_TLS)]
Verbosity = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR"],
    typer.Option("--verbose", "-v", help="What is logged.", rich_help_panel=_MORE),
]


def add_to(commands: typer.Typer) -> None:
    """Add the command to a tree."""
    pool_command(commands, panel="Run")(serve)


def serve(
    pool: NamedPool,
    host: Annotated[
        str, typer.Option("--host", "-i", help="Address to listen on; 0.0.0.0 is the whole network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", "-p", help="Port to listen on.")] = 8000,
    root_path: Annotated[
        str, typer.Option("--root_path", help="Path under which a proxy shows the server.")
    ] = "",
    ssl_keyfile: KeyFile = None,
    ssl_certfile: Certificate = None,
    ssl_keyfile_password: KeyPassword = "",
    ssl_ca_certs: Authorities = None,
    verbose: Verbosity = "INFO",
    log_level: Annotated[
        str, typer.Option("--log_level", help="What the web server logs.", rich_help_panel=_MORE)
    ] = "info",
    log_config: Annotated[
        str, typer.Option("--log_config", "-l", metavar="FILE", rich_help_panel=_MORE)
    ] = "",
    access_log: Annotated[bool, typer.Option("--access_log", rich_help_panel=_MORE)] = False,
    limit_concurrency: Annotated[int, typer.Option("--limit_concurrency", rich_help_panel=_MORE)] = 0,
    workers: Annotated[int, typer.Option("--workers", help="1.", rich_help_panel=_MORE)] = 1,
    dryrun: Annotated[bool, typer.Option("--dryrun", rich_help_panel=_MORE)] = False,
) -> None:
    """Run the server of a pool until Ctrl-C; --app and --studies are required.

    The same as `monailabel start_server`, but without an active environment.

    Values may hold spaces, and only this machine is listened to without --host.
    """
    options: dict[str, Any] = {
        "host": host,
        "port": port,
        "root_path": root_path,
        "ssl_keyfile": ssl_keyfile,
        "ssl_certfile": ssl_certfile,
        "ssl_keyfile_password": ssl_keyfile_password,
        "ssl_ca_certs": ssl_ca_certs,
        "verbose": verbose,
        "log_level": log_level,
        "log_config": log_config,
        "limit_concurrency": limit_concurrency,
    }
    flags = [f"--{name}" for name, is_on in (("access_log", access_log), ("dryrun", dryrun)) if is_on]
    try:
        if workers != 1:
            raise ConfigError(ONE_WORKER)
        app, studies = _checked(pool, host, port)
    except (ValueError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    words = ["start_server", "--app", app, "--studies", studies]
    words += [word for name, value in options.items() if value for word in (f"--{name}", str(value))]
    words += [word for pair in pool.pairs().items() for word in ("--conf", *pair)]
    _start([*words, *flags])


def _checked(pool: NamedPool, host: str, port: int) -> tuple[str, str]:
    """Return app and studies, after what can be checked without PyTorch. Raises ConfigError, DatasetError."""
    if pool.app is None or pool.studies is None:
        raise ConfigError("name the pool: --app FOLDER --studies FOLDER, or a DICOMweb URL for --studies")
    check_app(pool.app)
    check_studies(pool.studies)
    app = os.path.realpath(pool.app)
    studies = pool.studies if is_url(pool.studies) else os.path.realpath(pool.studies)
    missing = [name for name in _WRITTEN if not os.path.isdir(os.path.join(app, name))]
    if missing and not os.access(app, os.W_OK):
        raise ConfigError(f"--app {app}: its log cannot be written there; copy the app")
    conf = pool.pairs()
    if bundle := bundle_of_app(Path(app) / "main.py"):
        defaults = Bundle(bundle)
        config.read(config.with_dataset(conf, studies, defaults), defaults)
    state = str(state_folder(app, studies, conf.get("state", "")))
    for server in running_servers():
        if server.state == state and not conf.get("database"):
            raise ConfigError(
                f"another server works on this pool: {server.address}, process {server.pid}; use that, or "
                "stop it first"
            )
    check_port(host, port)
    return app, studies


def _start(words: list[str]) -> None:
    """Run MONAI Label's command in this process."""
    sys.argv = ["monailabel", *words]
    from monailabel.main import Main  # imports PyTorch

    logging.getLogger("monailabel.main").setLevel(logging.WARNING)  # it logs each option
    Main().run()
