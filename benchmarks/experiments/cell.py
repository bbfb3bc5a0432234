"""One cell of a suite, run by the product's own selection, training and metrics, without a server."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.annotator import write_json
from benchmarks.experiments.data import Data
from benchmarks.experiments.noise import drawn_wrongly, write_wrong_label
from benchmarks.experiments.shared_work import Features, keep_file, key_of, pretrain, share_instant
from benchmarks.experiments.simulate import groups_of, split
from benchmarks.experiments.suite import Cell
from benchmarks.experiments.truth import truth_order
from benchmarks.hardware import processor, today
from bundle_configs import Bundle
from infers.encoders.pool_encoder import pool_encoder_key
from infers.metrics import score_files, summarise
from infers.segmentation.task import SegmentationInfer
from pool.database.state import State
from pool.datastore import PoolDatastore
from pool.imaging.images import image_id
from pool.imaging.labels import read_label
from strategies.context import Context
from strategies.planning.planner import versions
from strategies.refresh.pipeline import Refresh
from strategies.selectors.registry import METHODS
from strategies.settings import Settings
from strategies.strategy import all_strategies
from trainers.segmentation.task import SegmentationTrain

_ANNOTATOR = "annotator"


class Run:
    """The pool of one cell in its own folder; cells share features and trainings through `work`."""

    def __init__(self, cell: Cell, data: Data, weights: Path | None, folder: Path, work: Path) -> None:
        self.cell, self.data, self.work = cell, data, work
        self.bundle = Bundle(cell.app, cell.overrides)
        groups = groups_of(data.images, cell.groups) if cell.groups else None
        pool, self.test = split(data.images, cell.test_split, cell.seed, groups)
        studies = folder / "studies"
        studies.mkdir()
        for image in pool:
            shutil.copy2(image, studies / image.name)
        encoder = cell.encoder
        if encoder.startswith("transformers:") and weights:
            encoder = f"transformers:{weights / encoder.partition(':')[2]}"
        settings: dict[str, Any] = {
            "encoder": encoder,
            "encoder_weights": str(weights / "RadImageNet-ResNet50_notop.pth")
            if encoder == "radimagenet" and weights
            else "",
            "cold_start_budget": cell.steps[0],
            "batch_size": max(cell.steps[1:], default=4),
            "strategies": ",".join(sorted({cell.first, cell.then})),
            "seed": cell.seed,
            "duplicates": "off",
            "instant": any(METHODS[name].each_label for name in (cell.first, cell.then)),
            "prelabels": 0,
        } | cell.settings
        chosen = Settings(**settings)
        self.store = PoolDatastore(str(studies), self.bundle.get("labels"))
        key = pool_encoder_key(encoder, chosen.encoder_weights or None, self.bundle)
        self.context = Context(State(folder / "state", migrate=True), chosen, key)
        self.same = [cell.app, data.digest, cell.test_split, cell.seed, cell.groups, cell.overrides]
        self.same += [versions(), _device()]
        if chosen.instant:
            share_instant(work, key_of(self.same[:-2], key), self.context)
        self.strategies = all_strategies(self.context)
        self.refresh = Refresh(self.context, self.bundle)

    def stage(self, strategy: str, count: int, total: int) -> dict[str, Any]:
        """Label `count` images, train, and evaluate on the held-out images."""
        picks = self.label(strategy, count) if self.cell.truth is None else self._label_by_truth(count)
        labelled = self.store.get_labeled_images()
        if len(labelled) != total:
            raise RuntimeError(f"{len(labelled)} images are labelled instead of {total}")
        started = time.time()
        scores = self._train(labelled)
        summary = summarise(scores, list(self.bundle.get("labels")), self.bundle.get("metric"))
        return {
            "labels": total,
            **summary,
            "seconds": round(time.time() - started, 1),
            "picks": picks,
            "pixels": sum(self._drawn(image) for image in labelled),
            "images": scores,
        }

    def label(self, strategy: str, count: int) -> list[dict[str, Any]]:
        """Label the next `count` images of a strategy; return them in order, with their evidence."""
        self._prepare()
        picks = []
        for _ in range(count):
            picks.append(self._label_next(strategy))
            if METHODS[strategy].each_label:
                self.refresh({}, self.store)
        return picks

    def _label_by_truth(self, count: int) -> list[dict[str, Any]]:
        """Label the next `count` images of `truth_order`, which uses the true labels."""
        images = sorted([*self.store.get_labeled_images(), *self.store.get_unlabeled_images()])
        shows = np.array([self._drawn(image) > 0 for image in images])
        done, seed = len(self.store.get_labeled_images()), self.cell.settings.get("seed", self.cell.seed)
        assert self.cell.truth is not None
        order = truth_order(shows, self.cell.truth, done + count, seed)
        picks = [images[row] for row in order[done:]]
        for image in picks:
            self._save_label(image)
        return [{"image": image} for image in picks]

    def _drawn(self, image: str) -> int:
        """Return the number of pixels of the structures in an image's true label."""
        path = Path(self.store.get_image_uri(image))
        label = read_label(self.data.label_of[image], self.bundle.get("labels"), path)
        return int(np.count_nonzero(label))

    def _prepare(self) -> None:
        """Refresh the pool; features are computed once for all cells."""
        if self.context.is_pretrained_here and self.context.pretrained_key is None:
            key = key_of(self.same)
            pretrain(self.work, key, self.context, self.bundle, self.store)
        with Features(self.work, self.data.digest, self.context).shared(self.store):
            self.refresh({}, self.store)

    def _label_next(self, strategy: str) -> dict[str, Any]:
        answer = self.strategies[strategy]({"strategy": strategy, "client_id": _ANNOTATOR}, self.store)
        image = answer["id"]
        self._save_label(image)
        self.context.state.handouts.labelled(image, _ANNOTATOR, {})
        names = ("rank", "role", "score", "distance", "raw_entropy", "cluster")
        return {"image": image} | {name: answer["selection"].get(name) for name in names}

    def _save_label(self, image: str) -> None:
        cell, true = self.cell, self.data.label_of[image]
        too_large = drawn_wrongly(image, cell.noise, cell.seed)
        if too_large is None:
            # true labels may be empty
            self.store.save_label(image, str(true), "final", {"empty": True})
            return
        with tempfile.TemporaryDirectory(dir=self.work) as folder:
            drawn, path = Path(folder) / true.name, Path(self.store.get_image_uri(image))
            write_wrong_label(drawn, path, true, self.bundle.get("labels"), too_large)
            self.store.save_label(image, str(drawn), "final", {"empty": True})

    def _train(self, labelled: list[str]) -> dict[str, dict[str, list[float]]]:
        """Return the scores of a model of these labels; equal labels, seed and settings train once."""
        key = key_of(self.same, self.cell.noise, sorted(labelled))
        model, file = self.work / f"model-{key}.pt", self.work / f"scores-{key}.json"
        if not (model.exists() and file.exists()):
            task = SegmentationTrain(self.context.state.folder, self.bundle, self.cell.seed)
            task({"device": "cuda" if torch.cuda.is_available() else "cpu"}, self.store)
            write_json(file, self._evaluate())
            keep_file(self.context.model_file, model)
        else:
            shutil.copy(model, self.context.model_file)
        return dict(json.loads(file.read_text()))

    def _evaluate(self) -> dict[str, dict[str, list[float]]]:
        infer = SegmentationInfer(self.context.model_file, self.bundle)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        scores = {}
        for image in self.test:
            file, _ = infer({"image": str(image), "device": device, "result_extension": ".nii.gz"})
            reference = self.data.label_of[image_id(image.name)]
            scores[image_id(image.name)] = score_files(file, reference, image, self.bundle.get("labels"))
            Path(file).unlink()
        return scores


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else processor()


def run_cell(cell: Cell, data: Data, weights: Path | None, out: Path, work: Path) -> Path:
    """Run a cell and write its JSON file to `out` atomically; single-threaded, for reproducibility."""
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        total, stages = 0, []
        run = Run(cell, data, weights, Path(folder), work)
        try:
            for number, step in enumerate(cell.steps):
                total += step
                stages.append(run.stage(cell.then if number else cell.first, step, total))
        finally:
            run.store.close()
    facts = {"device": _device(), "date": today(), "versions": versions()}
    out.mkdir(parents=True, exist_ok=True)
    write_json(file := out / f"{cell.name}.json", {"cell": cell.as_json(), **facts, "stages": stages})
    return file
