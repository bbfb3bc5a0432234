"""The lead's guideline for labelling, from a Markdown file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from markdown_it import MarkdownIt

from pool.errors import PoolError
from pool.imaging.names import image_fingerprint

MAX_BYTES = 2**20


def rendered(file: str) -> str | None:
    """Return a guideline as HTML, None without a file.

    It holds no script: HTML in the file is shown as text, and only links that cannot run anything are links.
    Raises PoolError 503 for a file that cannot be read.
    """
    if not file:
        return None
    path = Path(file).expanduser()
    try:
        return _render(path, image_fingerprint(path))
    except (OSError, ValueError) as error:
        raise PoolError(
            503, f"the guideline {path.name} cannot be read ({error}); repair --conf guideline"
        ) from error


@lru_cache(maxsize=1)
def _render(path: Path, version: str) -> str:
    content = path.read_bytes()
    if len(content) > MAX_BYTES:
        raise ValueError(f"it has {len(content)} bytes, {MAX_BYTES} at most")
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    return str(markdown.render(content.decode("utf-8")))
