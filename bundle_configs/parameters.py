"""Parameters of requests: names, types and ranges declared by a task, and the check of a request."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any


class ParameterError(ValueError):
    """A request sets an unknown parameter, or a value that the task does not accept."""


@dataclass(frozen=True)
class Parameter:
    """A parameter that a request may set.

    :param kind: bool, int, float, str, list or dict; object leaves the check to the task
    :param low, high: smallest and largest number
    :param choices: the accepted values
    :param pattern: regular expression that the whole text must match
    """

    kind: type
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[Any, ...] = ()
    pattern: str = ""

    def check(self, name: str, value: Any) -> Any:
        """Return the value in its type. Raises ParameterError."""
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
            raise ParameterError(f"{name} {_abbreviated(value)}: expected {self._expected()}")
        return value

    def _expected(self) -> str:
        if self.choices:
            return " or ".join(map(repr, self.choices))
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
        text = words[self.kind]
        text += f" matching {self.pattern}" if self.pattern else ""
        text += f" from {self.low:g}" if self.low > -math.inf else ""
        return text + (f" to {self.high:g}" if self.high < math.inf else "")


ANYTHING = Parameter(object)  # checked by the task
CLIENT = {"client_id": Parameter(str)}  # MONAI Label's clients send it, or null, with every request


def device_parameters() -> dict[str, Parameter]:
    """Return the parameters that choose the CPU or GPUs of this machine."""
    import torch  # slow to import

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
    """Return the values of a request in their types.

    :param task: name of the task, for errors

    Raises ParameterError, which lists the known parameters.
    """
    parameters = CLIENT | dict(declared)
    for name in request:
        if name not in parameters:
            raise ParameterError(unknown(name, parameters, f"parameter of {task}"))
    return {
        name: None if name in CLIENT and value is None else parameters[name].check(name, value)
        for name, value in request.items()
    }


def unknown(name: Any, known: Iterable[str], what: str) -> str:
    """Return the error text for an unknown name, with the closest known name and all of them."""
    names = list(known)
    near = get_close_matches(str(name), names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    listed = f"there are: {', '.join(sorted(names))}" if names else "there are none"
    return f"there is no {what} {_abbreviated(name)}; {hint}{listed}"


def _abbreviated(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
