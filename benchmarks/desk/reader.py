"""Clicks, keys and seconds per case at the desk, by hand and with pre-labels.

    python -m benchmarks.desk.reader --out runs/reader [--images 40] [--hand 12] [--keep RESULTS]

A scripted reader labels a pool of phantoms in a real browser, twice. It accepts a pre-label whose Dice with
the truth is above 0.95, corrects others, and draws by hand where there is none. The first time without the
instant model: after `--hand` cases a U-Net is trained. The second time with it, from the first label on; as a
person would take longer, the script waits before each case until the model has learnt from the one before.
A case begins when its image is shown, and ends when the next is. What a person would take is estimated with
the keystroke-level model (Card, Moran and Newell 1980).
"""

from __future__ import annotations

import shutil
import time
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from benchmarks.annotator import Annotator, write_json
from benchmarks.desk.hand import Hand
from benchmarks.desk.page import DeskPage
from benchmarks.desk.table import table
from benchmarks.hardware import processor, today
from benchmarks.phantoms.generate import generate
from benchmarks.server_process import Server

_CONF = {"hold_out": 0, "image_size": 96, "channels": "[8,16,32]"}  # a small U-Net, trained in a minute
ACCEPTED = 0.95  # Dice with the truth
_DRAWN_ANEW = 0.7  # Dice below which a structure is drawn anew
_NOTICED = 0.003  # share of a structure that an error must have to be worth a click
_KEY, _POINT, _PRESS, _THINK = 0.2, 1.1, 0.1, 1.35  # seconds
_PIXELS_PER_SECOND = 300  # of the screen, while a button is held
# in the page: seconds from the click or key to the frame with the next image and its prediction
_WATCH = """(predicts) => {
    const before = document.body.dataset.shown;
    let began = 0;
    for (const kind of ["click", "keydown"])
        document.addEventListener(kind, () => (began ||= performance.now()), {capture: true, once: true});
    window.untilNext = new Promise((done) => {
        const look = () => {
            if (document.body.dataset.shown === before) return;
            if (predicts && !document.querySelector("#start").textContent.includes("prediction")) return;
            watcher.disconnect();
            requestAnimationFrame(() => setTimeout(() => done((performance.now() - began) / 1000)));
        };
        const watcher = new MutationObserver(look);
        watcher.observe(document.body, {attributes: true, childList: true, subtree: true});
        setTimeout(() => done(10), 10_000);
    });
}"""
_COLUMNS = {
    "cases": "cases",
    "accepted": "accepted",
    "clicks": "clicks",
    "keys": "keys",
    "seconds": "seconds of the script",
    "person": "seconds of a person, estimated",
    "next": "seconds to the next image",
    "dice": "Dice of the saved label",
}


class Reader:
    """Labels what the desk hands out, with the truth in mind."""

    def __init__(self, desk: DeskPage, truths: Path, structures: dict[str, int]) -> None:
        self.desk, self.truths, self.structures = desk, truths, structures
        self.hand = Hand(desk)

    def case(self, image: str) -> dict[str, Any]:
        """Label the image that is open; return what it took."""
        truth = np.asarray(Image.open(self.truths / f"{image}.png"))
        began = time.monotonic()
        self.hand.reset()
        mask, model = self._prelabel(image)
        accepted = model != "" and self._lowest_dice(mask, truth) > ACCEPTED
        if not accepted:
            self._correct(mask, truth)
        self.desk.page.evaluate(_WATCH, model != "")
        if accepted:
            self.hand.clicks += 1
            self.desk.button("Accept").click()
        else:
            self.hand.keys(["Enter"])
        expect(self.desk.message).to_contain_text(f"{image} saved")  # said once the next image is shown
        seconds, until_next = time.monotonic() - began, self.desk.page.evaluate("window.untilNext")
        return self._row(image, model, accepted, truth) | {"seconds": seconds, "next": until_next}

    def _prelabel(self, image: str) -> tuple[np.ndarray, str]:
        """Return the pre-label and the name of its model, "" without one."""
        answer = self.desk.page.request.get(f"{self.desk.url}/image/{image}/prelabel")
        if not answer.ok:
            return np.zeros(self.desk.shape, np.uint8), ""
        expect(self.desk.page.locator("#start")).to_contain_text("prediction", timeout=30_000)
        return np.frombuffer(answer.body(), np.uint8).reshape(self.desk.shape).copy(), answer.headers[
            "x-model"
        ]

    def _correct(self, mask: np.ndarray, truth: np.ndarray) -> None:
        """Wipe away what is wrong, draw what is missing; draw anew what is mostly wrong."""
        for number, value in enumerate(self.structures.values(), start=1):
            drawn, wanted = mask == value, truth == value
            if (dice := _dice(drawn, wanted)) > ACCEPTED:
                continue
            smallest = int(_NOTICED * wanted.sum())
            self.hand.keys([str(number)])
            self.hand.erase(drawn & (truth == 0), smallest)
            self.hand.outline(wanted if dice < _DRAWN_ANEW else wanted & ~drawn, smallest)

    def _row(self, image: str, model: str, accepted: bool, truth: np.ndarray) -> dict[str, Any]:
        answer = self.desk.page.request.get(f"{self.desk.url}/image/{image}/label")
        saved = np.frombuffer(answer.body(), np.uint8).reshape(self.desk.shape)
        hand = self.hand
        person = (
            _THINK + hand.clicks * (_POINT + _PRESS) + hand.pressed * _KEY + hand.path / _PIXELS_PER_SECOND
        )
        return {
            "image": image,
            "model": model,
            "accepted": accepted,
            "clicks": hand.clicks,
            "keys": hand.pressed,
            "person": person,
            "dice": self._lowest_dice(saved, truth),
        }

    def _lowest_dice(self, mask: np.ndarray, truth: np.ndarray) -> float:
        return min(_dice(mask == value, truth == value) for value in self.structures.values())


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    """Return the Dice of two areas; 1 when both are empty."""
    size = int(one.sum() + other.sum())
    return 2 * int((one & other).sum()) / size if size else 1.0


