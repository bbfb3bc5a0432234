"""Drive a real server as an annotator would, and measure the benefit of the labels.

    python -m benchmarks.simulate --studies IMAGES --labels MASKS --app cxr_lungs --strategy auto \\
        --budget 8+4+4 --test-split 0.2 --seed 43 --out results/auto-43

Requests samples, sends their true labels, trains after each stage of the budget, and evaluates Dice and HD95
on held-out images that never enter the studies folder. Restart with the same --out to resume.
Volumes: --app volumes, and for a Decathlon task also --conf dataset=TASK/dataset.json.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from sklearn.model_selection import GroupShuffleSplit
from tqdm import tqdm

from benchmarks.annotator import Annotator, write_json
from benchmarks.experiments.curves import draw_curve
from benchmarks.server_process import running
from infers.metrics import summarise
from pool.groups import read_groups
from pool.imaging.images import EXTENSIONS, image_id
from pool.imaging.volumes import volume_grid
from strategies.planning.planner import versions


def split(
    images: list[Path], share: float, seed: int, groups: list[str] | None = None
) -> tuple[list[Path], list[Path]]:
    """Split images into pool and held-out images, ceil(share * N) of them, with the seed.

    :param groups: group of each image; if given, ceil(share * G) whole groups are held out
    """
    if groups:
        if math.ceil(share * len(set(groups))) >= len(set(groups)):
            raise typer.BadParameter(
                f"{share:g} of {len(set(groups))} groups leaves no images for the pool",
                param_hint="--test-split",
            )
        splitter = GroupShuffleSplit(1, test_size=share, random_state=seed)
        kept, out = next(splitter.split(images, groups=groups))
        return [images[i] for i in kept], [images[i] for i in out]
    count = math.ceil(share * len(images))
    held_out = set(np.random.default_rng(seed).permutation(len(images))[:count].tolist())
    return [p for i, p in enumerate(images) if i not in held_out], [images[i] for i in sorted(held_out)]


def find_images(folder: Path) -> list[Path]:
    """Return all images in a folder, sorted. Raises typer.BadParameter if there are none."""
    files = (path for path in folder.iterdir() if not path.name.startswith("."))
    images = sorted(path for path in files if path.name.lower().endswith(EXTENSIONS))
    if not images:
        raise typer.BadParameter(f"{folder} has no images ({', '.join(EXTENSIONS)})", param_hint="--studies")
    return images


def groups_of(images: list[Path], text: str) -> list[str] | None:
    """Return the group of each image under the app's setting `groups`. Raises typer.BadParameter."""
    try:
        return read_groups(text).rows([image_id(image.name) for image in images])
    except ValueError as error:
        raise typer.BadParameter(f"groups={text}: {error}", param_hint="--conf") from None


def parse_budget(text: str) -> list[int]:
    """Parse "8+4+4" to [8, 4, 4]. Raises typer.BadParameter."""
    parts = text.split("+")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(
            f"{text!r}: expected whole numbers joined by +, as in 8+4+4", param_hint="--budget"
        )
    return [int(part) for part in parts]


