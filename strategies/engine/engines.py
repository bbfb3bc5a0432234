"""Choice and check of the engine that the settings name."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import TYPE_CHECKING

from strategies.settings import Settings

if TYPE_CHECKING:
    from strategies.engine.local import Engine


def check_engine(settings: Settings) -> None:
    """Raise ValueError for an engine that cannot work, e.g. because a package is missing."""
    if settings.engine != "ray":
        if settings.ray_address or settings.shared_studies:
            raise ValueError(
                "--conf ray_address and --conf shared_studies are for --conf engine ray: set it as well"
            )
        return
    if find_spec("ray") is None:
        raise ValueError(
            "--conf engine ray: Ray is not installed; in this project's folder run "
            "pip install -c constraints.txt '.[ray]'"
        )
    if settings.ray_address and not re.fullmatch(r".+:\d+", settings.ray_address):
        raise ValueError(
            f"--conf ray_address {settings.ray_address}: expected host:port, such as 10.0.0.1:6379"
        )
    if settings.shared_studies:
        import fsspec

        try:
            fsspec.url_to_fs(settings.shared_studies)
        except (ImportError, ValueError) as error:  # an ImportError names the missing package
            raise ValueError(f"--conf shared_studies {settings.shared_studies}: {error}") from None


def engine_of(settings: Settings) -> Engine:
    """Return the engine that the settings name."""
    if settings.engine == "local":
        from strategies.engine.local import run_batches  # imports PyTorch

        return run_batches
    from strategies.engine.ray.engine import RayEngine  # optional dependency

    return RayEngine(settings.ray_address, settings.shared_studies)
