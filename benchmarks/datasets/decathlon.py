"""A task of the Medical Segmentation Decathlon: its training volumes and their labels.

    python -m benchmarks.datasets.decathlon --source Task04_Hippocampus --out pools/hippocampus

Published layout: `dataset.json`, `imagesTr`, `labelsTr` and `imagesTs` (unlabelled, not used); the archives
also contain macOS `._` files, which are not volumes (Antonelli et al., 2022). Volumes are not changed: they
are hard-linked where the file system allows it, so a task does not take up its space twice. A copy of
`dataset.json` beside `studies` gives the app for volumes the names of the structures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.datasets.files import check_folder, check_label_volume, read_nifti
from benchmarks.datasets.preparing import Case, Plan, Source, run
from pool.files import link_or_copy

CITATION = [
    "M. Antonelli et al., The Medical Segmentation Decathlon, Nat Commun 13, 2022, "
    "doi:10.1038/s41467-022-30695-9",
    "A. L. Simpson et al., A large annotated medical image dataset for the development and evaluation of "
    "segmentation algorithms, arXiv 1902.09063",
]


def plan(source: Path) -> Plan:
    """List the cases to write. Raises ValueError if `source` is not a Decathlon task."""
    check_folder(source, "imagesTr", "labelsTr")
    task = read_task(source / "dataset.json")
    labels = {name: int(value) for value, name in task["labels"].items() if int(value)}
    pairs = [(source / pair["image"], source / pair["label"]) for pair in task["training"]]
    cases = [
        Case(image.name.removesuffix(".nii.gz"), _writer(image, label, labels)) for image, label in pairs
    ]
    folders = "imagesTr", "labelsTr"
    counts = {f: (int(task["numTraining"]), len(list((source / f).glob("[!.]*.nii.gz")))) for f in folders}
    counts["volumes in dataset.json"] = int(task["numTraining"]), len(pairs)
    described = Source(
        name=f"Medical Segmentation Decathlon, {task['name']}",
        url=f"http://medicaldecathlon.com; {task.get('reference', '')}",
        licence=str(task.get("licence", "CC-BY-SA 4.0")),
        citation=CITATION,
    )
    settings = {"release": str(task.get("release", "")), "modality": task["modality"]}
    files = {"dataset.json": (source / "dataset.json").read_bytes()}
    return Plan(described, labels, cases, settings, counts, files)


def read_task(path: Path) -> dict[str, Any]:
    """Read a task's dataset.json. Raises ValueError if it is not one."""
    try:
        task: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for key in ("name", "labels", "modality", "numTraining", "training"):
            task[key]
        [(pair["image"], pair["label"]) for pair in task["training"]]
        [int(value) for value in task["labels"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: is not the dataset.json of a Decathlon task ({type(error).__name__}: {error}); "
            "--source is the folder that a TaskXX_Name.tar unpacks to"
        ) from error
    return task


def _writer(image_path: Path, label_path: Path, labels: Mapping[str, int]) -> Any:
    def write(study: Path, label: Path) -> dict[str, Any]:
        image, mask = read_nifti(image_path), read_nifti(label_path)
        check_label_volume(image, mask, label_path, labels)
        link_or_copy(image_path, study)
        link_or_copy(label_path, label)
        spacing = [round(float(size), 6) for size in image.header.get_zooms()[:3]]
        return {"shape": list(image.shape), "spacing_mm": spacing}

    return write


def main(
    source: Annotated[Path, typer.Option(help="An unpacked TaskXX_Name", exists=True, file_okay=False)],
    out: Annotated[Path, typer.Option(help="Folder for studies/, labels/, dataset.json and manifest.json")],
) -> None:
    """Check a Decathlon task's training volumes and arrange them as the server expects."""
    run(lambda: plan(source), source, out)


if __name__ == "__main__":
    typer.run(main)
