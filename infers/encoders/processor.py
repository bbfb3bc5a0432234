"""Image processors of huggingface transformers folders, without torchvision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoImageProcessor

from infers.encoders.model_folder import read_settings

# steps `_process_in_floats` supports, and settings it requires, since a processor's own defaults are unknown
_STEPS = {"do_resize", "do_rescale", "do_normalize", "do_convert_rgb"}
_NAMED = {"size", "resample", "image_mean", "image_std"}
_MODES = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers

Processor = Callable[[np.ndarray], torch.Tensor]  # (H, W, 3) uint8 to the network's input (1, 3, h, w)


def load_processor(folder: Path) -> Processor:
    """Load the folder's own image processor, with its Pillow backend.

    Processors without a Pillow backend, such as DINOv3's, are replicated here in floats and in DINOv3's order
    if their settings only rescale, resize and normalise.

    Raises:
        ValueError: the settings require more than that, or are incomplete.
    """
    try:
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    except (ImportError, ValueError, OSError, AttributeError) as error:
        settings = read_settings(folder, "preprocessor_config.json")
        if _is_supported(settings):
            return partial(_process_in_floats, settings=settings)
        raise ValueError(
            f"{folder / 'preprocessor_config.json'} describes no preparation that works without torchvision "
            f"({' '.join(str(error).split())}); expected {', '.join(sorted(_NAMED))}, size with height and "
            f"width, resample 2 or 3, and of the steps only {', '.join(sorted(_STEPS))}"
        ) from error
    return partial(_process, processor)


def _process(processor: Any, rgb: np.ndarray) -> torch.Tensor:
    return processor([rgb], input_data_format="channels_last", return_tensors="pt")["pixel_values"]


def _is_supported(settings: Mapping[str, Any]) -> bool:
    steps = {key for key, value in settings.items() if key.startswith("do_") and value}
    return (
        settings.keys() >= _NAMED
        and {"do_resize", "do_rescale", "do_normalize"} <= steps <= _STEPS
        and isinstance(settings["size"], dict)
        and settings["size"].keys() >= {"height", "width"}
        and settings["resample"] in _MODES
    )


def _process_in_floats(rgb: np.ndarray, settings: Mapping[str, Any]) -> torch.Tensor:
    """Rescale, resize with anti-aliasing, then normalise, as DINOv3's torchvision processor does."""
    pixels = torch.from_numpy(rgb).permute(2, 0, 1)[None] * float(settings.get("rescale_factor", 1 / 255))
    side, mode = settings["size"], _MODES[settings["resample"]]
    small = torch.nn.functional.interpolate(
        pixels, (side["height"], side["width"]), mode=mode, antialias=True
    )
    mean, std = (torch.tensor(settings[key]).view(1, 3, 1, 1) for key in ("image_mean", "image_std"))
    return (small - mean) / std
