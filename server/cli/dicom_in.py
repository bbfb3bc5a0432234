"""Upload of a folder of pictures or NIfTI files to a DICOMweb server: `python -m server.dicom_in`."""

from __future__ import annotations

import csv
import re
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from pydicom.dataset import Dataset
from tqdm import tqdm

from pool.dicom_export.series import PICTURES, VOLUMES, Given, Series, describe
from pool.dicomweb.bearer import bearer_of
from pool.dicomweb.client import DicomServer, ServerError
from pool.imaging.images import ImageError, image_id

_BATCH_IMAGES = 16  # images per request
_COLUMNS = ("file", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "images")


class Modality(str, Enum):
    """Modality of the files."""

    CR = "CR"
    DX = "DX"
    MR = "MR"
    CT = "CT"


class Record:
    """A CSV file of the series made from each file, without repeated rows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: set[tuple[str, ...]] = set()
        if path.exists():
            with open(path, newline="", encoding="utf-8") as file:
                self._rows = {tuple(row) for row in csv.reader(file)}
        else:
            self._append(_COLUMNS)

    def add(self, file: str, series: Series) -> None:
        row = (file, series.ids.patient, series.ids.study, series.ids.series, str(series.count))
        if row not in self._rows:
            self._append(row)

    def _append(self, row: tuple[str, ...]) -> None:
        with open(self._path, "a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(row)
        self._rows.add(row)


def send(series: Series, server: DicomServer) -> int:
    """Upload the images of a series that the server lacks, and return their number.

    Raises ImageError for a file that cannot be used, ServerError when the server is down or refuses them.
    """
    uids = {series.ids.image(number) for number in range(1, series.count + 1)}
    missing = uids - server.instances(series.ids.study, series.ids.series)
    if not missing:
        return 0
    batch: list[Dataset] = []
    for image in series.images():
        if image.SOPInstanceUID in missing:
            batch.append(image)
        if len(batch) == _BATCH_IMAGES:
            server.store(*batch)
            batch = []
    if batch:
        server.store(*batch)
    return len(missing)


def patient_of(name: str, pattern: str) -> str:
    """Return the text that identifies the patient in a file's name without its extension.

    It is the pattern's first group, or without a group the whole match. Raises ImageError when it is empty.
    """
    match = re.search(pattern, name)
    patient = match and (match.group(1) if match.groups() else match.group())
    if not patient:
        raise ImageError(
            f"{name}: --patient {pattern!r} finds no patient in this name; give a pattern that fits every "
            "file, or leave the option out, and each file is a patient of its own"
        )
    return patient


def find_files(source: Path) -> list[Path]:
    """List the pictures and NIfTI files of a folder, sorted. Raises typer.BadParameter when it has none."""
    files = sorted(
        path
        for path in source.iterdir()
        if path.name.lower().endswith(PICTURES + VOLUMES) and not path.name.startswith(".")
    )
    if not files:
        raise typer.BadParameter(
            f"{source} has no files that end in {', '.join(PICTURES + VOLUMES)}", param_hint="--source"
        )
    return files


def main(
    source: Annotated[
        Path, typer.Option(help="Folder of PNG, JPEG, TIFF or NIfTI files", exists=True, file_okay=False)
    ],
    to: Annotated[str, typer.Option(help="URL of the DICOMweb server; it often ends in /dicom-web")],
    modality: Annotated[Modality, typer.Option(help="Radiographs are CR or DX, NIfTI volumes MR or CT")],
    spacing: Annotated[
        float | None, typer.Option(help="Pixel size of pictures in mm; leave it out when unknown", min=1e-6)
    ] = None,
    patient: Annotated[
        str, typer.Option(help="Regular expression for the part of a file's name that identifies the patient")
    ] = ".+",
    body_part: Annotated[str, typer.Option(help="As DICOM names it, such as CHEST")] = "",
    seed: Annotated[
        str,
        typer.Option(help="A secret word, without which nobody can compute the identifiers from file names"),
    ] = "",
    record: Annotated[
        Path, typer.Option(help="CSV file that receives the patient and series of each file")
    ] = Path("dicom-in.csv"),
    token_env: Annotated[
        str, typer.Option(help="Name of the environment variable that holds a bearer token for the server")
    ] = "",
    token_command: Annotated[
        str, typer.Option(help="Command that prints one; it runs again when the server refuses a token")
    ] = "",
) -> None:
    """Make DICOM images from files and store them on a DICOMweb server, without patients' names.

    A second run sends only what is missing, as a file always gets the same identifiers. User and password
    come from MONAI_LABEL_DICOMWEB_USERNAME and MONAI_LABEL_DICOMWEB_PASSWORD, a token from --token-env or
    --token-command.
    """
    if token_env and token_command:
        raise typer.BadParameter("give one of the two", param_hint="--token-env and --token-command")
    facts = Given(modality.value, spacing, body_part.upper(), seed)
    files, series_record = find_files(source), Record(record)
    try:
        re.compile(patient)
        server = DicomServer(to.rstrip("/"), bearer=bearer_of(token_env, token_command))
        server.check()
        failed, sent = _send_all(files, facts, patient, server, series_record)
    except re.error as error:
        raise typer.BadParameter(f"{patient!r}: {error}", param_hint="--patient") from error
    except ServerError as error:
        typer.echo(f"{error}; then run this again: it resumes here", err=True)
        raise typer.Exit(1) from error
    for reason in failed:
        typer.echo(f"left out: {reason}", err=True)
    count = len(files) - len(failed)
    typer.echo(f"{count} of {len(files)} files are on {to}; {sent} images were sent in this run")
    typer.echo(f"{record} lists the series of each file")
    raise typer.Exit(1 if failed else 0)


def _send_all(
    files: list[Path], given: Given, patient: str, server: DicomServer, record: Record
) -> tuple[list[str], int]:
    """Send all files; return the reasons of those that failed, and the number of images sent."""
    failed: list[str] = []
    file_of: dict[str, str] = {}
    sent = 0
    bar = tqdm(files, desc=f"to {server.url}", unit="file", disable=None)
    for path in bar:
        bar.set_postfix(images=sent)
        try:
            series = describe(path, given, patient_of(image_id(path.name), patient))
            if (first := file_of.setdefault(series.ids.series, path.name)) != path.name:
                raise ImageError(f"{path}: is the same file as {first}")
            sent += send(series, server)
        except ImageError as error:
            failed.append(str(error))
        else:
            record.add(path.name, series)
    return failed, sent


if __name__ == "__main__":
    typer.run(main)
