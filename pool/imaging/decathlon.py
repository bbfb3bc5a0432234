"""Reading the dataset.json of a Medical Segmentation Decathlon task: labels, channels and modality.

Antonelli et al., "The Medical Segmentation Decathlon", Nature Communications 13, 2022. A task folder holds
`imagesTr`, `labelsTr` and `dataset.json`; the server takes `imagesTr` as its studies folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class DatasetError(ValueError):
    """A dataset.json that cannot be used; the text says what is wrong and what to do."""


def task_settings(studies: str, named: str = "") -> dict[str, Any]:
    """Return the bundle keys labels, in_channels and modality_rule given by a task's dataset.json.

    :param studies: the studies folder; a dataset.json in the folder above it is used
    :param named: path of another dataset.json; "" for the one beside the studies

    Returns {} when there is no such file. Raises DatasetError.
    """
    if named:
        path = Path(named).expanduser()
    elif studies.startswith(("http://", "https://")):
        return {}
    else:
        path = Path(studies).resolve().parent / "dataset.json"
        if not path.is_file():
            return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        labels = {int(value): str(name) for value, name in content["labels"].items()}
        modalities = [str(name) for _, name in sorted(content["modality"].items(), key=lambda m: int(m[0]))]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise DatasetError(
            f"{path}: is not a dataset.json of the Medical Segmentation Decathlon ({type(error).__name__}: "
            f'{error}); it needs "labels": {{"0": "background", "1": ...}} and "modality": {{"0": "CT"}}'
        ) from error
    return {
        "labels": {name: value for value, name in sorted(labels.items()) if value},
        "in_channels": len(modalities),
        "modality_rule": _rule(modalities, path),
    }


def _rule(modalities: list[str], path: Path) -> str:
    """Return "ct" or "mr": a Decathlon task has either CT alone or MR sequences."""
    are_ct = [name.upper() == "CT" for name in modalities]
    if any(are_ct) != all(are_ct) or not are_ct:
        raise DatasetError(
            f"{path}: its modalities {modalities} are neither all CT nor all MR, and one rule scales all "
            "channels; keep channels of one kind"
        )
    return "ct" if are_ct[0] else "mr"