def resume(out: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the ledger in `out`, or a new one. Raises typer.BadParameter if its settings differ."""
    file = out / "ledger.json"
    if not file.exists():
        return {"settings": settings, "versions": versions(), "picks": [], "stages": []}
    ledger: dict[str, Any] = json.loads(file.read_text())
    other = [k for k in settings if ledger["settings"].get(k) != settings[k]]
    if other:
        raise typer.BadParameter(
            f"{file} was written with another {', '.join(other)}; choose another folder", param_hint="--out"
        )
    return ledger


def fill_studies(images: list[Path], studies: Path) -> None:
    """Copy the pool, except images that are already there."""
    studies.mkdir(parents=True, exist_ok=True)
    for image in tqdm(images, desc="copying the pool", unit="image", leave=False):
        if not (studies / image.name).exists():
            shutil.copy(image, studies / image.name)


def run_stages(annotator: Annotator, ledger: dict[str, Any], test: list[Path], out: Path) -> None:
    """Label, train and evaluate, stage by stage; save the ledger after every step."""
    settings = ledger["settings"]
    total, steps = 0, parse_budget(settings["budget"])
    bar = tqdm(
        total=sum(steps), initial=len(ledger["picks"]), desc=f"labels ({settings['strategy']})", unit="label"
    )
    if ledger["picks"]:  # a kill may have prevented the last label from arriving
        annotator.send(ledger["picks"][-1]["image"])
    for stage, step in enumerate(steps):
        total += step
        annotator.wait_ready(rounds=len(ledger["stages"]))
        while len(ledger["picks"]) < total:
            answer = annotator.ask(settings["strategy"])
            ledger["picks"].append({"image": answer["id"], "selection": answer["selection"]})
            write_json(out / "ledger.json", ledger)  # before the label, so that a kill loses neither
            annotator.send(answer["id"])
            bar.update()
        if stage < len(ledger["stages"]):
            continue
        started = time.time()
        stats = annotator.train(settings["epochs"])
        seconds = time.time() - started
        images = dict(annotator.evaluate(test))
        info = annotator.client.info()
        result = {
            "labels": total,
            **summarise(images, list(info["labels"]), info["metric"]),
            "training_seconds": round(seconds, 1),
            "training": stats["train"]["metrics"],
            "images": images,
        }
        ledger["stages"].append(result)
        write_json(out / "ledger.json", ledger)
        draw_curve([ledger], out / "curve.png")
        tqdm.write(
            f"{total} labels: Dice {result['dice']:.4f}, HD95 {result['hd95']:.2f} {ledger['unit']}, "
            f"{result['failures']} of {len(images)} below Dice 0.5 (trained {seconds:.0f} s)"
        )
    bar.close()


def main(
    studies: Annotated[Path, typer.Option(help="Folder of images", exists=True, file_okay=False)],
    labels: Annotated[Path, typer.Option(help="Folder of true masks, named like the images", exists=True)],
    out: Annotated[
        Path, typer.Option(help="Folder for ledger.json, curve.png, the pool and the server's log")
    ],
    app: Annotated[str, typer.Option(help="Name of a folder in apps/, or a path")] = "cxr_lungs",
    strategy: Annotated[str, typer.Option(help="Strategy to ask for")] = "auto",
    budget: Annotated[str, typer.Option(help="Labels per stage: cold start + active rounds")] = "8+4+4",
    test_split: Annotated[float, typer.Option(help="Share of images held out", min=0.01, max=0.9)] = 0.2,
    seed: Annotated[int, typer.Option(help="Seed of the split, the selection and the training")] = 43,
    epochs: Annotated[int | None, typer.Option(help="Epochs per training; default: the app's")] = None,
    encoder: Annotated[str, typer.Option(help="Encoder, as --conf encoder")] = "descriptor",
    conf: Annotated[list[str] | None, typer.Option(help="More settings of the app, as KEY=VALUE")] = None,
    server: Annotated[str, typer.Option(help="Use this running server instead of starting one")] = "",
) -> None:
    """Simulate an annotator and plot the learning curve."""
    steps, images = parse_budget(budget), find_images(studies)
    more: dict[str, str] = {}
    for pair in conf or []:
        key, _, value = pair.partition("=")
        more[key] = value
    pool, test = split(images, test_split, seed, groups_of(images, more.get("groups", "")))
    if sum(steps) > len(pool):
        raise typer.BadParameter(
            f"{budget} is more than the pool's {len(pool)} images", param_hint="--budget"
        )
    settings = {
        "studies": studies.name,
        "app": app,
        "strategy": strategy,
        "budget": budget,
        "seed": seed,
        "test_split": test_split,
        "epochs": epochs,
        "encoder": Path(encoder).name,
        "pool": len(pool),
        "test": [image.name for image in test],
        "conf": more,
    }
    out.mkdir(parents=True, exist_ok=True)
    ledger = resume(out, settings)
    ledger.setdefault("unit", "mm" if volume_grid(test[0]) else "px at 256")  # unit of HD95
    write_json(out / "ledger.json", ledger)
    options = {
        "cold_start_budget": steps[0],
        "batch_size": max(steps[1:], default=4),
        "seed": seed,
        "encoder": encoder,
        "state": (out / "state").resolve(),
        "strategies": strategy,
        **more,
    }
    if server:
        context: Any = nullcontext()
    else:
        fill_studies(pool, out / "studies")
        context = running(app, (out / "studies").resolve(), options, (out / "server.log").resolve())
    with context as started:
        annotator = Annotator(server or started.url, labels)
        check_server(annotator, options, test)
        run_stages(annotator, ledger, test, out)
    typer.echo(f"Written: {out / 'ledger.json'}, {out / 'curve.png'}")


def check_server(annotator: Annotator, options: dict[str, Any], test: list[Path]) -> None:
    """Refuse a server that runs with other settings or has held-out images in its pool."""
    status = annotator.status()
    for key in ("cold_start_budget", "batch_size", "seed"):
        if status[key] != options[key]:
            raise typer.BadParameter(
                f"the server runs with {key} {status[key]}, but --budget and --seed need "
                f"{options[key]}; start it with --conf {key} {options[key]}"
            )
    leaked = sorted({image_id(image.name) for image in test} & set(annotator.client.datastore()["objects"]))
    if leaked:
        raise typer.BadParameter(
            f"held-out images are in the server's pool ({', '.join(leaked[:3])}, ...); "
            "remove them from its studies folder, or leave --server out"
        )


if __name__ == "__main__":
    typer.run(main)
