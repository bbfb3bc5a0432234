"""MONAI bundles, one per app: the only definition of network, loss, optimiser and transforms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from bundle_configs.checks import check_labels, check_plain, check_volumes, is_plain

_FOLDER = Path(__file__).parent
_FILES = ("train.yaml", "pretrain.yaml")  # the second for apps with self-supervised pretraining
_POSITIVE = ("image_size", "epochs", "train_batch_size", "learning_rate", "in_channels", "crops_per_volume")


def _same_kind(value: Any, default: Any) -> bool:
    """Return True if a value may replace the default: two numbers, or two values of one type."""
    if isinstance(value, bool) or isinstance(default, bool):
        return type(value) is type(default)
    if isinstance(default, int | float):
        return isinstance(value, int | float)
    return default is None or isinstance(value, type(default))


def bundle_names() -> list[str]:
    """Return the names of the folders here that hold a bundle, sorted."""
    return sorted(path.parent.parent.name for path in _FOLDER.glob("*/configs/train.yaml"))


class Bundle:
    """Configuration of one app, read with MONAI's ConfigParser.

    :param name: its folder in `bundle_configs`
    :param overrides: trusted values for keys of the bundle; values from a file go through `stored`

    Raises ValueError for an unknown bundle.
    """

    def __init__(self, name: str, overrides: Mapping[str, Any] | None = None) -> None:
        self.name, self.values = name, dict(overrides or {})
        if name not in (names := bundle_names()):
            raise ValueError(f"there is no bundle {name!r}; there are: {', '.join(names)}")
        folder = _FOLDER / name / "configs"
        self._parser = ConfigParser()
        self._parser.read_config([str(folder / file) for file in _FILES if (folder / file).exists()])
        self._parser.update(self.values)

    @classmethod
    def stored(cls, name: Any, overrides: Any) -> Bundle:
        """Return the bundle that a model file names. Raises ValueError for overrides other than plain data.

        An override may only replace plain data; a value that MONAI would evaluate is refused.
        """
        if not isinstance(name, str) or not isinstance(overrides, Mapping):
            raise ValueError("a bundle needs a name and a mapping of overrides")
        defaults = cls(name)
        for key, value in overrides.items():
            if key not in defaults._parser.config or not is_plain(defaults._parser.config[key]):
                raise ValueError(f"{key!r} is not a key of {name} that a file may change")
            check_plain(key, value)
            if not _same_kind(value, defaults._parser.config[key]):
                raise ValueError(f"{key} {value!r}: expected as in {defaults._parser.config[key]!r}")
        return cls(name, overrides)

    def __reduce__(self) -> tuple[type[Bundle], tuple[str, dict[str, Any]]]:
        """Pickle by name and overrides, since the parser holds modules, which cannot be pickled."""
        return Bundle, (self.name, self.values)

    def get(self, key: str) -> Any:
        """Return the parsed value or object of a key."""
        return self._parser.get_parsed_content(key)

    @property
    def overrides(self) -> list[str]:
        """Keys that `--conf` may change."""
        return [*self.get("overrides"), *(self.get("pretrain_overrides") if self.pretrains else [])]

    @property
    def selection(self) -> dict[str, Any]:
        """This app's own defaults for `--conf` keys of selection."""
        return dict(self.get("selection")) if "selection" in self._parser else {}

    @property
    def pretrains(self) -> bool:
        """True if the app has self-supervised pretraining."""
        return "pretrain_network" in self._parser

    def check(self, overrides: Mapping[str, Any]) -> None:
        """Raise ValueError if the network cannot be built with these values."""
        for name in _POSITIVE:
            if name in overrides and not 0 < overrides[name] < float("inf"):
                raise ValueError(f"--conf {name} {overrides[name]}: must be a number above 0")
        if not 0 <= overrides.get("dropout", 0) < 1:
            raise ValueError(f"--conf dropout {overrides['dropout']}: must be at least 0 and below 1")
        bundle = Bundle(self.name, overrides)
        check_labels(bundle.get("labels"))
        if bundle.get("dimensions") == 3:
            check_volumes(overrides)
        try:
            network = bundle.new("network_def").eval()
            with torch.inference_mode():
                network(torch.zeros(bundle.input_shape))
        except Exception as error:  # MONAI and torch raise many kinds of errors
            raise ValueError(f"the network cannot be built with {dict(overrides)}: {error}") from error

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape (1, C, ...) of the network's input."""
        if self.get("dimensions") == 3:
            return (1, self.get("in_channels"), *self.get("window"))
        return (1, 1, self.get("image_size"), self.get("image_size"))

    def new(self, key: str) -> Any:
        """Create a new object on each call, for networks and transforms with state."""
        return self._parser.get_parsed_content(key, instantiate=True, lazy=False)
