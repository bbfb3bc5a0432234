"""Conversion of BiomedCLIP's published files to a transformers folder with the same features."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from infers.encoders import make_encoder
from infers.encoders.open_clip import CONFIG, WEIGHTS, convert

MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
WIDTH, PATCH, SIDE, DEPTH, HEADS = 128, 16, 64, 2, 2
SETTINGS = {
    "model_cfg": {
        "embed_dim": 512,
        "vision_cfg": {
            "timm_model_name": "vit_base_patch16_224", "timm_model_pretrained": False, "timm_pool": "",
            "timm_proj": "linear", "image_size": 224,
        },
    },
    "preprocess_cfg": {"mean": MEAN, "std": STD},
}  # fmt: skip


def published() -> dict[str, torch.Tensor]:
    """Save a small random ViT with timm's names, and part of the text model."""
    torch.manual_seed(0)
    shapes = {
        "cls_token": (1, 1, WIDTH), "pos_embed": (1, 1 + (SIDE // PATCH) ** 2, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH), "patch_embed.proj.bias": (WIDTH,),
        "norm.weight": (WIDTH,), "norm.bias": (WIDTH,),
    }  # fmt: skip
    for block in range(DEPTH):
        parts = {
            "norm1": (),
            "attn.qkv": (3, 1),
            "attn.proj": (1, 1),
            "norm2": (),
            "mlp.fc1": (4, 1),
            "mlp.fc2": (1, 4),
        }
        for name, size in parts.items():
            rows = size[0] * WIDTH if size else WIDTH
            shapes[f"blocks.{block}.{name}.weight"] = (rows, size[1] * WIDTH) if size else (rows,)
            shapes[f"blocks.{block}.{name}.bias"] = (rows,)
    state = {f"visual.trunk.{name}": 0.2 * torch.randn(shape) for name, shape in shapes.items()}
    return state | {"visual.head.proj.weight": torch.randn(512, WIDTH), "logit_scale": torch.ones(())}


def save(folder: Path, state: dict[str, torch.Tensor], settings: dict = SETTINGS) -> Path:
    folder.mkdir()
    torch.save(state, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(settings))
    return folder


def reference(state: dict[str, torch.Tensor], picture: Image.Image) -> torch.Tensor:
    """Compute timm's ViT: pre-norm blocks, exact GELU, epsilon 1e-6, the class token after the norm."""
    p = {name.removeprefix("visual.trunk."): value for name, value in state.items()}

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.layer_norm(x, (WIDTH,), p[f"{name}.weight"], p[f"{name}.bias"], 1e-6)

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])

    pixels = (np.asarray(picture.convert("RGB"), np.float32) / 255 - MEAN) / STD
    x = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]
    x = functional.conv2d(x, p["patch_embed.proj.weight"], p["patch_embed.proj.bias"], stride=PATCH)
    x = torch.cat([p["cls_token"], x.flatten(2).transpose(1, 2)], dim=1) + p["pos_embed"]
    for block in range(DEPTH):
        b = f"blocks.{block}"
        q, k, v = (
            linear(norm(x, f"{b}.norm1"), f"{b}.attn.qkv").view(1, -1, 3, HEADS, 64).permute(2, 0, 3, 1, 4)
        )
        mixed = ((q @ k.transpose(-2, -1)) / 8).softmax(dim=-1) @ v
        x = x + linear(mixed.transpose(1, 2).flatten(2), f"{b}.attn.proj")
        x = x + linear(functional.gelu(linear(norm(x, f"{b}.norm2"), f"{b}.mlp.fc1")), f"{b}.mlp.fc2")
    return norm(x, "norm")[:, 0]


def test_the_features_are_those_of_timms_network(tmp_path: Path) -> None:
    state = published()
    folder = save(tmp_path / "biomedclip", state)
    convert(folder)
    encoder = make_encoder(f"transformers:{folder}")
    assert (encoder.dim, encoder.pooling) == (WIDTH, "cls token")  # type: ignore[attr-defined]
    grey = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    found = encoder.embed([grey.astype(np.float32) / 255])
    expected = reference(state, Image.fromarray(grey)).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda s, c: s.pop("visual.trunk.blocks.0.mlp.fc1.weight"), "fc1.weight' is missing"),
        (lambda s, c: s.clear(), "patch_embed.proj.weight' is missing"),
        (
            lambda s, c: c["model_cfg"]["vision_cfg"].update(timm_model_name="vit_large"),
            "image model vit_large",
        ),
        (lambda s, c: c.pop("preprocess_cfg"), "'preprocess_cfg' is missing"),
    ],
)
def test_another_model_is_refused(change: object, text: str, tmp_path: Path) -> None:
    state, settings = published(), json.loads(json.dumps(SETTINGS))
    change(state, settings)  # type: ignore[operator]
    folder = save(tmp_path / "model", state, settings)
    with pytest.raises(ValueError, match=text):
        convert(folder)
    assert not (folder / "model.safetensors").exists()


def test_a_block_that_is_missing_is_refused_and_not_random(tmp_path: Path) -> None:
    state = {name: value for name, value in published().items() if ".blocks.1.norm2" not in name}
    folder = save(tmp_path / "model", state)
    convert(folder)
    with pytest.raises(ValueError, match="they would be random"):
        make_encoder(f"transformers:{folder}")


def test_missing_and_half_files_are_named(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", published())
    with pytest.raises(FileNotFoundError, match="config.json is missing"):
        make_encoder(f"transformers:{folder}")  # as it was published
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=f"{WEIGHTS} cannot be read"):
        convert(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match=f"{WEIGHTS} is missing"):
        convert(folder)
