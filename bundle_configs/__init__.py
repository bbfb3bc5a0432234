"""One MONAI bundle per app: network, loss, optimiser and transforms stand here once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from bundle_configs.checks import check_labels, check_plain, check_volumes, is_plain

_FOLDER = Path(__file__).parent
_FILES = ("train.yaml", "pretrain.yaml")  # the second where an app has self-supervised pretraining
_POSITIVE = ("image_size", "epochs", "train_batch_size", "learning_rate", "in_channels", "crops_per_volume")


def _same_kind(value: Any, default: Any) -> bool:
    """Whether a value may stand where another does: two numbers, or two of one type."""
    if isinstance(value, bool) or isinstance(default, bool):
        return type(value) is type(default)
    if isinstance(default, int | float):
        return isinstance(value, int | float)
    return default is None or isinstance(value, type(default))


def bundle_names() -> list[str]:
    """Folders beside this file that hold a bundle, sorted."""
    return sorted(path.parent.parent.name for path in _FOLDER.glob("*/configs/train.yaml"))


class Bundle:
    """The configuration of one app, read with MONAI's ConfigParser.

    :param name: its folder in `bundle_configs`
    :param overrides: values for keys of the bundle, trusted; those of a file go through `stored`

    Raises ValueError for a bundle that does not exist.
    """

    def __init__(self, name: str, overrides: Mapping[str, Any] | None = None) -> None:
        self.name, self.values = name, dict(overrides or {})
        if name not in (known := bundle_names()):
            raise ValueError(f"there is no bundle {name!r}; there are: {', '.join(known)}")
        folder = _FOLDER / name / "configs"
        self._parser = ConfigParser()
        self._parser.read_config([str(folder / file) for file in _FILES if (folder / file).exists()])
        self._parser.update(self.values)

    @classmethod
    def stored(cls, name: Any, overrides: Any) -> Bundle:
        """The bundle that a model file names. Raises ValueError unless its words are plain data.

        An override takes the place of plain data only; a value that MONAI would evaluate is refused.
        """
        if not isinstance(name, str) or not isinstance(overrides, Mapping):
            raise ValueError("a bundle has a name and a table of overrides")
        defaults = cls(name)
        for key, value in overrides.items():
            if key not in defaults._parser.config or not is_plain(defaults._parser.config[key]):
                raise ValueError(f"{key!r} is no key of {name} that a file may change")
            check_plain(key, value)
            if not _same_kind(value, defaults._parser.config[key]):
                raise ValueError(f"{key} {value!r}: expected as in {defaults._parser.config[key]!r}")
        return cls(name, overrides)

    def __reduce__(self) -> tuple[type[Bundle], tuple[str, dict[str, Any]]]:
        """Made again from its files in another process: the parser holds modules, which do not pickle."""
        return Bundle, (self.name, self.values)

    def get(self, key: str) -> Any:
        """The parsed value or object under a key."""
        return self._parser.get_parsed_content(key)

    @property
    def overrides(self) -> list[str]:
        """Keys that `--conf` may change."""
        return [*self.get("overrides"), *(self.get("pretrain_overrides") if self.pretrains else [])]

    @property
    def selection(self) -> dict[str, Any]:
        """Defaults of `--conf` keys of the selection that are this app's own."""
        return dict(self.get("selection")) if "selection" in self._parser else {}

    @property
    def pretrains(self) -> bool:
        """Whether the app has self-supervised pretraining."""
        return "pretrain_network" in self._parser

    def check(self, overrides: Mapping[str, Any]) -> None:
        """Raises ValueError when the network cannot be built with these values."""
        for name in _POSITIVE:
            if name in overrides and not 0 < overrides[name] < float("inf"):
                raise ValueError(f"--conf {name} {overrides[name]}: must be a number above 0")
        if not 0 <= overrides.get("dropout", 0) < 1:
            raise ValueError(f"--conf dropout {overrides['dropout']}: must lie from 0 to below 1")
        bundle = Bundle(self.name, overrides)
        check_labels(bundle.get("labels"))
        if bundle.get("dimensions") == 3:
            check_volumes(overrides)
        try:
            network = bundle.new("network_def").eval()
            with torch.inference_mode():
                network(torch.zeros(bundle.input_shape))
        except Exception as error:  # MONAI and torch raise many kinds for values that do not fit together
            raise ValueError(f"the network cannot be built with {dict(overrides)}: {error}") from error

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(1, C, ...) of what the network sees at once."""
        if self.get("dimensions") == 3:
            return (1, self.get("in_channels"), *self.get("window"))
        return (1, 1, self.get("image_size"), self.get("image_size"))

    def new(self, key: str) -> Any:
        """A fresh object each time, for networks and transforms that keep state."""
        return self._parser.get_parsed_content(key, instantiate=True, lazy=False)
