"""Notes on labels that a child process leaves beside their files, for the server to take over.

Only the server writes the index, but a batch inference runs in a child: what it knows of a prediction (its
model, the names of its values) would be lost otherwise.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pool.files import write_atomically

logger = logging.getLogger(__name__)
_ENDING = ".note.json"


def leave_note(label: Path, info: Mapping[str, Any]) -> None:
    """Write what is known of a label into a hidden file beside it. Raises OSError."""
    note = label.with_name(f".{label.name}{_ENDING}")
    write_atomically(note, json.dumps(info, default=str).encode())


def take_notes(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name of each label in a folder that has a note, and the note, which is removed afterwards."""
    for note in sorted(folder.rglob(f".*{_ENDING}")):
        name = (note.parent / note.name[1 : -len(_ENDING)]).relative_to(folder).as_posix()
        if not (folder / name).is_file():  # its label is on the way, or gone
            continue
        try:
            info = json.loads(note.read_bytes())
        except (OSError, ValueError) as error:
            logger.error("The note on the label %s in %s is lost (%s)", name, folder, error)
            info = None
        if isinstance(info, dict):
            yield name, info
        note.unlink(missing_ok=True)