def label(server: Server, out: Path, side: int, hand: int | None, images: int) -> list[dict[str, Any]]:
    """Label `images` images of the pool.

    :param hand: cases before a training; None without one, with the instant model
    """
    annotator = Annotator(server.url, out / "labels", "lead")
    annotator.wait_ready(rounds=0)
    rows = []
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        desk = DeskPage(page, server.url, (side, side))
        desk.introduce("Ada")
        listed = page.request.get(f"{server.url}/selection/reader").json()["structures"]
        structures = {structure["name"]: structure["value"] for structure in listed}
        reader = Reader(desk, out / "labels", structures)
        desk.open()
        for number in range(images):
            if number == hand:
                annotator.train(None)
                annotator.wait_ready(rounds=1)
                desk.open()
            if hand is None:
                _wait_until_learnt(annotator, number)
            rows.append(reader.case(desk.wait()))
            typer.echo(f"{number + 1} of {images}: {rows[-1]}")
        browser.close()
    return rows


def _wait_until_learnt(annotator: Annotator, labels: int) -> None:
    """Wait until the instant model has learnt from so many labels, and planned and predicted with them."""
    while labels and (annotator.status()["instant"] or {"labels": 0})["labels"] < labels:
        time.sleep(0.2)
    annotator.wait_ready(rounds=0)


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Average the cases of each model; of the seconds to the next image, take the median."""
    groups = defaultdict(list)
    for row in rows:
        groups[row["model"] or "by hand"].append(row)
    means = ("clicks", "keys", "seconds", "person", "dice")
    return [
        {"pre-label": name, "cases": len(group), "accepted": sum(row["accepted"] for row in group)}
        | {key: float(np.mean([row[key] for row in group])) for key in means}
        | {"next": float(np.median([row["next"] for row in group]))}
        for name, group in groups.items()
    ]


def main(
    out: Annotated[Path, typer.Option(help="Folder for the pool and the log; emptied first")],
    images: Annotated[int, typer.Option(min=2, help="Cases to label")] = 40,
    hand: Annotated[int, typer.Option(min=1, help="Cases before the training")] = 12,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of the training")] = 60,
    side: Annotated[int, typer.Option(min=64, help="Pixels per side of an image")] = 512,
    keep: Annotated[Path | None, typer.Option(help="Folder for reader.json and table.md")] = None,
) -> None:
    """Measure the work of a scripted reader; print and save it."""
    shutil.rmtree(out, ignore_errors=True)
    rows = []
    for name, instant, count in (("trained", False, images), ("instant", True, images - hand + 1)):
        pool = (out / name).resolve()
        generate(pool, count=images + 8, seed=42, size=side)
        conf = {
            **_CONF,
            "cold_start_budget": hand,
            "epochs": epochs,
            "instant": instant,
            "state": pool / "state",
        }
        with Server("cxr_lungs", pool / "studies", conf, pool / "server.log") as server:
            server.wait(600)
            rows += label(server, pool, side, None if instant else hand, count)
    text = table(summary(rows), ["pre-label"], _COLUMNS)
    typer.echo(text)
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        about = {"processor": processor(), "date": today(), "side": side, "epochs": epochs}
        write_json(keep / "reader.json", {**about, "rows": rows})
        (keep / "table.md").write_text(text)


if __name__ == "__main__":
    typer.run(main)
