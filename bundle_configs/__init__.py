"""MONAI bundles, one per app: the only definition of network, loss, optimiser and transforms."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bundle_configs.checks import check_labels, check_plain, check_volumes, is_plain

if TYPE_CHECKING:
    from monai.bundle import ConfigParser
    from monai.bundle.config_item import ComponentLocator

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


@lru_cache(maxsize=16)
def _parsed(text: str) -> dict[str, Any]:
    """Parse a file of a bundle, once for all bundles of a process that read it."""
    return dict(yaml.safe_load(text))


@cache
def _locator() -> ComponentLocator:
    """Return MONAI's finder of classes, which looks through all of MONAI for a short name only."""
    from monai.bundle.config_item import ComponentLocator

    class Locator(ComponentLocator):
        def get_component_module_name(self, name: str) -> list[str] | str | None:
            return None if "." in name else super().get_component_module_name(name)

    return Locator()


def bundle_names() -> list[str]:
    """Return the names of the folders here that hold a bundle, sorted."""
    return sorted(path.parent.parent.name for path in _FOLDER.glob("*/configs/train.yaml"))


class Bundle:
    """Configuration of one app. Plain keys are read as YAML, all others with MONAI's ConfigParser.

    MONAI is imported when a key is first asked for that it must evaluate: it takes seconds.

    :param name: its folder in `bundle_configs`
    :param overrides: trusted values for keys of the bundle; values from a file go through `stored`

    Raises ValueError for an unknown bundle.
    """

    def __init__(self, name: str, overrides: Mapping[str, Any] | None = None) -> None:
        self.name, self.values = name, dict(overrides or {})
        if name not in (names := bundle_names()):
            raise ValueError(f"there is no bundle {name!r}; there are: {', '.join(names)}")
        folder = _FOLDER / name / "configs"
        self._files = [folder / file for file in _FILES if (folder / file).exists()]

    @cached_property
    def _config(self) -> dict[str, Any]:
        """Keys and values as they are in the files, before the overrides."""
        config: dict[str, Any] = {}
        for file in self._files:
            config |= copy.deepcopy(_parsed(file.read_text(encoding="utf-8")))
        if any(key.startswith(("+", "~")) for key in config):  # MONAI's way to change keys of an earlier file
            config = self._new_parser().config
        return config

    @cached_property
    def _parser(self) -> ConfigParser:
        parser = self._new_parser()
        parser.update(self.values)
        return parser

    def _new_parser(self) -> ConfigParser:
        from monai.bundle import ConfigParser  # slow to import

        parser = ConfigParser()
        parser.locator = _locator()
        parser.read_config([str(file) for file in self._files])
        return parser

    @classmethod
    def stored(cls, name: Any, overrides: Any) -> Bundle:
        """Return the bundle that a model file names. Raises ValueError for overrides other than plain data.

        An override may only replace plain data; a value that MONAI would evaluate is refused.
        """
        if not isinstance(name, str) or not isinstance(overrides, Mapping):
            raise ValueError("a bundle needs a name and a mapping of overrides")
        defaults = cls(name)
        for key, value in overrides.items():
            if key not in defaults._config or not is_plain(defaults._config[key]):
                raise ValueError(f"{key!r} is not a key of {name} that a file may change")
            check_plain(key, value)
            if not _same_kind(value, defaults._config[key]):
                raise ValueError(f"{key} {value!r}: expected as in {defaults._config[key]!r}")
        return cls(name, overrides)

    def __reduce__(self) -> tuple[type[Bundle], tuple[str, dict[str, Any]]]:
        """Pickle by name and overrides, since the parser holds modules, which cannot be pickled."""
        return Bundle, (self.name, self.values)

    def get(self, key: str) -> Any:
        """Return the parsed value or object of a key."""
        known = self.values if key in self.values else self._config
        if key in known and is_plain(known[key]):
            return copy.deepcopy(known[key])
        return self._parser.get_parsed_content(key)

    @property
    def overrides(self) -> list[str]:
        """Keys that `--conf` may change."""
        return [*self.get("overrides"), *(self.get("pretrain_overrides") if self.pretrains else [])]

    @property
    def selection(self) -> dict[str, Any]:
        """This app's own defaults for `--conf` keys of selection."""
        return dict(self.get("selection")) if "selection" in self._config else {}

    @property
    def evidence(self) -> str:
        """A sentence on what speaks for this app's methods of selection; may be empty."""
        return str(self.get("evidence")) if "evidence" in self._config else ""

    @property
    def pretrains(self) -> bool:
        """True if the app has self-supervised pretraining."""
        return "pretrain_network" in self._config

    def check(self, overrides: Mapping[str, Any]) -> None:
        """Raise ValueError if the network cannot be built with these values; imports PyTorch."""
        import torch

        self.check_values(overrides)
        bundle = Bundle(self.name, overrides)
        try:
            network = bundle.new("network_def").eval()
            with torch.inference_mode():
                network(torch.zeros(bundle.input_shape))
        except Exception as error:  # MONAI and torch raise many kinds of errors
            raise ValueError(f"the network cannot be built with {dict(overrides)}: {error}") from error

    def check_values(self, overrides: Mapping[str, Any]) -> None:
        """Raise ValueError for a value out of range, without building the network."""
        for name in _POSITIVE:
            if name in overrides and not 0 < overrides[name] < float("inf"):
                raise ValueError(f"--conf {name} {overrides[name]}: must be a number above 0")
        if not 0 <= overrides.get("dropout", 0) < 1:
            raise ValueError(f"--conf dropout {overrides['dropout']}: must be at least 0 and below 1")
        bundle = Bundle(self.name, overrides)
        check_labels(bundle.get("labels"))
        if bundle.get("dimensions") == 3:
            check_volumes(overrides)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape (1, C, ...) of the network's input."""
        if self.get("dimensions") == 3:
            return (1, self.get("in_channels"), *self.get("window"))
        return (1, 1, self.get("image_size"), self.get("image_size"))

    def new(self, key: str) -> Any:
        """Create a new object on each call, for networks and transforms with state."""
        return self._parser.get_parsed_content(key, instantiate=True, lazy=False)
