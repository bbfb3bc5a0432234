"""Check DICOM files before ITK reads them: some damage keeps it busy for ever, and it makes up pixels."""

from __future__ import annotations

import os
import zlib

import SimpleITK as sitk

from pool.imaging.errors import ImageError, StrPath
from pool.imaging.limits import check_size

_UNDEFINED = 0xFFFFFFFF  # length of a sequence, or of compressed pixels, that ends with a mark
_MAX_INFLATED = 2**27  # bytes of a deflated data set, which is unpacked as a whole: 128 MiB
_PIECE = 2**20


def check_dicom(path: StrPath) -> None:
    """Refuse a DICOM file whose header is damaged, or in which pixels are missing.

    Raises ImageError, ValueError.
    """
    from pydicom import dcmread  # a fifth of a second, for this format alone
    from pydicom.dataelem import RawDataElement
    from pydicom.pixel_data_handlers.util import get_expected_length

    _check_deflated(path)
    header = dcmread(path, stop_before_pixels=True, force=True)
    for tag in sorted(header.keys()):
        item = header.get_item(tag)
        if isinstance(item, RawDataElement) and item.length not in (_UNDEFINED, len(item.value or b"")):
            raise ValueError(f"its header is damaged at {tag}")
    if not header.get("Rows") or not header.get("Columns"):
        kind = getattr(header, "file_meta", {}).get("MediaStorageSOPClassUID")
        raise ImageError(f"{path}: is DICOM without a picture{f' ({kind.name})' if kind else ''}; remove it")
    shape = [int(header.get(name) or 1) for name in ("Columns", "Rows", "NumberOfFrames", "SamplesPerPixel")]
    check_size(path, shape, int(header.get("BitsAllocated") or 8) // 8, compact=False)
    syntax = header.file_meta.get("TransferSyntaxUID") if hasattr(header, "file_meta") else None
    if syntax is not None and (syntax.is_compressed or syntax.is_deflated):
        return
    expected, present = get_expected_length(header), os.path.getsize(path)
    if present < expected:
        raise ImageError(
            f"{path}: its header declares {expected} bytes of pixels, but the file has only {present}; "
            "copy it again or remove it"
        )


def _check_deflated(path: StrPath) -> None:
    """Refuse a deflated data set that unpacks to more than this app reads. Raises ImageError, zlib.error."""
    from pydicom.filereader import _read_file_meta_info, read_preamble
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    with open(path, "rb") as file:
        read_preamble(file, True)
        if _read_file_meta_info(file).get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            return
        inflate, size, rest = zlib.decompressobj(-zlib.MAX_WBITS), 0, b""
        while rest or (rest := file.read(_PIECE)):
            size += len(inflate.decompress(rest, _PIECE))
            rest = inflate.unconsumed_tail
            if size > _MAX_INFLATED:
                raise ImageError(
                    f"{path}: unpacks to more than {_MAX_INFLATED >> 20} MiB; save it without deflating"
                )


def series_files(folder: StrPath) -> tuple[str, ...]:
    """Return the files of a DICOM series along its normal, as ITK stacks them into a volume.

    Raises ImageError when the folder has none, or several series.
    """
    reader = sitk.ImageSeriesReader
    series = reader.GetGDCMSeriesIDs(os.fspath(folder))
    if len(series) != 1:
        raise ImageError(f"{folder}: has {len(series)} DICOM series; a folder holds the files of one")
    return tuple(reader.GetGDCMSeriesFileNames(os.fspath(folder), series[0]))
