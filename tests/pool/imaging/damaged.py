"""Files of every format, damaged at random: each is described by a number, from which it is made again."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import SimpleITK as sitk
from PIL import Image

from pool.imaging.errors import ImageError, LabelError
from pool.imaging.images import read_image, unit_range
from pool.imaging.label_values import own_values
from pool.imaging.labels import check_label, grid_of
from pool.imaging.volumes import read_volume, volume_grid
from tests.orthanc import radiograph

LABELS = {"one": 1, "two": 2}
_EXTENSIONS = (".png", ".nii", ".nii.gz", ".nrrd")  # of labels
_HEADER = 512  # bytes in which most of the damage is done
Damage = Callable[[bytearray, np.random.Generator], bytearray]


def phantoms(folder: Path) -> list[Path]:
    """Write small images and labels in every format that the app reads."""
    chance = np.random.default_rng(1)
    flat = chance.integers(0, 255, (40, 48), dtype=np.uint8)
    picture, volume = Image.fromarray(flat), chance.integers(-500, 500, (20, 18, 12)).astype(np.int16)
    for name in ("grey.png", "grey.jpg", "grey.tif", "named.jpeg"):
        picture.save(folder / name, **({"dpi": (300, 300)} if name != "grey.png" else {}))
    for mode, name in (
        ("P", "p.png"),
        ("RGB", "rgb.png"),
        ("LA", "la.png"),
        ("1", "one.png"),
        ("CMYK", "c.jpg"),
    ):
        picture.convert(mode).save(folder / name)
    Image.fromarray(flat.astype(np.uint16) * 200).save(folder / "deep.png")
    picture.save(folder / "packed.tif", compression="tiff_lzw")
    picture.save(folder / "pages.tif", save_all=True, append_images=[picture] * 4)
    for array, name in (
        (volume, "v"),
        (volume[:, :, :1], "s"),
        (flat.T % 3, "m"),
        ((volume > 0) * np.uint8(1), "l"),
    ):
        for extension in (".nii", ".nii.gz"):
            nibabel.save(
                nibabel.Nifti1Image(array, np.diag([-0.5, -0.5, 2, 1])), folder / f"{name}{extension}"
            )
        space = {"space": "left-posterior-superior", "space directions": np.eye(3), "space origin": [1, 2, 3]}
        nrrd.write(str(folder / f"{name}.nrrd"), array, header=space if array.ndim == 3 else {})
    segments = {"Segment0_Name": "one", "Segment0_LabelValue": "1", "Segment0_Layer": "0"}
    nrrd.write(str(folder / "m.seg.nrrd"), (flat.T[..., None] > 99) * np.uint8(1), header=segments)
    for modality in ("CR", "DX", "CT"):
        radiograph("one", flat, modality).save_as(folder / f"{modality}.dcm", write_like_original=False)
    packed = sitk.GetImageFromArray(flat)
    sitk.WriteImage(packed, str(folder / "packed.dcm"), useCompression=True)
    return sorted(path for path in folder.iterdir() if path.is_file())


def _flip(data: bytearray, chance: np.random.Generator) -> bytearray:
    for place in chance.integers(0, min(_HEADER, len(data)), chance.integers(1, 9)):
        data[place] = chance.integers(256)
    return data


def _flip_anywhere(data: bytearray, chance: np.random.Generator) -> bytearray:
    for place in chance.integers(0, len(data), chance.integers(1, 30)):
        data[place] ^= 1 << chance.integers(8)
    return data


def _cut(data: bytearray, chance: np.random.Generator) -> bytearray:
    return data[: chance.integers(len(data))]


def _extreme(data: bytearray, chance: np.random.Generator) -> bytearray:
    """Set a number in the header to an extreme value."""
    place = int(chance.integers(0, min(_HEADER, len(data))))
    value = [b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\xc0\x7f", b"\x00\x80"]
    text = value[chance.integers(len(value))]
    data[place : place + len(text)] = text
    return data


def _move(data: bytearray, chance: np.random.Generator) -> bytearray:
    """Remove or repeat a piece."""
    start, size = int(chance.integers(len(data))), int(chance.integers(1, 64))
    piece = data[start : start + size] * int(chance.integers(0, 3))
    return data[:start] + piece + data[start + size :]


def _number(data: bytearray, chance: np.random.Generator) -> bytearray:
    """Replace a number in a text header."""
    found = list(re.finditer(rb"\d+", bytes(data[:_HEADER])))
    if not found:
        return _flip(data, chance)
    where = found[chance.integers(len(found))]
    words = [b"-1", b"0", b"99999999999", b"nan", b"x", b"", b"1e308", b"4"]
    return data[: where.start()] + words[chance.integers(len(words))] + data[where.end() :]


DAMAGES: tuple[Damage, ...] = (_flip, _flip_anywhere, _cut, _extreme, _move, _number)


def damaged(sources: list[Path], number: int, folder: Path) -> Path:
    """Write the damaged file with a number; compressed NIfTI is damaged inside, half of the times."""
    chance = np.random.default_rng(number)
    source = sources[number % len(sources)]
    data = bytearray(source.read_bytes())
    inside = source.suffix == ".gz" and chance.random() < 0.5
    data = bytearray(gzip.decompress(data)) if inside else data
    for _ in range(chance.integers(1, 3)):
        data = DAMAGES[chance.integers(len(DAMAGES))](data, chance) if data else data
    path = folder / f"damaged-{number}-{source.name}"
    path.write_bytes(gzip.compress(data) if inside else data)
    return path


def read_all(path: Path, image: Path, volume: Path) -> list[str]:
    """Read a file as everything that it could be sent as; return the refusals. Raises what else happens."""
    refusals = []
    for read in (read_image, unit_range, read_volume, volume_grid, grid_of):
        try:
            read(path)
        except ImageError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error), error
            refusals.append(str(error))
    if not path.name.endswith(_EXTENSIONS):
        return refusals
    for target in (image, volume, path):
        try:
            with own_values(str(path), {"label_info": [{"name": "one", "idx": 1}]}, LABELS) as label:
                check_label(label, LABELS, target, allow_empty=True)
        except LabelError as error:
            assert str(error) and "\n" not in str(error), error
            refusals.append(str(error))
    return refusals
