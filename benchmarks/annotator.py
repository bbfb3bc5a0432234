"""Simulated annotator: talks to a server through MONAI Label's own client and labels with known masks."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from monailabel.client import MONAILabelClient
from tqdm import tqdm

from infers.metrics import score_files
from pool.files import write_atomically
from pool.imaging.images import image_id


class Annotator:
    """Request samples, send their true labels, train, and predict held-out images.

    :param labels: folder of true masks, named like their images
    :param name: the client_id; two annotators with the same name would share their images
    """

    def __init__(self, url: str, labels: Path, name: str = "simulated annotator") -> None:
        self.url, self.labels = url, labels
        self._folder = tempfile.TemporaryDirectory(
            prefix="annotator-"
        )  # not the server's own, which the server empties
        self.client = MONAILabelClient(url, tmpdir=self._folder.name, client_id=name)

    def status(self) -> dict[str, Any]:
        """Return the answer of `GET /selection/status`."""
        answer = requests.get(f"{self.url}/selection/status", timeout=60)
        answer.raise_for_status()
        return dict(answer.json())

    def label_of(self, image: str) -> Path:
        """Return the path of an image's true mask. Raises FileNotFoundError naming the image."""
        masks = sorted(path for path in self.labels.iterdir() if image_id(path.name) == image)
        if not masks:
            raise FileNotFoundError(
                f"no label for image {image!r} in {self.labels}: expected {image}.png, "
                f"{image}.nii.gz or {image}.nrrd"
            )
        return masks[0]

    def wait_ready(self, rounds: int) -> None:
        """Wait until the pool is prepared and `rounds` models are applied to it; show a progress bar.

        Raises RuntimeError if the background work fails.
        """
        with tqdm(desc="preparing", unit="image", leave=False) as bar:
            while True:
                status = self.status()
                progress = status["progress"] or {"step": "starting", "done": 0, "total": 0, "error": None}
                if progress["error"]:
                    raise RuntimeError(f"the server's background work failed: {progress['error']}")
                if (
                    progress["step"] == "ready"
                    and status["round"] >= rounds
                    and status["stage"] != "preparing"
                ):
                    return
                bar.set_description(progress["step"])
                bar.total, bar.n = progress["total"], progress["done"]
                bar.refresh()
                time.sleep(0.5)

    def label_next(self, strategy: str) -> dict[str, Any]:
        """Request a sample, send its true label, and return the answer."""
        answer = self.ask(strategy)
        self.send(answer["id"])
        return answer

    def ask(self, strategy: str) -> dict[str, Any]:
        """Request the next sample. Raises RuntimeError if there is none."""
        answer = dict(self.client.next_sample(strategy, {"resume": True}))  # images it still holds come first
        if not answer:
            raise RuntimeError("the pool is used up, all images are labelled: choose a smaller --budget")
        return answer

    def send(self, image: str) -> None:
        """Save the true label of an image; it counts, even if a model predicts exactly that."""
        self.client.save_label(image, str(self.label_of(image)), params={"confirmed": True})

    def train(self, epochs: int | None) -> dict[str, Any]:
        """Train on all labels with a progress bar. Raises RuntimeError with the end of the log on failure."""
        self.client.train_start("segmentation", {"max_epochs": epochs} if epochs else {})
        with tqdm(desc="training", unit="epoch", leave=False, total=epochs) as bar:
            while (task := self.client.train_status())["status"] in ("SUBMITTED", "RUNNING"):
                stats = self.client.info()["train_stats"]["segmentation"]
                if stats and stats.get("current_time"):
                    bar.total, bar.n = stats.get("total_epochs") or bar.total, stats["epoch"]
                    bar.set_postfix({k: f"{v:.3f}" for k, v in stats["train"]["metrics"].items()})
                time.sleep(1.0)
        if task["status"] != "DONE":
            raise RuntimeError(f"training ended with status {task['status']}:\n" + "\n".join(task["details"]))
        return dict(self.client.info()["train_stats"]["segmentation"])

    def evaluate(self, images: list[Path]) -> Iterator[tuple[str, dict[str, list[float]]]]:
        """Predict held-out images, which the server does not know, and score them (`infers.metrics`)."""
        labels: dict[str, int] = self.client.info()["models"]["segmentation"]["labels"]
        for image in tqdm(images, desc="evaluating", unit="image", leave=False):
            result, _ = self.client.infer(
                "segmentation", "", {"result_extension": ".nii.gz"}, file=str(image)
            )
            name = image_id(image.name)
            yield name, score_files(result, self.label_of(name), image, labels)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON atomically."""
    write_atomically(path, json.dumps(content, indent=1).encode())
