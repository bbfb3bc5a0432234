"""Labels of the desk: masks as the page sends and gets them, and the datastore's files."""

from __future__ import annotations

import tempfile
import time
import zlib
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from infers.prediction import default_extension
from pool.database.handouts import Client
from pool.datastore.index import FINAL
from pool.errors import PoolError
from pool.files import cannot_write
from pool.imaging.images import ImageError
from pool.imaging.label_writer import write_label
from pool.imaging.labels import LabelError, grid_of, read_label
from pool.protocol import LabelStore
from server.desk.cache import ByteCache
from server.desk.views import view_of
from server.desk.voxels import path_of, version_of
from strategies.identity import DEFAULT_NAMES

_GZIP = b"\x1f\x8b"
_LARGEST = 255  # value of a label
_CACHE_BYTES = 2**28  # of the last labels
_Tool = Annotated[str, Field(max_length=40)]


class LabelParams(BaseModel):
    """The details that the page sends with a mask.

    :param seconds: time spent on the case, without idle time
    :param tools: how often each tool was used
    :param base_version: number of the label that the page began with, 0 for none
    :param model: name of the model whose prediction it began with
    :param replace: save even if somebody saved another label meanwhile
    """

    model_config = ConfigDict(extra="forbid")

    shape: list[int] = Field(min_length=2, max_length=3)
    dtype: Literal["uint8", "uint16"]
    state: Literal["edited", "confirmed", "empty"]
    seconds: float = Field(0.0, ge=0, le=10_000_000)
    tools: dict[_Tool, Annotated[int, Field(ge=0)]] = Field(default_factory=dict, max_length=64)
    base_version: int = Field(0, ge=0)
    model: str = Field("", max_length=200)
    client_id: str = Field("", max_length=200)
    replace: bool = False

    def info(self) -> dict[str, Any]:
        """Return what the datastore and the ledger keep of a label."""
        noted = {"seconds": round(self.seconds, 1), "tools": self.tools, "model": self.model or None}
        marks = {"empty": self.state == "empty", "confirmed": self.state == "confirmed"}
        return {**noted, **{name: True for name, is_set in marks.items() if is_set}, "made_with": "desk"}


class OlderLabelError(Exception):
    """Somebody saved another label after the page began.

    :ivar facts: version, who, when (seconds since 1970)
    """

    def __init__(self, text: str, facts: dict[str, Any]) -> None:
        super().__init__(text)
        self.facts = facts


def read_mask(file: BinaryIO, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Read a mask, raw or gzip, of exactly the bytes that its shape takes. Raises PoolError 422."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    content = file.read(size + 2**20)  # gzip is hardly ever longer than what it packs
    if len(content) != size and content.startswith(_GZIP):
        try:
            content = zlib.decompressobj(31).decompress(content, size + 1)
        except zlib.error as error:
            raise PoolError(422, f"the mask cannot be unpacked ({error}); send it again") from error
    if len(content) != size:
        raise PoolError(422, f"the mask has {len(content)} bytes, but its shape {shape} takes {size}")
    return np.frombuffer(content, np.dtype(dtype).newbyteorder("<")).reshape(shape)


def save_mask(store: LabelStore, image: str, file: BinaryIO, params: LabelParams, client: str) -> None:
    """Save a mask as the final label of an image, in the image's own geometry and format.

    Raises PoolError: 404, 422 for a mask that does not fit, 507; OlderLabelError.
    """
    path = path_of(store, image)
    version_of(store, image)
    _check_version(store, image, params)
    try:
        view = view_of(path)
        if tuple(params.shape) != view.shape:
            raise PoolError(
                422, f"the mask is {params.shape}, but the image {list(view.shape)}: load it again"
            )
        mask = read_mask(file, view.shape, params.dtype)
        _check_values(mask, params.state)
        own, affine = view.stored(mask).astype(np.uint8), grid_of(path)[1]
        with tempfile.TemporaryDirectory(prefix="scan-selection-") as folder:
            target = Path(folder) / f"label{default_extension(path, own.ndim, affine)}"
            write_label(target, own, affine, {}, {}, path)
            store.save_label(image, str(target), FINAL, {**params.info(), "client_id": client})
    except (ImageError, LabelError) as error:
        raise PoolError(422, f"label for {image}: {error}") from error
    except OSError as error:
        raise cannot_write(f"label for {image}", error) from error


def _check_version(store: LabelStore, image: str, params: LabelParams) -> None:
    """Raise OlderLabelError when a newer label than the page's is there."""
    newest = store.label_version(image)
    if params.replace or newest <= params.base_version:
        return
    who, when = author_of(store, image)
    text = f"{who or 'somebody'} saved a label of {image} at {_clock_time(when)}, after you began"
    raise OlderLabelError(
        f"{text}; look at it, then save yours with 'replace': true (both are kept)",
        {"version": newest, "who": who, "when": when},
    )


def author_of(store: LabelStore, image: str) -> tuple[str, int | None]:
    """Return who saved the newest final label, "" if unknown, and when, in seconds since 1970."""
    info = store.get_label_info(image, FINAL)
    return str(info.get("user") or info.get("client_id") or ""), info.get("ts")


def replaced_by_another(store: LabelStore, image: str, tag: str, client: Client) -> list[str]:
    """Return a sentence on the final label that a client's is about to replace, if another saved it.

    Unnamed clients cannot be told apart, so each of them is told of the label of another.
    """
    number = store.label_version(image) if tag == FINAL else 0
    who, when = author_of(store, image) if number else ("", None)
    if not who or (client.named and who == client.name):
        return []
    who = "somebody without a name" if who.lower() in DEFAULT_NAMES else who
    return [
        f"this replaces the label that {who} saved at {_clock_time(when)}; it is kept as version {number}"
    ]


def _clock_time(when: int | None) -> str:
    return "an unknown time" if when is None else time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(when))


def _check_values(mask: np.ndarray, state: str) -> None:
    if mask.max() > _LARGEST:
        raise PoolError(422, f"the mask has the value {mask.max()}; structures have at most {_LARGEST}")
    if (state == "empty") == bool(mask.any()):
        told = "has voxels, but was sent as empty" if state == "empty" else "is empty"
        raise PoolError(422, f"the label {told}; if there is nothing to label, send no voxels as 'empty'")


class StoredLabels:
    """Final labels, arranged as the screen shows them; the last ones are kept in memory.

    :param labels: {name: value} of the app
    """

    def __init__(self, store: LabelStore, labels: dict[str, int]) -> None:
        self._store, self._labels = store, labels
        self._cache = ByteCache[np.ndarray](_CACHE_BYTES, lambda label: label.nbytes)

    def read(self, image: str) -> tuple[np.ndarray, int]:
        """Return the newest final label and its version.

        Raises PoolError 404 without one, 422 for one that does not fit.
        """
        path, version = path_of(self._store, image), self._store.label_version(image)
        key = (image, version, *self._store.label_fingerprints([image]).values())
        if version and (kept := self._cache.get(key)) is not None:
            return kept, version
        try:
            if not version or not (file := self._store.get_label_uri(image, FINAL)):
                raise PoolError(404, f"image {image!r} has no final label")
            return self._cache.put(key, view_of(path).shown(read_label(file, self._labels, path))), version
        except (ImageError, LabelError) as error:
            raise PoolError(422, str(error)) from error
