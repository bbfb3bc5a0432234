"""Former names of modules: people's bundles, scripts and notes use them, and they are short to type."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any


class Aliases(MetaPathFinder, InspectLoader):
    """Import, and run by `python -m`, a module under another name.

    :param names: {the other name: the module}; both dotted and absolute
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = dict(names)

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        if name not in self._names:
            return None
        module = importlib.util.find_spec(self._names[name])
        return importlib.util.spec_from_loader(
            name, self, origin=module.origin if module else None, is_package=False
        )

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._names[spec.name])
        spec.loader_state = module.__spec__  # which importlib replaces by `spec`
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state

    def get_code(self, fullname: str) -> CodeType | None:
        spec = importlib.util.find_spec(self._names[fullname])
        return spec.loader.get_code(self._names[fullname]) if spec and spec.loader else None  # type: ignore[attr-defined]

    def get_source(self, fullname: str) -> None:
        return None


def alias(package: str, names: Mapping[str, str]) -> None:
    """Make modules of a package known under other names: `{name: module}`, both relative to the package."""
    sys.meta_path.append(Aliases({f"{package}.{name}": f"{package}.{new}" for name, new in names.items()}))
