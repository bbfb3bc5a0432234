"""Import of optional packages: the extras `timm` and `torchxrayvision`."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def import_extra(name: str) -> ModuleType:
    """Import the package `name`, which needs torchvision.

    Raises:
        ValueError: it is not installed, or torchvision was built for another torch; the text says which.
    """
    try:
        return import_module(name)
    except (ImportError, RuntimeError) as error:  # RuntimeError: torchvision of another build
        raise ValueError(
            f"encoder {name}:... needs the package {name}, which does not import here "
            f"({type(error).__name__}: {error}): pip install -c constraints.txt '.[{name}]' in this "
            "project's folder. It brings torchvision, which imports only beside the torch that it was built "
            "for, not beside a CPU build (docs/encoders.md)"
        ) from error
