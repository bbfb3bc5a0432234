"""Typed settings from `--conf KEY VALUE` pairs; an invalid one stops the start."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

import yaml

from bundle_configs import Bundle
from infers.encoders.factory import CSAL3D
from pool.imaging.decathlon import task_settings
from strategies.engine.engines import check_engine
from strategies.settings import PRESETS, PRODUCT, Settings, names_of

_IGNORED = ("server_mode",)  # set by MONAI Label itself


class ConfigError(ValueError):
    """An invalid configuration key or value; the text says what is valid."""


@dataclass(frozen=True)
class Config:
    """The configuration that a server was started with."""

    settings: Settings
    overrides: dict[str, Any]  # keys of the bundle, for training and network


def text_of(config: Config) -> str:
    """Return the settings and overrides that differ from the defaults, for the log."""
    changed = {
        item.name: value
        for item in fields(Settings)
        if item.repr and (value := getattr(config.settings, item.name)) != item.default
    }
    pairs = ", ".join(f"{name} {value!r}" for name, value in {**changed, **config.overrides}.items())
    return pairs or "the defaults"


def describe(bundle: Bundle) -> str:
    """Return all keys with type, default, range and help, one per line."""
    lines = []
    defaults = {**PRODUCT, **bundle.selection}
    for item in fields(Settings):
        meta = item.metadata
        allowed = (
            " | ".join(meta["choices"])
            or ", ".join(meta["names"])
            or ", ".join(
                f"{word} {meta[name]}"
                for name, word in (("low", "from"), ("high", "to"))
                if meta[name] is not None
            )
        )
        lines.append(
            f"  {item.name} ({type(item.default).__name__}, "
            f"default {defaults.get(item.name, item.default)!r}"
            f"{', ' + allowed if allowed else ''}): {meta['help']}"
        )
    lines += [
        f"  {name} (default {bundle.get(name)!r}): training, from bundle_configs/{bundle.name}"
        for name in bundle.overrides
    ]
    return "\n".join(lines)


def _convert(name: str, text: Any, default: Any) -> Any:
    """Convert a value to the type of the default. Raises ConfigError."""
    expected = type(default)
    try:
        value = text if expected is str or not isinstance(text, str) else yaml.safe_load(text)
    except yaml.YAMLError:
        value = None  # never of the expected type
    if expected is float and isinstance(value, str):
        with contextlib.suppress(ValueError):  # YAML reads "1e-3" as a string
            value = float(value)
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, expected) or isinstance(value, bool) != (expected is bool):
        raise ConfigError(f"--conf {name} {text}: expected {expected.__name__}, for example {default!r}")
    return value


def _setting(item: Any, text: Any) -> Any:
    value, meta = _convert(item.name, text, item.default), item.metadata
    if meta["choices"] and value not in meta["choices"]:
        raise ConfigError(f"--conf {item.name} {text}: choose one of {', '.join(meta['choices'])}")
    if meta["names"] and (unknown := [name for name in names_of(value) if name not in meta["names"]]):
        raise ConfigError(
            f"--conf {item.name} {text}: there is no {unknown[0]!r}; there are: {', '.join(meta['names'])}"
        )
    low, high = meta["low"], meta["high"]
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        raise ConfigError(f"--conf {item.name} {text}: must lie from {low} to {high}")
    return value


def with_dataset(conf: Mapping[str, Any], studies: str, bundle: Bundle) -> dict[str, Any]:
    """Return `--conf` pairs and, in an app for data sets, what a Decathlon dataset.json adds to them.

    Raises DatasetError, which is a ValueError.
    """
    if "dataset" not in bundle.overrides:
        return dict(conf)
    return {**task_settings(studies, conf.get("dataset", "")), **conf}


def read(conf: Mapping[str, Any], bundle: Bundle) -> Config:
    """Read `--conf` pairs, on top of the preset and the app's own defaults, into settings and overrides.

    Whether the networks can be built with the overrides is not checked: that takes PyTorch, see `parse`.
    Raises ConfigError; of an unknown key it names the most similar ones.
    """
    items = {item.name: item for item in fields(Settings)}
    settings: dict[str, Any] = {}
    overrides: dict[str, Any] = {}
    with _config_errors():
        preset = PRESETS.get(str(conf.get("preset", "")), {})  # an unknown one is refused below
        for name, text in {**PRODUCT, **bundle.selection, **preset, **conf}.items():
            if name in items:
                settings[name] = _setting(items[name], text)
            elif name in bundle.overrides:
                overrides[name] = _convert(name, text, bundle.get(name))
            elif name not in _IGNORED:
                raise ConfigError(_unknown(name, [*items, *bundle.overrides], bundle))
        bundle.check_values(overrides)
        if settings.get("encoder") == CSAL3D and not bundle.pretrains:
            raise ValueError(f"--conf encoder {CSAL3D}: this app has no pretraining; use the app for volumes")
        check_engine(Settings(**settings))
    return Config(Settings(**settings), overrides)


def parse(conf: Mapping[str, Any], bundle: Bundle) -> Config:
    """Read `--conf` pairs as `read` does, and check that the networks can be built. Raises ConfigError."""
    chosen = read(conf, bundle)
    with _config_errors():
        bundle.check(chosen.overrides)
        if bundle.pretrains:
            from trainers.csal3d.checks import check_pretraining  # imports PyTorch

            check_pretraining(Bundle(bundle.name, chosen.overrides))
    return chosen


def _unknown(name: str, keys: list[str], bundle: Bundle) -> str:
    similar = get_close_matches(name, keys, n=1)
    hint = f"did you mean {similar[0]}? " if similar else ""
    return (
        f"--conf {name}: there is no such key; {hint}`python -m server.config {bundle.name}` lists all keys"
    )


@contextlib.contextmanager
def _config_errors() -> Iterator[None]:
    """Turn a ValueError of the block into a ConfigError."""
    try:
        yield
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from None


if __name__ == "__main__":  # python -m server.config [bundle]: the keys of `--conf`
    import sys

    print(describe(Bundle(sys.argv[1] if len(sys.argv) > 1 else "cxr_lungs")))
