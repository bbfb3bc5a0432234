"""Creation of a new app from an existing one, for other structures.

    python -m server.new_app my_app --from cxr_lungs --labels "liver,spleen"

Writes `apps/my_app/main.py` and `bundle_configs/my_app/configs`; change anything else (epochs, transforms,
modalities) in the latter. Structures for which DICOM has a code get it by their English name.
"""

from __future__ import annotations

import colorsys
import json
import keyword
import re
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pydicom.sr.codedict import codes

from pool.imaging.names import same_name

ROOT = Path(__file__).resolve().parents[2]
_LABEL = re.compile(r"\w[\w .()/-]*")  # needs no quoting in YAML, MONAI's ConfigParser and Python
_MAX_LABELS = 255  # a label file holds one byte per pixel
_HEADER = """# What the app trains, made from {source}. The train and the infer task read it with MONAI's
# ConfigParser; the keys under `overrides` are those that `--conf KEY VALUE` may change at start.
"""
_MAX_TITLE = 60  # characters up to which labels are listed by name


def existing(root: Path = ROOT) -> list[str]:
    """List the apps in a checkout."""
    return sorted(path.parent.name for path in (root / "apps").glob("*/main.py"))


def check_name(name: str, root: Path = ROOT) -> str:
    """Return the name if a new app can have it. Raises typer.BadParameter."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise typer.BadParameter(
            f"{name!r}: use lower-case letters, digits and _, starting with a letter, as in liver_ct"
        )
    for path in (
        root / "apps" / name,
        root / "bundle_configs" / name,
        root / "bundle_configs" / f"{name}.py",
    ):
        if path.exists():
            raise typer.BadParameter(f"{path} exists; choose another name, or remove it first")
    return name


def parse_labels(text: str) -> dict[str, int]:
    """Parse "liver,spleen" to {"liver": 1, "spleen": 2}. Raises typer.BadParameter."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if not _LABEL.fullmatch(name):
            raise typer.BadParameter(
                f"{name!r} in {text!r}: separate names by commas; use letters, digits, spaces and .()/-_"
            )
        if same_name(name) == "background":
            raise typer.BadParameter("leave out background: it is 0 in every label")
    if len({same_name(name) for name in names}) < len(names):
        raise typer.BadParameter(f"{text!r}: names a structure twice")
    if len(names) > _MAX_LABELS:
        raise typer.BadParameter(f"{len(names)} structures: a label can hold at most {_MAX_LABELS}")
    return {name: value for value, name in enumerate(names, start=1)}


def code_of(name: str) -> list[str] | None:
    """Return code value, scheme and meaning of a structure (DICOM PS3.16, CID 7192), or None."""
    structures: Any = codes.cid7192
    for key in structures.dir():
        if same_name(key) == same_name(name):
            code = getattr(structures, key)
            return [code.value, code.scheme_designator, code.meaning]
    return None


def colour(number: int) -> list[int]:
    """Return the RGB colour of structure 0, 1, ...: neighbours differ in hue by the golden ratio."""
    return [round(255 * part) for part in colorsys.hsv_to_rgb(number * 0.618034 % 1, 0.5, 0.85)]


