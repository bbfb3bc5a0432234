"""`--conf` pairs: typed, checked, and explained when they are wrong."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from bundle_configs import Bundle
from server.config import ConfigError, describe, parse
from strategies.choosing import choosing_text
from strategies.settings import Settings

DEFAULTS = {
    "encoder": "descriptor",
    "encoder_weights": "",
    "projection": "tsne",
    "perplexity": 30.0,
    "cold_start_budget": 12,
    "batch_size": 4,
    "alpha": 0.3,
    "seed": 42,
    "state": "",
}
OVERRIDES = {
    "image_size": 256,
    "epochs": 120,
    "train_batch_size": 2,
    "learning_rate": 0.001,
    "dropout": 0.15,
    "channels": [16, 32, 64, 128, 256],
}
SMALL: dict[str, Any] = {"image_size": "32", "channels": "[4, 8]"}  # quick to build


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle("cxr_lungs")


def test_defaults_of_every_key(bundle: Bundle) -> None:
    config = parse({"server_mode": "true"}, bundle)
    assert DEFAULTS.items() <= asdict(config.settings).items()
    assert config.overrides == {}
    assert {name: bundle.get(name) for name in bundle.overrides} == OVERRIDES


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("encoder", "transformers:/a b/model", "transformers:/a b/model"),
        ("encoder", "5", "5"),
        ("encoder_weights", "/weights/RadImageNet.pt", "/weights/RadImageNet.pt"),
        ("projection", "none", "none"),
        ("perplexity", "5", 5.0),
        ("cold_start_budget", "8", 8),
        ("cold_start_budget", 8, 8),
        ("batch_size", "1", 1),
        ("alpha", "0", 0.0),
        ("alpha", "1", 1.0),
        ("alpha", "3e-1", 0.3),
        ("seed", "0", 0),
        ("seed", str(2**32 - 1), 2**32 - 1),
        ("state", "~/pools/one", "~/pools/one"),
    ],
)
def test_setting_is_converted(bundle: Bundle, name: str, text: Any, value: Any) -> None:
    found = getattr(parse(SMALL | {name: text}, bundle).settings, name)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("epochs", "3", 3),
        ("train_batch_size", "1", 1),
        ("learning_rate", "1e-4", 1e-4),
        ("learning_rate", "1", 1.0),
        ("dropout", "0", 0.0),
        ("channels", "[4, 8, 16]", [4, 8, 16]),
        ("image_size", "64", 64),
    ],
)
def test_override_is_converted_and_reaches_the_bundle(
    bundle: Bundle, name: str, text: str, value: Any
) -> None:
    overrides = parse(SMALL | {name: text}, bundle).overrides
    assert overrides[name] == value and type(overrides[name]) is type(value)
    assert Bundle("cxr_lungs", overrides).get(name) == value


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("alpha", "2", "must lie from 0 to 1"),
        ("alpha_schedule", "rising", "choose one of fixed, adaptive"),
        ("strategies", "auto,best", "there is no 'best'; there are: auto, active, alps, calr"),
        ("strategies", "", "there is no ''"),
        ("alpha", "-0.1", "must lie from 0 to 1"),
        ("alpha", "nan", "must lie from 0 to 1"),
        ("alpha", ".nan", "must lie from 0 to 1"),
        ("alpha", "much", "expected float"),
        ("alpha", "true", "expected float"),
        ("alpha", None, "expected float"),
        ("cold_start_budget", "0", "must lie from 1"),
        ("cold_start_budget", "12.5", "expected int"),
        ("cold_start_budget", "true", "expected int"),
        ("batch_size", "-4", "must lie from 1"),
        ("batch_size", "", "expected int"),
        ("seed", "-1", "must lie from 0"),
        ("seed", str(2**32), "must lie from 0"),
        ("perplexity", "inf", "must lie from 1"),
        ("projection", "umap", "choose one of tsne, pca, none"),
        ("projection", "TSNE", "choose one of tsne, pca, none"),
        ("epochs", "0", "must be a number above 0"),
        ("epochs", "many", "expected int"),
        ("train_batch_size", "-1", "must be a number above 0"),
        ("learning_rate", "0", "must be a number above 0"),
        ("learning_rate", "nan", "must be a number above 0"),
        ("learning_rate", "inf", "must be a number above 0"),
        ("dropout", "1", "at least 0 and below 1"),
        ("dropout", "nan", "at least 0 and below 1"),
        ("channels", "16", "expected list"),
        ("channels", "[16, 32", "expected list"),
        ("image_size", "0", "must be a number above 0"),
    ],
)
def test_wrong_value_is_named_with_what_is_expected(bundle: Bundle, name: str, text: Any, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse({name: text}, bundle)
    (line,) = str(caught.value).splitlines()
    assert f"--conf {name} " in line and says in line


@pytest.mark.parametrize(
    "overrides",
    [
        {"image_size": "20"},  # 20 cannot be halved four times
        {"image_size": "33", "channels": "[4, 8]"},
        {"image_size": "32", "channels": "[4]"},
        {"image_size": "32", "channels": "[]"},
        {"image_size": "32", "channels": "[4, wide]"},
        {"image_size": "32", "channels": "[4, -8]"},
    ],
)
def test_network_that_cannot_be_built_is_refused(bundle: Bundle, overrides: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="the network cannot be built with .*image_size"):
        parse(overrides, bundle)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("aplha", "did you mean alpha?"),
        ("cold_start_bugdet", "did you mean cold_start_budget"),
        ("", "key; `python"),
        ("labels", "did you mean prelabels?"),
        ("network_def", "key; `python"),
    ],
)
def test_unknown_key_gets_similar_ones(bundle: Bundle, name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"--conf {name}: there is no such key") as caught:
        parse({name: "1"}, bundle)
    assert hint in str(caught.value) and "`python -m server.config cxr_lungs` lists all" in str(caught.value)


def test_an_app_has_defaults_of_its_own_that_may_be_changed() -> None:
    assert parse({}, Bundle("cxr_lungs")).settings.of_auto == ("maxherding", "random")
    slices = Bundle("brain_mri")
    assert parse({}, slices).settings.of_auto == ("foreground_cover", "random")
    assert parse({}, Bundle("volumes")).settings.of_auto == ("random", "random")
    own = slices._config | {"selection": {"cold_start_method": "typiclust"}, "evidence": "It was ahead."}
    slices.__dict__["_config"] = own  # as in a file
    assert (settings := parse({}, slices).settings).of_auto == ("typiclust", "random")
    assert choosing_text(settings, slices).endswith(" It was ahead.")
    assert "cold_start_method (str, default 'typiclust'" in describe(slices)
    assert (settings := parse({"cold_start_method": "alps"}, slices).settings).of_auto == ("alps", "random")
    assert choosing_text(settings, slices).endswith(" --conf says so; the default is typiclust and random.")


def test_the_paper_preset_is_as_published_in_every_app() -> None:
    paper = {"cold_start_method": "cold_start", "active_method": "active", "alpha": 0.3, "hold_out": 0}
    for name in ("cxr_lungs", "brain_mri"):
        chosen = asdict(parse({"preset": "paper"}, Bundle(name)).settings)
        assert paper.items() <= chosen.items()
        assert parse({"preset": "paper", "alpha": "0.5"}, Bundle(name)).settings.alpha == 0.5
    today = asdict(Settings(preset="paper"))  # the defaults from before there were presets
    for name in ("cxr_lungs", "brain_mri"):
        assert asdict(parse({"preset": "paper"}, Bundle(name)).settings) == today
    product = asdict(parse({}, Bundle("cxr_lungs")).settings)
    changed = {name for name in product if product[name] != today[name]}
    assert changed == {"preset", "hold_out", "cold_start_method", "active_method"}
    assert product["hold_out"] == 20
    with pytest.raises(ConfigError, match="--conf preset papers: choose one of product, paper"):
        parse({"preset": "papers"}, Bundle("cxr_lungs"))


def test_list_of_keys_gives_type_default_range_and_help(bundle: Bundle) -> None:
    text = describe(bundle)
    assert "  alpha (float, default 0.3, from 0, to 1): weight of diversity against entropy" in text
    assert "  projection (str, default 'tsne', tsne | pca | none): " in text
    assert "  hold_out (int, default 20, from 0, to 100000): " in text
    assert "  epochs (default 120): training, from bundle_configs/cxr_lungs" in text
