"""Running a trained network as fast as this machine can, without changing what comes out.

On a processor that is ONNX Runtime where it is installed (the extra `onnx`), 1.5 to 4 times as fast as
PyTorch on one thread (`benchmarks/results/speed`).
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
PAYS = 32  # inputs after which ONNX Runtime, whose start takes seconds, is worth it
# Of an encoder: so that the map of a small pool is the same whatever is installed. t-SNE makes another layout
# of features that differ in the sixth digit, with other picks.
PAYS_FOR_MAPS = 1000
_AT_ONCE = 4  # inputs; on a processor more are no faster, and with their layers in no cache they are slower
AGREES = 1e-5  # largest difference to PyTorch, relative to the largest output


class Runtime:
    """A network that only predicts: (B, C, ...) of any float type to (B, ...) float32, on its own device.

    It starts with PyTorch. After `PAYS` inputs on a processor the network is exported, and both run one input
    and then some; when they agree, ONNX Runtime has all later inputs of that shape. The log says which one
    runs.
    A GPU runs PyTorch in full float32: TF32 and autocast differ from a processor in the third digit.

    :param name: of the network, for the log
    :param for_maps: whether a map is made of what comes out; then it starts at `PAYS_FOR_MAPS`
    """

    def __init__(self, network: torch.nn.Module, name: str, for_maps: bool = False) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = network.to(self.device, torch.float32).eval()
        self._name, self._for_maps, self._seen = name, for_maps, 0
        self._session: Any = None
        self._shape: tuple[int, ...] | None = None  # of the inputs that the session was made for

    @property
    def backend(self) -> str:
        """What runs it by now."""
        return "PyTorch" if self._session is None else "ONNX Runtime"

    @torch.inference_mode()
    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        batch = batch.to(torch.float32)
        if self.device.type != "cpu":
            return self._torch(batch)
        self._seen += len(batch)
        shape, few = tuple(batch.shape[1:]), batch[:_AT_ONCE]
        if self._seen > (PAYS_FOR_MAPS if self._for_maps else PAYS) and self._shape is None:
            self._shape = shape
            self._session = self._checked_session(few)
        exported = self._session is not None and shape == self._shape
        run = partial(_run, self._session) if exported else self._torch
        return torch.cat([run(part) for part in batch.split(_AT_ONCE)])

    def _torch(self, batch: torch.Tensor) -> torch.Tensor:
        # without TF32, see above
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False, deterministic=True):
            return self._network(batch.to(self.device))

    def _checked_session(self, batch: torch.Tensor) -> Any:
        """A session of ONNX Runtime that agrees with PyTorch on one input and on many, or None."""
        try:
            session = _export(self._network, batch)
            gap = max(self._gap(session, batch[:1]), self._gap(session, torch.cat([batch, batch])))
        except ImportError:
            logger.info("%s runs on PyTorch; pip install '.[onnx]' makes it faster", self._name)
            return None
        except Exception as error:  # exporters raise anything for what they do not know
            reason = str(error).strip().partition("\n")[0]
            logger.warning("%s runs on PyTorch: it cannot be exported (%s)", self._name, reason)
            return None
        if not gap <= AGREES:
            logger.warning("%s runs on PyTorch: ONNX Runtime differs by %.1e", self._name, gap)
            return None
        logger.info("%s runs on ONNX Runtime; it differs from PyTorch by %.1e", self._name, gap)
        return session

    def _gap(self, session: Any, batch: torch.Tensor) -> float:
        """Largest difference of both, relative to the largest output; inf where it is no number."""
        expected, found = self._torch(batch), _run(session, batch)
        if found.shape != expected.shape:
            return np.inf
        gap = float((found - expected).abs().max() / expected.abs().max())
        return gap if np.isfinite(gap) else np.inf


def _export(network: torch.nn.Module, batch: torch.Tensor) -> Any:
    """A session for batches of any size, on as many threads as PyTorch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others want the processor too
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of every check of shapes in the network
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
