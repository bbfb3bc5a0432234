"""Parameters of requests: the names, types and ranges that a task declares, and the check of a request."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import torch


class ParameterError(ValueError):
    """A request sets a parameter that does not exist, or a value that the task does not take."""


@dataclass(frozen=True)
class Parameter:
    """One value that a request may set.

    :param kind: bool, int, float, str, list or dict; object leaves the check to the task
    :param low, high: smallest and largest number
    :param choices: the only values that are accepted
    :param pattern: regular expression that the whole text fits
    """

    kind: type
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[Any, ...] = ()
    pattern: str = ""

    def check(self, name: str, value: Any) -> Any:
        """The value in its type. Raises ParameterError."""
        if self.kind is object:
            return value
        if self.kind is int and isinstance(value, float) and value.is_integer():
            value = int(value)
        if self.kind is float and type(value) is int and abs(value) < 2**53:
            value = float(value)
        wrong = type(value) is not self.kind
        if not wrong and self.kind in (int, float):
            wrong = not self.low <= value <= self.high
        if not wrong and self.pattern:
            wrong = re.fullmatch(self.pattern, value) is None
        if wrong or (self.choices and value not in self.choices):
            raise ParameterError(f"{name} {_short(value)}: expected {self._expected()}")
        return value

    def _expected(self) -> str:
        if self.choices:
            return " or ".join(map(repr, self.choices))
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
        text = words[self.kind]
        text += f" like {self.pattern}" if self.pattern else ""
        text += f" from {self.low:g}" if self.low > -math.inf else ""
        return text + (f" to {self.high:g}" if self.high < math.inf else "")


ANYTHING = Parameter(object)  # checked by the task itself
CLIENT = {"client_id": Parameter(str)}  # MONAI Label's clients send it with every request, or null


def device_parameters() -> dict[str, Parameter]:
    """The processor or GPUs of this machine that a task may run on."""
    count = torch.cuda.device_count()
    one = "|".join(map(str, range(count)))
    names = (
        "cpu",
        "cuda",
        *(f"cuda:{i}" for i in range(count)),
        *map(torch.cuda.get_device_name, range(count)),
    )
    return {
        "device": Parameter(str, choices=tuple(dict.fromkeys(names))),
        "multi_gpu": Parameter(bool),
        "gpus": Parameter(str, pattern=f"all|({one})(,({one}))*" if count else "all"),
    }


def check_parameters(
    request: Mapping[str, Any], declared: Mapping[str, Parameter], task: str
) -> dict[str, Any]:
    """The values of a request in their types.

    :param task: what takes them, for the error

    Raises ParameterError, which lists the parameters that exist.
    """
    known = CLIENT | dict(declared)
    for name in request:
        if name not in known:
            raise ParameterError(unknown(name, known, f"parameter of {task}"))
    return {
        name: None if name in CLIENT and value is None else known[name].check(name, value)
        for name, value in request.items()
    }


def unknown(name: Any, known: Iterable[str], what: str) -> str:
    """The text for a name that does not exist: the nearest one that does, and all of them."""
    known = list(known)
    near = get_close_matches(str(name), known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    listed = f"there are: {', '.join(sorted(known))}" if known else "there are none"
    return f"there is no {what} {_short(name)}; {hint}{listed}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
