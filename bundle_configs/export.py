"""Export of a trained model as a MONAI bundle (zip) that loads without this project.

    python -m bundle_configs.export --model STATE/model.pt --out lungs.zip

It contains the complete configuration of the training, the weights, and the few modules that read images and
write labels; no images, no labels, and no names of them.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from monai.bundle import ConfigParser

from bundle_configs import Bundle
from pool.files import replacing

ROOT = Path(__file__).resolve().parent.parent
_IMAGING = (
    "__init__",
    "names",
    "errors",
    "limits",
    "formats",
    "dicom",
    "geometry",
    "pictures",
    "images",
    "volumes",
    "label_grid",
    "segments",
    "labels",
    "label_writer",
    "pairs",
)
CODE = (
    "pool/__init__.py",
    "pool/aliases.py",
    *(f"pool/imaging/{name}.py" for name in _IMAGING),
    "infers/__init__.py",
    *(f"infers/segmentation/{name}.py" for name in ("__init__", "volumes", "writing")),
)
README = """# {name}
{task}. Structures: {structures}.

A MONAI bundle, trained on {images} labelled images for {epochs} epochs with the seed {seed}. Research
software, not a medical device. It needs torch, monai, pytorch-ignite, nibabel, SimpleITK,
scipy, pydicom, pynrrd, pillow and fire.
In this folder:

    export PYTHONPATH=$PWD
    python -m monai.bundle run --config_file configs/inference.json --checkpoint models/model.pt \\
        --images DIR --output DIR
    python -m monai.bundle run --config_file configs/evaluate.json --checkpoint models/model.pt \\
        --images DIR --masks DIR
    python -m monai.bundle run --config_file configs/train.json --checkpoint models/again.pt \\
        --images DIR --masks DIR

In Python, from the folder above: `network = monai.bundle.load("{name}", bundle_dir=".")`.
"""


class ExportError(ValueError):
    """A file that is not a published model; the text says what to do."""


def read_model(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read weights and details of a published model. Raises ExportError."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds of errors
        raise ExportError(f"{path}: cannot be read as a model ({error})") from error
    if not isinstance(checkpoint, dict) or not {"model", "details"} <= set(checkpoint):
        raise ExportError(
            f"{path}: is not the model.pt of a server's state folder, whose path is in the server's log"
        )
    return checkpoint["model"], checkpoint["details"]


def describe(bundle: Bundle, metadata: dict[str, Any]) -> dict[str, Any]:
    """Fill in the bundle's metadata with the structures and sizes of the training."""
    image, pred = (metadata["network_data_format"][key] for key in ("inputs", "outputs"))
    _, image["image"]["num_channels"], *shape = bundle.input_shape
    image["image"]["spatial_shape"] = pred["pred"]["spatial_shape"] = shape
    names = ["background", *bundle.get("labels")]
    pred["pred"]["num_channels"] = len(names)
    pred["pred"]["channel_def"] = {str(value): name for value, name in enumerate(names)}
    return metadata


def contents(weights: dict[str, torch.Tensor], details: dict[str, Any]) -> dict[str, bytes]:
    """Return the bundle's files for a model: {name in the bundle: bytes}."""
    bundle = Bundle.stored(details["bundle"], details["overrides"])
    configs = Path(__file__).parent / bundle.name / "configs"
    metadata = describe(bundle, json.loads((configs / "metadata.json").read_text()))
    files = {"configs/metadata.json": _json(metadata), "LICENSE": (ROOT / "LICENSE").read_bytes()}
    files["configs/logging.conf"] = (configs / "logging.conf").read_bytes()
    for task in ("train", "evaluate", "inference"):
        chain = dict.fromkeys([configs / "train.yaml", configs / f"{task}.yaml"])
        config = ConfigParser.load_config_files([str(path) for path in chain])
        files[f"configs/{task}.json"] = _json(config | details["overrides"])
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    files["models/model.pt"] = buffer.getvalue()
    files["docs/README.md"] = README.format(
        name=bundle.name,
        task=metadata["task"],
        structures=", ".join(f"{value} {name}" for name, value in bundle.get("labels").items()),
        images=len(details["images"]),
        epochs=details["epochs"],
        seed=details["seed"],
    ).encode()
    return files | {name: (ROOT / name).read_bytes() for name in CODE}


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def export(model: Path, out: Path) -> None:
    """Write the zip atomically. Raises ExportError, or OSError for a full or read-only disk."""
    weights, details = read_model(model)
    with replacing(out) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents(weights, details).items():
            archive.writestr(f"{details['bundle']}/{name}", content)


def main(
    model: Annotated[
        Path, typer.Option(help="model.pt in a pool's state folder", exists=True, dir_okay=False)
    ],
    out: Annotated[Path, typer.Option(help="The zip file to write")],
) -> None:
    """Write a trained model as a MONAI bundle."""
    if out.exists():
        raise typer.BadParameter(f"{out} exists; choose another name, or remove it first")
    if not out.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {out.parent}; make it first")
    try:
        export(model, out)
    except (ExportError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(f"Written: {out}; see docs/README.md in it for its use")


if __name__ == "__main__":
    typer.run(main)
