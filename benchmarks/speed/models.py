"""Speed of encoders and predictions against a plain implementation: part of `python -m benchmarks.speed`.

Single-threaded, in processor seconds, so that other load on the machine does not matter; on a GPU in
wall-clock seconds. MobileNetV2 has its published weights if `make weights` has downloaded them; all others
are random.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from transformers import AutoModel, MobileNetV2Config, MobileNetV2Model, ResNetConfig, ResNetModel

import infers.runtime
from benchmarks.phantoms.generate import generate
from benchmarks.speed.row import Row, median_seconds
from benchmarks.speed.stock_models import StockInfer
from bundle_configs import Bundle
from infers.encoders.processor import load_processor
from infers.runtime import Runtime
from infers.segmentation.task import model_fingerprint
from pool.imaging.images import unit_range
from strategies import selectors
from strategies.engine.image_pass import BATCH
from strategies.engine.local import run_batches
from strategies.engine.workers import EmbedWorker, ScoreWorker

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
CLOCK, CLOCK_NAME = (time.perf_counter, "wall") if GPU else (time.process_time, "processor")
OURS = "PyTorch" if GPU or find_spec("onnxruntime") is None else "ONNX Runtime"
WEIGHTS = Path("weights/mobilenet_v2_imagenet")
_PREPARE = {
    "image_processor_type": "ViTImageProcessor", "do_resize": True, "do_rescale": True, "do_normalize": True,
    "rescale_factor": 1 / 255, "resample": 2, "size": {"height": 224, "width": 224},
    "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
}  # fmt: skip


@contextmanager
def room(threads: int = 1) -> Iterator[Path]:
    """Provide a temporary folder, set the number of threads, and silence the log except for warnings."""
    before, level = torch.get_num_threads(), logging.root.manager.disable
    torch.set_num_threads(threads)
    logging.disable(logging.INFO)
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
    finally:
        torch.set_num_threads(before)
        logging.disable(level)


def _encoder(name: str, folder: Path) -> tuple[Path, str]:
    """Return a transformers folder with the network, and a description of its weights."""
    if name == "MobileNetV2" and WEIGHTS.is_dir():
        return WEIGHTS, "published weights"
    torch.manual_seed(0)
    network = ResNetModel(ResNetConfig()) if name == "ResNet-50" else MobileNetV2Model(MobileNetV2Config())
    network.save_pretrained(folder / name)
    (folder / name / "preprocessor_config.json").write_text(json.dumps(_PREPARE))
    return folder / name, "random weights"


def _forward(work: str, network: Callable[..., Any], fast: Runtime, batch: torch.Tensor, quick: bool) -> Row:
    """Time a network on one batch, against PyTorch in eager mode."""
    on_device = batch.to(DEVICE)

    @torch.inference_mode()
    def plain() -> torch.Tensor:
        return torch.as_tensor(network(on_device)).cpu()

    def ours() -> torch.Tensor:
        return fast(batch).cpu()

    fast(batch.repeat(infers.runtime.PAYS // len(batch) + 1, 1, 1, 1))  # past its start-up
    gap = float((ours() - plain()).abs().max() / plain().abs().max())
    seconds = median_seconds(plain, ours, repeats=3 if quick else 9, clock=CLOCK)
    same = f"largest difference {gap:.0e} of the largest value"
    return Row(work, "PyTorch, eager", fast.backend, seconds[0], seconds[1], same, 1.5, CLOCK_NAME)


class _Vectors(torch.nn.Module):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.model = AutoModel.from_pretrained(folder, local_files_only=True).to(DEVICE).eval()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        vectors: torch.Tensor = self.model(pixel_values=pixels).pooler_output.flatten(1)
        return vectors


def _encoder_forward(name: str, quick: bool) -> Row:
    with room() as folder:
        path, weights = _encoder(name, folder)
        batch = torch.randn(64 if GPU else 4, 3, 224, 224, generator=torch.Generator().manual_seed(1))
        work = f"{name}, {weights}: {len(batch)} images of 224 x 224"
        return _forward(work, _Vectors(path), Runtime(_Vectors(path), name), batch, quick)


def mobilenet_forward(quick: bool) -> Row:
    return _encoder_forward("MobileNetV2", quick)


def resnet_forward(quick: bool) -> Row:
    return _encoder_forward("ResNet-50", quick)


def segmentation_forward(quick: bool) -> Row:
    with room():
        bundle = Bundle("cxr_lungs", {"image_size": 64 if quick else 256})
        torch.manual_seed(0)
        network = bundle.new("network_def").to(DEVICE).eval()
        fast = bundle.new("network_def")
        fast.load_state_dict(network.state_dict())
        batch = torch.randn(
            64 if GPU else 4, *bundle.input_shape[1:], generator=torch.Generator().manual_seed(1)
        )
        work = f"Attention U-Net: {len(batch)} images of {batch.shape[2]} x {batch.shape[3]}"
        return _forward(work, network, Runtime(fast, "Attention U-Net"), batch, quick)


def _batches(images: list[Path], count: int) -> list[list[tuple[str, str]]]:
    """Return `count` images in batches; files repeat if there are fewer."""
    named = [(str(n), str(images[n % len(images)])) for n in range(count)]
    return [named[at : at + BATCH] for at in range(0, count, BATCH)]


def _images(folder: Path, quick: bool) -> list[Path]:
    generate(folder, count=8 if quick else 64, seed=1, size=128 if quick else 1024)
    return sorted((folder / "studies").glob("*.png"))


def embedding(quick: bool) -> Row:
    """Time files to vectors, including the start of the encoder, as in a pool of many thousand images."""
    with room() as folder, mock.patch.object(infers.runtime, "PAYS_FOR_MAPS", infers.runtime.PAYS):
        (path, _), images = _encoder("ResNet-50", folder), _images(folder, quick)
        batches = _batches(images, 96 if quick else 512)

        def plain() -> np.ndarray:
            network, prepare, rows = _Vectors(path), load_processor(path), []
            for _, file in (image for batch in batches for image in batch):
                grey = np.rint(unit_range(file) * 255).astype(np.uint8)
                with torch.inference_mode():
                    rows.append(network(prepare(np.repeat(grey[:, :, None], 3, axis=2)).to(DEVICE)).cpu())
            return torch.cat(rows).numpy()

        def ours() -> np.ndarray:
            make = partial(EmbedWorker, f"transformers:{path}", None, "cxr_lungs", {}, False)
            return np.stack([done.found.vector for batch in run_batches(make, batches) for done in batch])

        results: list[np.ndarray] = []
        works = [lambda work=work: results.append(work()) for work in (plain, ours)]
        seconds = median_seconds(*works, repeats=1, clock=CLOCK)
    gap = np.abs(results[1] - results[0]).max() / np.abs(results[0]).max()
    count = len(results[0])
    return Row(
        f"{count} radiographs of {128 if quick else 1024} pixels from files to vectors of a ResNet-50",
        "one image after another, PyTorch, eager",
        f"{OURS}, batches of {BATCH}, files read ahead",
        seconds[0],
        seconds[1],
        f"largest difference {gap:.0e} of the largest value",
        1.5,
        CLOCK_NAME,
        f"{count / seconds[1]:.1f} images a second, with the encoder's start; in a pool ONNX Runtime takes "
        f"over at image {infers.runtime.PAYS_FOR_MAPS + 1:,}, here at {infers.runtime.PAYS + 1}",
    )


def _embed_apart(path: str, images: list[Path], count: int) -> tuple[float, float]:
    """Return the seconds and peak memory (MiB) of embedding; run in a new process."""
    torch.set_num_threads(1)
    infers.runtime.PAYS_FOR_MAPS = infers.runtime.PAYS  # so that few images get past its start-up
    began = time.process_time()
    make = partial(EmbedWorker, f"transformers:{path}", None, "cxr_lungs", {}, True)
    for _ in run_batches(make, _batches(images, count)):
        pass
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return time.process_time() - began, int(status["VmHWM"].split()[0]) / 1024


def embedding_memory(quick: bool) -> Row:
    few, many = (80, 240) if quick else (256, 4096)
    with room() as folder:
        (path, _), images = _encoder("MobileNetV2", folder), _images(folder, quick)
        measured = []
        for count in (few, many):
            with multiprocessing.get_context("spawn").Pool(1) as process:
                measured.append(process.apply(_embed_apart, (str(path), images, count)))
    (small_s, small), (large_s, large) = measured
    return Row(
        f"Embedding {many:,} images against {few:,}, MobileNetV2",
        f"{few:,} images: peak {small:,.0f} MiB",
        f"{many:,} images: peak {large:,.0f} MiB",
        small_s,
        large_s,
        f"{100 * (large / small - 1):+.1f} % memory for {many / few:g} times the images",
        note=f"{many:,} images take {large - small:+,.0f} MiB; the seconds grow with them, as they should",
    )


def _publish(folder: Path, bundle: Bundle) -> Path:
    torch.manual_seed(3)
    details = {"bundle": bundle.name, "overrides": bundle.values}
    torch.save({"model": bundle.new("network_def").state_dict(), "details": details}, folder / "model.pt")
    return folder / "model.pt"


def entropies(quick: bool) -> Row:
    with room() as folder:
        bundle, images = Bundle("cxr_lungs", {"image_size": 64 if quick else 256}), _images(folder, quick)
        model, batches = _publish(folder, bundle), _batches(images, 96 if quick else 512)
        stock = StockInfer(model, bundle)

        def plain() -> list[float]:
            paths = [path for batch in batches for _, path in batch]
            return [selectors.mean_entropy(stock.probabilities(path)) for path in paths]

        def ours() -> list[float]:
            make = partial(ScoreWorker, str(model), str(model_fingerprint(model)))
            return [done.found.entropy for batch in run_batches(make, batches) for done in batch]

        results: list[list[float]] = []
        works = [lambda work=work: results.append(work()) for work in (plain, ours)]
        seconds = median_seconds(*works, repeats=1, clock=CLOCK)
    gap = np.abs(np.divide(results[1], results[0]) - 1).max()
    return Row(
        f"Entropies of {len(results[0])} radiographs at {bundle.get('image_size')} pixels, and of each class",
        "a loop of BasicInferTask calls; no entropies of classes",
        f"{OURS}, batches of {BATCH}, files read ahead",
        seconds[0],
        seconds[1],
        f"largest difference {gap:.0e} of the entropy",
        10 if GPU else 1.5,
        CLOCK_NAME,
        f"{len(results[0]) / seconds[1]:.1f} images a second, with the model's start",
    )


COMPARISONS = (
    mobilenet_forward,
    resnet_forward,
    segmentation_forward,
    embedding,
    embedding_memory,
    entropies,
)


def rows(quick: bool) -> Iterator[Row]:
    """Yield all comparisons as they are measured."""
    return (compare(quick) for compare in COMPARISONS)
