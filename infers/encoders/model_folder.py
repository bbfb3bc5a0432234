"""Checks of a model folder in huggingface transformers' format, without importing transformers."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from infers.encoders.files import fingerprint

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_DOWNLOAD_HINT = (
    "download the model with all its files (python -m infers.encoders.weights <owner/model>, or by hand)"
)


def check_folder(folder: Path) -> None:
    """Check that `folder` has config.json, preprocessor_config.json and complete model weights.

    Raises:
        FileNotFoundError: the folder or one of the files is missing.
        ValueError: a settings file is not a JSON object, config.json names no model_type, or a weights file
            is incomplete.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"encoder folder {folder} does not exist; expected the folder of a downloaded model: "
            f"set encoder to transformers:<folder>, or {_DOWNLOAD_HINT}"
        )
    if "model_type" not in read_settings(folder, "config.json"):
        raise ValueError(
            f"{folder / 'config.json'} lacks the key model_type: not a transformers model; {_DOWNLOAD_HINT}"
        )
    read_settings(folder, "preprocessor_config.json")
    for file in weight_files(folder):
        if not is_whole(file):
            raise ValueError(
                f"{file} ({file.stat().st_size:,} bytes) is damaged or half a download; "
                f"delete it, then {_DOWNLOAD_HINT}"
            )


def is_whole(file: Path) -> bool:
    """Return True if a weights file ends where its header says: no partial download or error page."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        first = stream.read(8)
        # a zip, whose directory is at its end, or a pickle before torch 1.6
        if file.suffix != ".safetensors":
            return first.startswith(b"\x80") or zipfile.is_zipfile(file)
        length = int.from_bytes(first, "little")
        if not 2 <= length <= size - 8:
            return False
        try:
            tensors = json.loads(stream.read(length))
            ends = [tensor["data_offsets"][1] for key, tensor in tensors.items() if key != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return False
    return size == 8 + length + max(ends, default=0)


def read_settings(folder: Path, name: str) -> dict[str, object]:
    """Read the JSON object in `folder / name`; errors as in `check_folder`."""
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: expected the settings of a transformers model there; {_DOWNLOAD_HINT}"
        )
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); {_DOWNLOAD_HINT}") from error
    if not isinstance(settings, dict):
        raise ValueError(
            f"{path} holds a {type(settings).__name__}, expected a JSON object; {_DOWNLOAD_HINT}"
        )
    return settings


def weight_files(folder: Path) -> list[Path]:
    """Return the files with the model's weights, sorted; safetensors before pickles, as in transformers.

    Raises:
        FileNotFoundError: there are none, or a shard named by the index is missing.
    """
    for name in WEIGHTS:
        if (folder / name).is_file():
            return [folder / name]
        if (folder / f"{name}.index.json").is_file():
            shards = read_settings(folder, f"{name}.index.json").get("weight_map")
            names = set(shards.values()) if isinstance(shards, dict) else set()
            files = [folder / str(shard) for shard in sorted(names)]
            for file in files:
                if not file.is_file():
                    raise FileNotFoundError(
                        f"{file} is missing: {name}.index.json names it; {_DOWNLOAD_HINT}"
                    )
            if files:
                return files
    raise FileNotFoundError(
        f"{folder} has no model weights: expected {' or '.join(WEIGHTS)} in it; {_DOWNLOAD_HINT}"
    )


def key_of_folder(folder: Path) -> str:
    """Return the encoder's key: the folder's name, and the sha256 of its preprocessor and weights."""
    files = [folder / "preprocessor_config.json", *weight_files(folder)]
    return f"transformers:{folder.resolve().name}:{fingerprint(files)}"
