"""MONAI Label's infer task for an app's segmentation network, and the entropy of its predictions.

The bundle's transforms prepare an image, 2-D or a volume, for the network; predictions are returned on the
image's own grid.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.transforms import Compose
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.tasks.infer_v2 import InferType
from monailabel.tasks.infer.basic_infer import BasicInferTask

from bundle_configs import Bundle
from bundle_configs.parameters import Parameter, device_parameters
from infers.fingerprints import model_fingerprint
from infers.model_file import ModelError, bundle_of, network_of, read_checkpoint
from infers.runtime import Runtime
from infers.segmentation.resizing import swift
from infers.segmentation.volumes import blocks
from infers.segmentation.writing import Restored, restore_label
from pool.errors import PoolError
from pool.imaging.digests import label_digest
from pool.imaging.errors import ImageError, reading_image
from pool.imaging.formats import kind_of
from pool.imaging.geometry import PICTURE_AFFINE
from pool.imaging.label_writer import write_label
from pool.imaging.names import LABEL_EXTENSIONS as EXTENSIONS
from pool.imaging.names import LabelError

_MAX_PROBABILITIES = 2**26  # per block of a volume: 256 MiB
DIGEST = "label_digest"  # key among the results of a prediction; the server keeps it to itself
_MAX_PIXELS = 2**20  # per batch of 2-D images: 16 of 256 x 256


def model_details(path: Path) -> dict[str, Any]:
    """Return the details published with the weights: images, seed, metrics, configuration, versions."""
    details: dict[str, Any] = read_checkpoint(path)["details"]
    return details


class ModelChangedError(RuntimeError):
    """The requested model was replaced by another."""


class Predictor:
    """Class probabilities of images with a published model.

    :param path: the published `model.pt`, which describes its training
    :param sha256: expected hash of the file, if any; raises ModelChangedError for another
    :param many: optimise for many images: a slower start, and the last digit of the entropy may differ
    """

    def __init__(self, path: Path, sha256: str | None = None, many: bool = False) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        content = path.read_bytes()  # read once, so that the checked bytes are loaded
        if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise ModelChangedError(f"{path} is no longer the model {sha256[:12]}: another was published")
        checkpoint = read_checkpoint(io.BytesIO(content), self.device)
        bundle = bundle_of(checkpoint["details"])
        network = bundle.new("network_def").to(self.device).eval()
        network.load_state_dict(checkpoint["model"])
        self.network = Runtime(network, "The published model") if many else network
        steps = bundle.new("image_transforms")
        self.transforms, self.inferer = Compose(steps), bundle.new("inferer")
        # faster equivalents, without tracking the affine
        self._swift = Compose(swift(steps))
        self._transforms = self._swift if many else self.transforms
        self._window = bundle.get("window") if bundle.get("dimensions") == 3 else None
        self._classes = len(bundle.get("labels")) + 1
        self.channels = bundle.input_shape[1]

    def __call__(self, image: str) -> torch.Tensor:
        """Return softmax probabilities (C, ...) of a whole image at the network's size. Raises ImageError."""
        return self.probabilities(self.pixels(image)[None])[0].cpu()

    def blocks(self, pixels: Sequence[torch.Tensor]) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yield the probabilities of images piecewise: the slice of images, and (B, C, ...) of these.

        2-D images come in batches, a volume in blocks that fit into memory and together cover each voxel
        once. A block sees half a window of its neighbours, so values near its faces differ slightly from
        those of the whole volume.

        :param pixels: network input of each image, from `pixels`
        """
        if self._window is None:
            size = max(1, _MAX_PIXELS // pixels[0][0].numel())
            for start in range(0, len(pixels), size):
                part = slice(start, start + size)
                yield part, self.probabilities(torch.stack(list(pixels[part])))
            return
        for number, volume in enumerate(pixels):
            for seen, core in blocks(volume.shape[1:], self._window, _MAX_PROBABILITIES // self._classes):
                yield slice(number, number + 1), self.probabilities(volume[seen][None])[0][core][None]

    @torch.inference_mode()
    def label(self, image: str) -> tuple[np.ndarray, np.ndarray]:
        """Predict the label (W, H[, D]) uint8 on the image's own grid, with its affine. Raises ImageError."""
        pixels: MetaTensor = self._transform(image, self._swift)
        logits = self.inferer(pixels.as_tensor()[None].to(self.device), self.network)[0].cpu()
        return restore_label(logits, pixels), np.asarray(pixels.meta["own_affine"], dtype=float)

    def pixels(self, image: str) -> torch.Tensor:
        """Return the network input (C, ...) for an image. Raises ImageError."""
        return torch.as_tensor(self._transform(image, self._transforms)).as_subclass(torch.Tensor)

    def _transform(self, image: str, transforms: Compose) -> Any:
        """Transform an image for the network; with `self.transforms`, its metadata allows the inverse."""
        with reading_image(image):
            return transforms({"image": image})["image"]

    @torch.inference_mode()
    def probabilities(self, batch: torch.Tensor) -> torch.Tensor:
        """Return the softmax probabilities (B, C, ...) of network inputs of the same shape."""
        return torch.softmax(self.inferer(batch.to(self.device), self.network), dim=1)


