"""Former and short names of modules: people's apps, bundles, scripts and notes use them."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any

MOVED = {
    # in apps that `make app` wrote
    "server.shell": "server.app",
    # `_target_`s in people's own bundles, in exported ones and in models that were trained with them
    "pool.images": "pool.imaging.images",
    "pool.labels": "pool.imaging.labels",
    "pool.pairs": "pool.imaging.pairs",
    "pool.volumes": "pool.imaging.volumes",
    "infers.volumes": "infers.segmentation.volumes",
    "infers.writing": "infers.segmentation.writing",
    "infers.csal3d_network": "infers.csal3d.network",
    # documented commands: `python -m ...`
    "server.pool": "server.cli.pool",
    "server.new_app": "server.cli.new_app",
    "server.dicom_in": "server.cli.dicom_in",
    "benchmarks.again": "benchmarks.experiments.again",
    "benchmarks.crowd": "benchmarks.load.crowd",
    "benchmarks.csal3d": "benchmarks.experiments.csal3d",
    "benchmarks.curves": "benchmarks.experiments.curves",
    "benchmarks.empty_picks": "benchmarks.experiments.empty_picks",
    "benchmarks.figures": "benchmarks.pictures.figures",
    "benchmarks.latency": "benchmarks.load.latency",
    "benchmarks.map_frames": "benchmarks.load.map_frames",
    "benchmarks.million": "benchmarks.speed.million",
    "benchmarks.screenshots": "benchmarks.pictures.screenshots",
    "benchmarks.screenshots_ohif": "benchmarks.pictures.screenshots_ohif",
    "benchmarks.server_load": "benchmarks.load.server_load",
    "benchmarks.simulate": "benchmarks.experiments.simulate",
    "benchmarks.speed_cluster": "benchmarks.speed.cluster",
    "benchmarks.summary": "benchmarks.experiments.summary",
    "benchmarks.tables": "benchmarks.experiments.tables",
}


class Aliases(MetaPathFinder, InspectLoader):
    """Import, and run by `python -m`, a module under another name.

    :param names: {the other name: the module}, both dotted and absolute
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = dict(names)

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        """Find a module by its other name; for the import system."""
        if name not in self._names:
            return None
        spec = importlib.util.find_spec(self._names[name])
        origin = spec.origin if spec else None
        return importlib.util.spec_from_loader(name, self, origin=origin, is_package=False)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Import the module itself, which then has two names."""
        module = importlib.import_module(self._names[spec.name])
        spec.loader_state = module.__spec__  # importlib puts `spec` in its place; see exec_module
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its own spec back."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state

    def get_code(self, fullname: str) -> CodeType | None:
        """Return the module's code, for `python -m`."""
        spec = importlib.util.find_spec(self._names[fullname])
        assert spec is not None and isinstance(spec.loader, InspectLoader)
        return spec.loader.get_code(spec.name)

    def get_source(self, fullname: str) -> None:
        """Return no source: tools find it under the module's own name."""
        return None


def install() -> None:
    """Make the names known; each package whose modules have other names calls this when it is imported."""
    if not any(isinstance(finder, Aliases) for finder in sys.meta_path):
        sys.meta_path.append(Aliases(MOVED))
