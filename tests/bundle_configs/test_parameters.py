"""Parameters of requests, and values that would be evaluated."""

from __future__ import annotations

from typing import Any

import pytest

from bundle_configs import Bundle, bundle_names
from bundle_configs.parameters import ANYTHING, Parameter, ParameterError, check_parameters, device_parameters

DECLARED = {
    "epochs": Parameter(int, 1, 10),
    "split": Parameter(float, 0, 0.9),
    "kind": Parameter(str, choices=("a", "b")),
    "fast": Parameter(bool),
    "word": Parameter(str, pattern="[a-z]+"),
    "any": ANYTHING,
}


def test_values_come_back_in_their_types() -> None:
    request = {
        "epochs": 3.0,
        "split": 0,
        "kind": "a",
        "fast": False,
        "word": "x",
        "any": [1],
        "client_id": None,
    }
    checked = check_parameters(request, DECLARED, "the test")
    assert checked == request and type(checked["epochs"]) is int and type(checked["split"]) is float


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("epochs", 0, "epochs 0: expected a whole number from 1 to 10"),
        ("epochs", 11, "from 1 to 10"),
        ("epochs", 1.5, "a whole number"),
        ("epochs", True, "a whole number"),
        ("epochs", "3", "epochs '3'"),
        ("epochs", None, "epochs None"),
        ("split", float("nan"), "split nan: expected a number from 0 to 0.9"),
        ("split", float("inf"), "split inf"),
        ("split", 10**400, "split 1000"),
        ("kind", "c", "kind 'c': expected 'a' or 'b'"),
        ("kind", ["a"], "kind ['a']"),
        ("fast", 1, "fast 1: expected true or false"),
        ("word", "a\n", "a string matching [a-z]+"),
        ("word", "$" + "x" * 500, "..."),
    ],
)
def test_other_values_are_refused(name: str, value: Any, says: str) -> None:
    with pytest.raises(ParameterError) as error:
        check_parameters({name: value}, DECLARED, "the test")
    assert says in str(error.value) and len(str(error.value)) < 300


def test_an_unknown_name_is_answered_with_those_that_exist() -> None:
    with pytest.raises(
        ParameterError, match=r"parameter of the test 'epoch'; did you mean 'epochs'\? there are: any,"
    ):
        check_parameters({"epoch": 1}, DECLARED, "the test")
    with pytest.raises(ParameterError, match="there is no parameter of nothing 'x'; there are: client_id"):
        check_parameters({"x": 1}, {}, "nothing")


def test_only_devices_of_this_machine_exist() -> None:
    declared = device_parameters()
    assert check_parameters({"device": "cpu", "gpus": "all", "multi_gpu": True}, declared, "it")
    for request in ({"device": "cuda:99"}, {"gpus": "99"}, {"gpus": "0;rm"}, {"gpus": ""}):
        with pytest.raises(ParameterError):
            check_parameters(request, declared, "it")


@pytest.mark.parametrize(
    "overrides",
    [
        {"dropout": "$__import__('os').system('true')"},
        {"dropout": "@network_def"},
        {"channels": [4, "%train.yaml::x"]},
        {"channels": {"_target_": "builtins.open"}},
        {"labels": {"a#b": 1}},
        {"labels": {"a::b": 1}},
        {"network_def": 1},
        {"network_def": "$print()"},
        {"optimizer": {}},
        {1: 2},
        {"dropout": b"0"},
        {"dropout": Parameter},
    ],
)
def test_overrides_are_data_and_never_evaluated(overrides: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="evaluated|allowed|plain|not a key"):
        Bundle.stored("volumes", overrides)


@pytest.mark.parametrize(
    "name", ["../bundle_configs/cxr_lungs", "/etc", "", "nothing", "cxr_lungs/configs/.."]
)
def test_a_bundle_is_one_of_ours(name: str) -> None:
    assert "cxr_lungs" in bundle_names()
    with pytest.raises(ValueError, match="there is no bundle"):
        Bundle(name)
