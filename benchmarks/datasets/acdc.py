"""ACDC: cardiac MR of 150 patients, two labelled volumes of each.

    python -m benchmarks.datasets.acdc --source ACDC/database --out pools/acdc

Published layout: `training/patient001` to 100 and `testing/patient101` to 150, with `Info.cfg`,
`patient001_frame01.nii.gz` and `patient001_frame01_gt.nii.gz` of the end of diastole and of systole, and
the whole film `patient001_4d.nii.gz`, which is not used (Bernard et al., 2018). Volumes are not changed;
they are hard-linked where the file system allows it. A `dataset.json` beside `studies` gives the app for
volumes the names of the structures.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.datasets.files import check_file, check_folder, check_label_volume, read_nifti
from benchmarks.datasets.preparing import Case, DataError, Plan, Source, run
from pool.files import link_or_copy

SOURCE = Source(
    name="ACDC",
    url="https://www.creatis.insa-lyon.fr/Challenge/acdc/databases.html",
    licence="CC BY-NC-SA 4.0",
    citation=[
        "O. Bernard et al., Deep learning techniques for automatic MRI cardiac multi-structures segmentation "
        "and diagnosis: is the problem solved?, IEEE Trans Med Imaging 37(11), 2018, "
        "doi:10.1109/TMI.2018.2837502"
    ],
)
PUBLISHED = {"training": 200, "testing": 100}
LABELS = {"right ventricle": 1, "myocardium": 2, "left ventricle": 3}
PHASES = ("ED", "ES")  # keys of Info.cfg with the numbers of the labelled frames


def plan(source: Path, testing: bool = False) -> Plan:
    """List the cases to write. Raises ValueError if `source` is not laid out as published.

    :param testing: with the test patients
    """
    parts = ["training", "testing"] if testing else ["training"]
    check_folder(source, *parts)
    counts, cases = {}, list[Case]()
    for part in parts:
        labels = sorted((source / part).glob("patient*/patient*_frame*_gt.nii.gz"))
        counts[f"labelled volumes in {part}"] = (PUBLISHED[part], len(labels))
        cases += [Case(path.name.removesuffix("_gt.nii.gz"), _writer(path)) for path in labels]
    if not cases:
        raise ValueError(f"{source} has no labelled volumes: --source is ACDC's folder `database`")
    task = {
        "name": "ACDC",
        "modality": {"0": "MR"},
        "labels": {"0": "background"} | {str(value): name for name, value in LABELS.items()},
    }
    files = {"dataset.json": json.dumps(task, indent=1).encode()}
    return Plan(SOURCE, LABELS, cases, {"testing": testing}, counts, files)


def _writer(label_path: Path) -> Any:
    def write(study: Path, label: Path) -> dict[str, Any]:
        image_path = label_path.with_name(label_path.name.replace("_gt", ""))
        image, mask = read_nifti(image_path), read_nifti(label_path)
        check_label_volume(image, mask, label_path, LABELS)
        info = _info(label_path.parent / "Info.cfg")
        frame = int(image_path.name.removesuffix(".nii.gz").rpartition("_frame")[2])
        phase = next((name for name in PHASES if info.get(name) == str(frame)), None)
        if phase is None:
            raise DataError(f"{image_path}: its frame is neither the ED nor the ES of Info.cfg")
        link_or_copy(image_path, study)
        link_or_copy(label_path, label)
        spacing = [round(float(size), 6) for size in image.header.get_zooms()[:3]]
        facts = {"patient": label_path.parent.name, "phase": phase, "group": info.get("Group", "")}
        return {**facts, "shape": list(image.shape), "spacing_mm": spacing}

    return write


def _info(path: Path) -> dict[str, str]:
    """Read the lines `key: value` of an Info.cfg. Raises DataError."""
    check_file(path)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def main(
    source: Annotated[Path, typer.Option(help="ACDC's folder `database`", exists=True, file_okay=False)],
    out: Annotated[Path, typer.Option(help="Folder for studies/, labels/, dataset.json and manifest.json")],
    testing: Annotated[bool, typer.Option("--testing", help="With the 50 test patients")] = False,
) -> None:
    """Arrange ACDC's labelled volumes as the server expects."""
    run(lambda: plan(source, testing), source, out)


if __name__ == "__main__":
    typer.run(main)
