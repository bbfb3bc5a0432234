"""Inference with a trained network as fast as this machine allows, with the same results.

On a CPU this means ONNX Runtime if installed (the extra `onnx`): 1.5 to 4 times as fast as PyTorch on one
thread (`benchmarks/results/speed`).
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from functools import partial
from typing import Any

import numpy as np
import torch

logger = logging.getLogger(__name__)
PAYS = 32  # inputs after which ONNX Runtime pays off, since it takes seconds to start
# For encoders, so that the map of a small pool does not depend on installed packages: features that differ in
# the sixth digit give another t-SNE layout, with other picks.
PAYS_FOR_MAPS = 1000
_BATCH_SIZE = 4  # on a CPU larger batches are no faster, and slower once layers exceed the cache
AGREES = 1e-5  # largest difference to PyTorch, relative to the largest output


class Runtime:
    """A network for inference: (B, C, ...) of any float type to (B, ...) float32, on its own device.

    It starts with PyTorch. After `PAYS` inputs on a CPU the network is exported and both backends are
    compared on one input and on several; if they agree, ONNX Runtime gets all later inputs of that shape. The
    log says which one runs. A GPU runs PyTorch in full float32: TF32 and autocast differ from a CPU in the
    third digit.

    :param name: name of the network, for the log
    :param for_maps: True if a map is made from the outputs; then export waits for `PAYS_FOR_MAPS` inputs
    """

    def __init__(self, network: torch.nn.Module, name: str, for_maps: bool = False) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = network.to(self.device, torch.float32).eval()
        self._name, self._for_maps, self._seen = name, for_maps, 0
        self._session: Any = None
        self._shape: tuple[int, ...] | None = None  # input shape of the session

    @property
    def backend(self) -> str:
        """Name of the backend in use."""
        return "PyTorch" if self._session is None else "ONNX Runtime"

    @torch.inference_mode()
    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        batch = batch.to(torch.float32)
        if self.device.type != "cpu":
            return self._torch(batch)
        self._seen += len(batch)
        shape, sample = tuple(batch.shape[1:]), batch[:_BATCH_SIZE]
        if self._seen > (PAYS_FOR_MAPS if self._for_maps else PAYS) and self._shape is None:
            self._shape = shape
            self._session = self._checked_session(sample)
        exported = self._session is not None and shape == self._shape
        run = partial(_run, self._session) if exported else self._torch
        return torch.cat([run(part) for part in batch.split(_BATCH_SIZE)])

    def _torch(self, batch: torch.Tensor) -> torch.Tensor:
        # without TF32, see the class
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False, deterministic=True):
            return self._network(batch.to(self.device))

    def _checked_session(self, batch: torch.Tensor) -> Any:
        """Return an ONNX Runtime session that agrees with PyTorch on one input and on several, or None."""
        try:
            session = _export(self._network, batch)
            gap = max(
                self._difference(session, batch[:1]), self._difference(session, torch.cat([batch, batch]))
            )
        except ImportError:
            logger.info("%s runs on PyTorch; pip install '.[onnx]' makes it faster", self._name)
            return None
        except Exception as error:  # exporters may raise anything
            reason = str(error).strip().partition("\n")[0]
            logger.warning("%s runs on PyTorch: it cannot be exported (%s)", self._name, reason)
            return None
        if not gap <= AGREES:
            logger.warning("%s runs on PyTorch: ONNX Runtime differs by %.1e", self._name, gap)
            return None
        logger.info("%s runs on ONNX Runtime; it differs from PyTorch by %.1e", self._name, gap)
        return session

    def _difference(self, session: Any, batch: torch.Tensor) -> float:
        """Return the largest difference, relative to the largest output; inf if not finite."""
        expected, actual = self._torch(batch), _run(session, batch)
        if actual.shape != expected.shape:
            return np.inf
        gap = float((actual - expected).abs().max() / expected.abs().max())
        return gap if np.isfinite(gap) else np.inf


def _export(network: torch.nn.Module, batch: torch.Tensor) -> Any:
    """Export to a session for batches of any size, on as many threads as PyTorch."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leaves the CPU to others
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns about every shape check
        file = f"{folder}/network.onnx"
        axes = {"batch": {0: "size"}, "out": {0: "size"}}
        torch.onnx.export(
            network,
            (batch,),
            file,
            input_names=["batch"],
            output_names=["out"],
            dynamic_axes=axes,
            dynamo=False,
        )
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def _run(session: Any, batch: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(session.run(None, {"batch": batch.numpy()})[0])
