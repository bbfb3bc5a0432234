"""SynthStrip 2-D: one sagittal slice of each of 131 T1-weighted heads, with brain structures.

    python -m benchmarks.datasets.synthstrip2d --source synthstrip_data_v1.5_2d --out pools/brain

Published layout: one folder per scan, `fsm_t1_54jc`, `asl_t1_110`, `ixi_t1_...`, with `image.nii.gz`,
`mask.nii.gz` and, for these three groups, `labels.nii.gz` with FreeSurfer's values (Hoopes et al., 2022).
Scans of other contrasts have no labels and are left out.

A sagittal slice shows one side of the head, so left and right structures form one class; this leaves 18 of
FreeSurfer's structures. arXiv 2601.18532, section 4.1, has 14 to 18 classes per slice and does not name them;
that it means these is our reading.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import nibabel
import numpy as np
import typer

from benchmarks.datasets.files import read_nifti, write_nifti
from benchmarks.datasets.preparing import Case, DataError, Plan, Source, run

SOURCE = Source(
    name="SynthStrip 2-D",
    url="https://surfer.nmr.mgh.harvard.edu/docs/synthstrip/data/synthstrip_data_v1.5_2d.tar",
    licence="FSM and ASL: CC BY 4.0; IXI: CC BY-SA 3.0 or later (the README of the data set has the terms)",
    citation=[
        "A. Hoopes, J. S. Mora, A. V. Dalca, B. Fischl, M. Hoffmann, SynthStrip: skull-stripping for any "
        "brain image, NeuroImage 260, 2022, doi:10.1016/j.neuroimage.2022.119474",
        "IXI: https://brain-development.org/ixi-dataset",
    ],
)
PUBLISHED = {"fsm_t1": 38, "asl_t1": 43, "ixi_t1": 50}
# FreeSurfer's values (FreeSurferColorLUT.txt), left and right; parts count as their structure
STRUCTURES: dict[str, tuple[int, ...]] = {
    "cerebral white matter": (2, 41, 77, 251, 252, 253, 254, 255),  # with its lesions and the corpus callosum
    "cerebral cortex": (3, 42),
    "lateral ventricle": (4, 43, 31, 63),  # with the choroid plexus
    "inferior lateral ventricle": (5, 44),
    "cerebellum white matter": (7, 46),
    "cerebellum cortex": (8, 47),
    "thalamus": (10, 49),
    "caudate": (11, 50),
    "putamen": (12, 51),
    "pallidum": (13, 52),
    "3rd ventricle": (14,),
    "4th ventricle": (15,),
    "brain stem": (16,),
    "hippocampus": (17, 53),
    "amygdala": (18, 54),
    "CSF": (24,),
    "accumbens area": (26, 58),
    "ventral DC": (28, 60),
}
LABELS = {name: value for value, name in enumerate(STRUCTURES, start=1)}


def plan(source: Path) -> Plan:
    """List the cases to write. Raises ValueError if `source` has none of the published folders."""
    groups = {
        group: sorted(path.name for path in source.glob(f"{group}_*") if path.is_dir()) for group in PUBLISHED
    }
    if not any(groups.values()):
        raise ValueError(
            f"{source} has no folders {', '.join(f'{group}_*' for group in PUBLISHED)}: --source is the "
            "folder that synthstrip_data_v1.5_2d.tar unpacks to"
        )
    cases = [Case(name, _writer(source / name)) for names in groups.values() for name in names]
    counts = {f"{group} scans": (PUBLISHED[group], len(names)) for group, names in groups.items()}
    return Plan(SOURCE, LABELS, cases, {"structures": len(STRUCTURES)}, counts)


def one_slice(image: nibabel.Nifti1Image, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return a slice as (W, H, 1) and its affine (4, 4), whichever axis of the file has length 1.

    Raises DataError if no axis has.
    """
    array, affine = np.asanyarray(image.dataobj), image.affine
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or 1 not in array.shape:
        raise DataError(f"{path}: has shape {array.shape}, expected one slice; is this the 3-D release?")
    single = 2 if array.shape[2] == 1 else array.shape.index(1)
    order = [axis for axis in range(3) if axis != single] + [single]
    return array.transpose(order), affine[:, [*order, 3]]


def map_structures(values: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
    """Map FreeSurfer's values to those of LABELS, uint8 of the same shape.

    Also return {value: pixels} of the values that belong to no structure and became background, except
    FreeSurfer's own background, 0.
    """
    out = np.zeros(values.shape, np.uint8)
    for name, members in STRUCTURES.items():
        out[np.isin(values, members)] = LABELS[name]
    other, pixels = np.unique(values[(out == 0) & (values != 0)], return_counts=True)
    return out, {str(int(v)): int(n) for v, n in zip(other, pixels, strict=True)}


def _writer(folder: Path) -> Any:
    def write(study: Path, label: Path) -> dict[str, Any]:
        paths = folder / "image.nii.gz", folder / "labels.nii.gz"
        (image, affine), (values, labels_affine) = (one_slice(read_nifti(path), path) for path in paths)
        if image.shape != values.shape or not np.allclose(affine, labels_affine, atol=1e-3):
            raise DataError(
                f"{paths[1]}: is not on its image's grid ({values.shape[:2]} against {image.shape[:2]} "
                "pixels, or another affine); copy both from the download again"
            )
        mapped, left_out = map_structures(values)
        if not mapped.any():
            raise DataError(f"{paths[1]}: contains none of the {len(STRUCTURES)} structures")
        write_nifti(study, image, affine)
        write_nifti(label, mapped, affine)
        group, _, subject = folder.name.rpartition("_")
        return {
            "patient": f"{group.split('_')[0]}_{subject}",
            "structures": int(np.count_nonzero(np.unique(mapped))),
            "values_left_out": left_out,
        }

    return write


def main(
    source: Annotated[
        Path, typer.Option(help="The unpacked synthstrip_data_v1.5_2d", exists=True, file_okay=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder for studies/, labels/ and manifest.json")],
) -> None:
    """Prepare the labelled T1 slices of SynthStrip 2-D, with 18 brain structures as values 1 to 18."""
    run(lambda: plan(source), source, out)


if __name__ == "__main__":
    typer.run(main)