class SegmentationInfer(BasicInferTask):
    """Predicts a label for one image with the newest published model.

    :param path: the published `model.pt`; the model is not listed until it exists
    """

    def __init__(self, path: Path, bundle: Bundle) -> None:
        self.bundle, self._file = bundle, path
        self._published: str | None = None
        super().__init__(
            path=str(path),
            network=bundle.new("network_def"),
            type=InferType.SEGMENTATION,
            labels=bundle.get("labels"),
            dimension=bundle.get("dimensions"),
            description="Segments the app's structures with the newest trained model",
            config={"result_dtype": "uint8"},
        )

    def parameters(self) -> dict[str, Parameter]:
        """Return the parameters of a request. `final` labels come from people, never from a model."""
        formats = [*EXTENSIONS, ".seg.nrrd"]
        formats += [ext.removeprefix(".") for ext in formats]
        return {
            "device": device_parameters()["device"],
            "result_extension": Parameter(str, choices=tuple(formats)),
            "result_dtype": Parameter(str, choices=("uint8", "uint16", "int16", "int32", "float32")),
            "result_compress": Parameter(bool),
            "restore_label_idx": Parameter(bool),
            "logging": Parameter(str, choices=("DEBUG", "INFO", "WARNING", "ERROR")),
            "save_label": Parameter(bool),
            "label_tag": Parameter(str, pattern=rf"(?!{DefaultLabelTag.FINAL.value}$)[A-Za-z0-9_-]{{1,64}}"),
        }

    def is_valid(self) -> bool:
        return bool(self.get_path())

    def __call__(self, request: dict[str, Any], callbacks: dict[Any, Any] | None = None) -> Any:
        """Predict a label. Raises PoolError: 409 without a trained model, 422 for an unreadable image."""
        if not self.is_valid():
            raise PoolError(
                409,
                "there is no trained model yet: label some images, then start a training "
                "(POST /train/segmentation, or Train in the viewer)",
            )
        try:
            self._follow_model()
            file, params = super().__call__(request, callbacks)
        except (ImageError, LabelError) as error:
            raise PoolError(422, str(error)) from error
        except ModelError as error:
            raise PoolError(
                422,
                f"the published model {self._file.name} cannot be used: {error}; train again, or remove it "
                "(DELETE /model/segmentation)",
            ) from error
        if "found" in params:  # Slicer assigns the k-th of these names to the k-th value in the file
            params["label_names"] = params.pop("found")
        return file, params

    def _follow_model(self) -> None:
        """Adopt the configuration of the newest model."""
        published = model_fingerprint(self._file)
        if published != self._published:
            bundle = bundle_of(model_details(self._file))
            self.network = network_of(bundle)
            self.bundle, self._published = bundle, published
            self.clear_cache()

    def pre_transforms(self, data: Any = None) -> Sequence[Callable[..., Any]]:
        return self.bundle.new("image_transforms")

    def run_pre_transforms(self, data: dict[str, Any], transforms: Sequence[Callable[..., Any]]) -> Any:
        """Read and prepare the image. Raises ImageError."""
        with reading_image(data["image_path"]):
            return super().run_pre_transforms(data, transforms)

    def inferer(self, data: Any = None) -> Inferer:
        return self.bundle.new("inferer")

    def post_transforms(self, data: Any = None) -> Sequence[Callable[..., Any]]:
        return [Restored(keys="pred")]

    def writer(
        self, data: dict[str, Any], extension: str | None = None, dtype: Any = None
    ) -> tuple[str, dict[str, Any]]:
        """Write the prediction in the requested format, else in the image's own.

        If the image's format holds no labels, the default is PNG for pictures without a spacing, else NIfTI,
        which carries it.
        """
        label, affine = data["pred"]
        image = data["image_path"]
        ext = extension or data.get("result_extension") or default_extension(image, label.ndim, affine)
        ext = ext if ext.startswith(".") else f".{ext}"
        with tempfile.NamedTemporaryFile(suffix=ext, delete=False) as file:
            target = file.name
        try:
            write_label(target, label, affine, self.bundle.get("labels"), self.bundle.get("colors"), image)
        except Exception as error:  # libraries raise their own errors for unsupported geometries
            Path(target).unlink(missing_ok=True)
            raise LabelError(
                f"the prediction for {Path(image).name} cannot be written as {ext} ({error})"
            ) from error
        present, labels = set(np.unique(label).tolist()), self.bundle.get("labels")
        found = {name: value for name, value in labels.items() if value in present}
        return target, {"found": found, DIGEST: label_digest(label)}


def default_extension(path: str, dimensions: int, affine: np.ndarray) -> str:
    """Return the extension of a label: its image's, else PNG for pictures without a spacing, else NIfTI."""
    is_plain = dimensions == 2 and kind_of(path) == "picture" and np.array_equal(affine, PICTURE_AFFINE)
    own = next((e for e in EXTENSIONS if path.lower().endswith(e)), ".png")
    return own if own != ".png" or is_plain else ".nii.gz"
