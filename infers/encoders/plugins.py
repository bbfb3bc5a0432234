"""Plugin encoders: entry points of the group `scan_selection.encoders`; see `docs/encoders.md`."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from infers.encoders.base import Encoder

GROUP = "scan_selection.encoders"


def plugin_names() -> list[str]:
    """Return the names under which installed packages offer encoders, sorted."""
    return sorted(entry_points(group=GROUP).names)


def make_plugin(name: str, weights: str | None) -> Encoder:
    """Create the encoder of the entry point `name` from `weights`, the value of `encoder_weights`.

    Raises:
        ValueError: the entry point cannot be imported, does not return an encoder, or is offered twice.
        Exception: whatever the package raises about its weights; FileNotFoundError and ValueError stop the
            server's start with their text.
    """
    point = _find(name)
    try:
        make = point.load()
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"encoder {name} of {_origin(point)} cannot be imported ({error}): install what it needs, "
            "or choose another encoder"
        ) from error
    encoder = make(weights)
    if not isinstance(encoder, Encoder) or not isinstance(encoder.key, str) or not encoder.key:
        raise ValueError(
            f"{point.value} of {_origin(point)} made a {type(encoder).__name__}, which is not an encoder: "
            "expected key (text), name, dim and embed, as in infers/encoders/base.py"
        )
    return encoder


def _find(name: str) -> EntryPoint:
    points = list(entry_points(group=GROUP, name=name))
    if len(points) != 1:
        origins = " and ".join(sorted(_origin(point) for point in points))
        raise ValueError(
            f"encoder {name} is offered by {origins or 'no package'}: keep one of them installed"
        )
    return points[0]


def _origin(point: EntryPoint) -> str:
    return f"package {point.dist.name}" if point.dist else f"entry point {point.value}"
