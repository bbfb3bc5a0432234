"""A real pretrained model through `transformers:<folder>` equals the model called by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModel

from infers.encoders import check_encoder, make_encoder


@pytest.fixture(scope="module")
def folder(real_data: Path) -> Path:
    path = real_data.parent / "weights" / "mobilenet_v2_imagenet"
    if not path.is_dir():
        pytest.skip(f"no pretrained model in {path}")
    return path


def test_mobilenet_equals_the_model_called_by_hand(folder: Path, real_data: Path) -> None:
    check_encoder(f"transformers:{folder}")
    encoder = make_encoder(f"transformers:{folder}")
    assert encoder.dim == 1280
    assert (
        encoder.key.startswith("transformers:mobilenet_v2_imagenet:") and len(encoder.key.split(":")[2]) == 12
    )
    paths = sorted((real_data / "montgomery" / "images").glob("*.png"))[:3]
    pictures = [Image.open(path).convert("L") for path in paths]
    small = [p.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR) for p in pictures]
    pixels = torch.from_numpy(np.stack([np.asarray(p, dtype=np.float32) for p in small])).permute(0, 3, 1, 2)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    with torch.inference_mode():
        expected = model(pixel_values=pixels / 128 - 1).pooler_output.numpy()
    found = encoder.embed([np.asarray(p, dtype=np.float32) / 255 for p in pictures])
    np.testing.assert_allclose(found, expected, rtol=0.01, atol=1e-3 * np.abs(expected).max())
    assert np.ptp(found, axis=0).max() > 0.1