def write_bundle(folder: Path, source: Path, labels: dict[str, int]) -> list[str]:
    """Copy a bundle with other structures; return the names of those without a DICOM code."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__"))
    config = folder / "configs" / "train.yaml"
    text = re.sub(r"\A(#.*\n)*", _HEADER.format(source=source.name), config.read_text())
    original = yaml.safe_load(text)
    codes_before, colours = (
        {same_name(name): value for name, value in original[key].items()} for key in ("codes", "colors")
    )
    dicom_codes = {name: codes_before.get(same_name(name)) or code_of(name) for name in labels}
    text = _replace_mapping(text, "labels", labels)
    text = _replace_mapping(
        text, "colors", {n: colours.get(same_name(n)) or colour(v) for n, v in labels.items()}
    )
    config.write_text(
        _replace_mapping(text, "codes", {name: code for name, code in dicom_codes.items() if code})
    )
    _write_metadata(folder / "configs" / "metadata.json", source.name, labels)
    return [name for name, code in dicom_codes.items() if not code]


def _replace_mapping(text: str, key: str, values: dict[str, Any]) -> str:
    """Replace the values of a mapping in a YAML text, keeping its comments."""
    lines = [f"  {_inline_yaml(name)}: {_inline_yaml(values[name])}" for name in values]
    block = re.compile(rf"^{key}:(?:[ \t]*\{{\}})?([ \t]*#.*)?\n(?:[ \t]+.*\n)*", re.MULTILINE)
    return block.sub(
        lambda m: "\n".join([f"{key}:{'' if lines else ' {}'}{m[1] or ''}", *lines]) + "\n", text, count=1
    )


def _inline_yaml(value: Any) -> str:
    """Dump a word, a number or a list of these as YAML in one line."""
    return yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=1000).strip()[1:-1]


def _write_metadata(path: Path, source: str, labels: dict[str, int]) -> None:
    """Rewrite the metadata of a bundle for these structures."""
    metadata = json.loads(path.read_text())
    metadata |= {
        "version": "0.1.0",
        "changelog": {"0.1.0": "first version"},
        "task": f"Segmentation of {_labels_text(labels)}",
        "description": f"Segments {_labels_text(labels)}; network, transforms and training as in {source}",
    }
    out = metadata["network_data_format"]["outputs"]["pred"]
    out["num_channels"] = len(labels) + 1
    out["channel_def"] = {str(value): name for value, name in enumerate(["background", *labels])}
    path.write_text(json.dumps(metadata, indent=4, ensure_ascii=False) + "\n")


def _labels_text(labels: dict[str, int], values: bool = False) -> str:
    text = ", ".join(f"{name} {value}" if values else name for name, value in labels.items())
    return text if len(text) <= _MAX_TITLE else f"{len(labels)} structures"


def app_source(source: str, old: str, name: str, labels: dict[str, int]) -> str:
    """Return the `main.py` of a new app, made from the source of the app `old`."""
    title = name.replace("_", " ").capitalize()
    doc = f"{title}: {_labels_text(labels, values=True)}."
    text = re.sub(r'^""".*', lambda _: f'"""{doc}', source, count=1)
    text = text.replace(f"apps/{old}", f"apps/{name}").replace(
        f"bundle_configs/{old}", f"bundle_configs/{name}"
    )
    text = re.sub(
        r"class \w+\(Shell", f"class {''.join(w.capitalize() for w in name.split('_'))}(Shell", text
    )
    text = re.sub(r"\bbundle=.*", f'bundle="{name}",', text)
    text = re.sub(r"\bname=.*", f'name="{title}",', text)
    description = f"Tells which image to label next and segments {_labels_text(labels)}"
    return re.sub(r"\bdescription=.*", f'description="{description}",', text)


def make(name: str, source: str, labels: dict[str, int], root: Path = ROOT) -> list[str]:
    """Write both folders of an app; return the names of structures without a DICOM code."""
    text = (root / "apps" / source / "main.py").read_text()
    uncoded = write_bundle(root / "bundle_configs" / name, root / "bundle_configs" / source, labels)
    (root / "apps" / name).mkdir()
    (root / "apps" / name / "main.py").write_text(app_source(text, source, name, labels))
    return uncoded


def main(
    name: Annotated[str, typer.Argument(help="Name of the new app, such as liver_ct")],
    labels: Annotated[str, typer.Option(help="Comma-separated structures; they get the values 1, 2, ...")],
    source: Annotated[str, typer.Option("--from", help="The app to start from")] = "cxr_lungs",
) -> None:
    """Make a new MONAI Label app for other structures."""
    check_name(name)
    if source not in existing():
        raise typer.BadParameter(f"there is no app {source!r}; there are: {', '.join(existing())}")
    parsed = parse_labels(labels)
    uncoded = make(name, source, parsed)
    typer.echo(
        f"Written: apps/{name}/main.py, bundle_configs/{name}/configs ({_labels_text(parsed, values=True)})"
    )
    if uncoded:
        typer.echo(
            f"No DICOM code is known for {', '.join(uncoded)}: labels on a DICOM server only say 'Anatomical "
            f"structure' until you add one to `codes` in bundle_configs/{name}/configs/train.yaml"
        )
    typer.echo(f"Start it: make serve APP=apps/{name} STUDIES=<folder or DICOMweb URL>")


if __name__ == "__main__":
    typer.run(main)
