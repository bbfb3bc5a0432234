"""The errors of image and label files, and the guard that turns what reading one raises into them."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from pool.imaging.names import ImageError as ImageError
from pool.imaging.names import LabelError as LabelError

P = ParamSpec("P")
T = TypeVar("T")
StrPath = str | os.PathLike[str]
_SOURCE_LINE = re.compile(r"\S+\.(?:cxx|hxx|txx|cpp|cc|c|h):\d+:?")  # where a library was built
_ITK_PREFIX = re.compile(r"^(?:(?:ITK ERROR|itk::ERROR|sitk::ERROR): *|\w+\(0x\w+\): *|\[nrrd\] \w+: *)+")
_UNNAMED = (LookupError, AttributeError, TypeError, AssertionError)  # their texts say little without the kind


def reason_of(error: BaseException, path: StrPath = "") -> str:
    """Return the line of a library's error that says what is wrong, without paths and addresses.

    :param path: of the file that was read, which the caller names anyway
    """
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error).replace(os.fspath(path), "it") if os.fspath(path) else str(error)
    lines = [_ITK_PREFIX.sub("", _SOURCE_LINE.sub("", line).strip()) for line in text.splitlines()]
    useful = [line for line in lines if re.search(r"\w", line) and not line.startswith("Exception thrown in")]
    if not useful:
        return type(error).__name__
    shown = useful[-1] if useful[0].endswith(":") else useful[0]  # the reason follows, innermost last
    return f"{type(error).__name__}: {shown}" if isinstance(error, _UNNAMED) else shown


def unreadable(path: StrPath, error: Exception) -> ImageError:
    """Return the error for a file that a library could not read."""
    too_long = isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG
    remedy = "give it a shorter name" if too_long else "copy it again or remove it"
    return ImageError(f"{path}: cannot be read ({reason_of(error, path)}); {remedy}")


def own_error(error: Exception, path: StrPath) -> ImageError | LabelError:
    """Return the file's own error, which MONAI's transforms wrap in theirs; `unreadable` for others."""
    for inner in (error, error.__cause__):
        if isinstance(inner, ImageError | LabelError):
            return inner
    return unreadable(path, error)


@contextmanager
def reading_image(path: StrPath) -> Iterator[None]:
    """Turn what the block raises into an ImageError that names the file; a LabelError stays one."""
    try:
        yield
    except (ImageError, LabelError):
        raise
    except Exception as error:  # decoding, header fields, types and shapes each raise their own kind
        raise own_error(error, path) from error


@contextmanager
def reading_label(path: StrPath) -> Iterator[None]:
    """Turn whatever the block raises into a LabelError; those of images keep their text."""
    try:
        yield
    except LabelError:
        raise
    except ImageError as error:
        raise LabelError(str(error)) from error
    except Exception as error:  # as above
        raise LabelError(f"{path}: cannot be read ({reason_of(error, path)}); save it again") from error


def names_its_file(read: Callable[Concatenate[StrPath, P], T]) -> Callable[Concatenate[StrPath, P], T]:
    """Decorate a reader: whatever a malformed file makes it raise becomes an ImageError naming the file."""

    @wraps(read)
    def guarded(path: StrPath, /, *args: P.args, **more: P.kwargs) -> T:
        with reading_image(path):
            return read(path, *args, **more)

    return guarded
