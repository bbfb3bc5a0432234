"""Checks of request parameters against those that the tasks declare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bundle_configs.parameters import Parameter, ParameterError, check_parameters
from pool.errors import PoolError


def checked(request: Any, declared: Mapping[str, Parameter], task: str) -> dict[str, Any]:
    """Return the values that a request sets, in the declared types. Raises PoolError 422."""
    if request is None:
        return {}
    if not isinstance(request, dict):
        raise PoolError(422, f'parameters of {task}: expected {{"name": value, ...}}')
    try:
        return check_parameters(request, declared, task)
    except ParameterError as error:
        raise PoolError(422, str(error)) from None


def known(kind: str, name: Any, existing: Mapping[str, Any]) -> Any:
    """Return the model, method or strategy of this name. Raises PoolError 404."""
    if name not in existing:
        raise PoolError(404, f"there is no {kind} {name!r}; there are: {', '.join(existing)}")
    return existing[name]
