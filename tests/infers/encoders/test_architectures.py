"""All architectures in docs/encoders.md, in the layout of their published weights.

The models are tiny and random. The reference prepares the image step by step with Pillow and torch, from
what the published preprocessor_config.json says, and takes the vector from the network's last layer.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoModel,
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    DINOv3ConvNextConfig,
    DINOv3ConvNextModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    MobileNetV2Config,
    MobileNetV2ForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

from infers.encoders import check_encoder, make_encoder

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
CXR = ((0.5307,) * 3, (0.2583,) * 3)
HALF = ((0.5,) * 3, (0.5,) * 3)
VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
TOLERANCE = 1e-4  # of the largest feature
STEPS = {"do_resize": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255}


def settings(processor: str, norm: tuple, size: dict, resample: int, crop: int | None = None) -> dict:
    found = {"image_processor_type": processor, **STEPS, "image_mean": norm[0], "image_std": norm[1]}
    found |= {"size": size, "resample": resample}
    if crop:
        found |= {"do_center_crop": True, "crop_size": {"height": crop, "width": crop}}
    return found


def pillow(size: int, crop: int | None, resample: Image.Resampling, norm: tuple) -> Callable:
    """Resize the shorter side to `size` and crop the centre; without `crop`, resize both sides to `size`."""

    def prepare(picture: Image.Image) -> torch.Tensor:
        w, h = picture.size
        short = min(w, h)
        to = (int(size * w / short), int(size * h / short)) if crop else (size, size)
        small = picture.convert("RGB").resize(to, resample)
        if crop:
            left, top = (to[0] - crop) // 2, (to[1] - crop) // 2
            small = small.crop((left, top, left + crop, top + crop))
        pixels = (np.asarray(small, np.float64) / 255 - norm[0]) / norm[1]
        return torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]

    return prepare


def dinov3(size: int) -> Callable:
    """Prepare as DINOv3's own processor: scale to [0, 1], then resize in floats."""

    def prepare(picture: Image.Image) -> torch.Tensor:
        pixels = torch.from_numpy(np.asarray(picture.convert("RGB"), np.float32) / 255).permute(2, 0, 1)[None]
        small = torch.nn.functional.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in IMAGENET)
        return (small - mean) / std

    return prepare


def first_token(model: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    return model(pixel_values=pixels).last_hidden_state[:, 0]


def mean_of_map(model: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    return model(pixel_values=pixels).last_hidden_state.mean(dim=(2, 3))


def clip_token(model: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    found = model(pixel_values=pixels).last_hidden_state[:, 0]
    norm = next(module for name, module in model.named_modules() if name.endswith("post_layernorm"))
    return norm(found)


def vit_pooler(model: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    return torch.tanh(model.pooler.dense(first_token(model, pixels)))


@dataclass(frozen=True)
class Published:
    make: Callable[[], torch.nn.Module]  # as it was saved: with its classifier where the hub's has one
    settings: dict
    prepare: Callable[[Image.Image], torch.Tensor]
    pool: Callable[[torch.nn.Module, torch.Tensor], torch.Tensor]
    pooling: str
    dim: int


DINOV3 = {
    **settings("DINOv3ViTImageProcessorFast", IMAGENET, {"height": 64, "width": 64}, 2),
    **dict.fromkeys(
        ["crop_size", "device", "disable_grouping", "do_center_crop", "do_convert_rgb", "input_data_format"]
    ),
    "data_format": "channels_first",
    "default_to_square": True,
}
PUBLISHED = {
    "resnet-50": Published(
        lambda: ResNetForImageClassification(
            ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1])
        ),
        {"feature_extractor_type": "ConvNextFeatureExtractor", "crop_pct": 0.875, "do_normalize": True,
         "do_resize": True, "image_mean": IMAGENET[0], "image_std": IMAGENET[1], "resample": 3, "size": 56},
        pillow(64, 56, BICUBIC, IMAGENET), mean_of_map, "pooler_output", 12,
    ),
    "mobilenet-v2": Published(
        lambda: MobileNetV2ForImageClassification(
            MobileNetV2Config(depth_multiplier=0.1, finegrained_output=False)
        ),
        settings("MobileNetV2ImageProcessor", HALF, {"shortest_edge": 72}, 2, crop=64),
        pillow(72, 64, BILINEAR, HALF), mean_of_map, "pooler_output", 128,
    ),
    "dinov2-base": Published(
        lambda: Dinov2Model(Dinov2Config(**VIT, image_size=84, patch_size=14)),
        settings("BitImageProcessor", IMAGENET, {"shortest_edge": 64}, 3, crop=56),
        pillow(64, 56, BICUBIC, IMAGENET), first_token, "pooler_output", 16,
    ),
    "rad-dino": Published(
        lambda: Dinov2Model(Dinov2Config(**VIT, image_size=84, patch_size=14)),
        settings("BitImageProcessor", CXR, {"shortest_edge": 84}, 3, crop=84),
        pillow(84, 84, BICUBIC, CXR), first_token, "pooler_output", 16,
    ),
    "dinov3-base": Published(
        lambda: DINOv3ViTModel(DINOv3ViTConfig(**VIT, image_size=64, patch_size=16, num_register_tokens=4)),
        DINOV3, dinov3(64), first_token, "pooler_output", 16,
    ),
    "dinov3-convnext": Published(
        lambda: DINOv3ConvNextModel(DINOv3ConvNextConfig(hidden_sizes=[8, 8, 8, 12], depths=[1, 1, 1, 1])),
        DINOV3, dinov3(64), first_token, "pooler_output", 12,
    ),
    "vit": Published(
        lambda: ViTModel(ViTConfig(**VIT, image_size=64)),
        settings("ViTImageProcessor", HALF, {"height": 64, "width": 64}, 2),
        pillow(64, None, BILINEAR, HALF), vit_pooler, "pooler_output", 16,
    ),
    "vit-classifier": Published(
        lambda: ViTForImageClassification(ViTConfig(**VIT, image_size=64)),
        settings("ViTImageProcessor", HALF, {"height": 64, "width": 64}, 2),
        pillow(64, None, BILINEAR, HALF), first_token, "cls token", 16,
    ),
    "clip-vision": Published(
        lambda: CLIPVisionModel(CLIPVisionConfig(**VIT, image_size=64, patch_size=16)),
        settings("CLIPImageProcessor", CLIP, {"shortest_edge": 64}, 3, crop=64),
        pillow(64, 64, BICUBIC, CLIP), clip_token, "pooler_output", 16,
    ),
}  # fmt: skip


def save(folder: Path, model: torch.nn.Module, prepare: dict) -> str:
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(prepare))
    return f"transformers:{folder}"


def pictures() -> list[Image.Image]:
    """Return wide and tall grey 8-bit images with structure at several scales."""
    rng = np.random.default_rng(1)
    found = []
    for shape in ((90, 131), (150, 77)):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 5), dtype=np.uint8)).resize(shape[::-1], BILINEAR)
        noisy = np.asarray(coarse, np.int64) + rng.integers(-20, 21, shape)
        found.append(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)))
    return found


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_features_are_those_of_the_reference(name: str, tmp_path: Path) -> None:
    row = PUBLISHED[name]
    torch.manual_seed(0)
    encoder = make_encoder(save(tmp_path / name, row.make(), row.settings))
    assert (encoder.dim, encoder.pooling) == (row.dim, row.pooling)  # type: ignore[attr-defined]
    model = AutoModel.from_pretrained(tmp_path / name, local_files_only=True).eval()
    with torch.inference_mode():
        expected = np.concatenate([row.pool(model, row.prepare(picture)).numpy() for picture in pictures()])
    found = encoder.embed([np.asarray(picture, np.float32) / 255 for picture in pictures()])
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())
    assert np.abs(found[0] - found[1]).max() > 10 * TOLERANCE * np.abs(expected).max()


def test_a_model_of_images_and_texts_asks_for_its_image_part(tmp_path: Path) -> None:
    vision, text = dict(VIT, image_size=64, patch_size=16), dict(VIT, vocab_size=99, eos_token_id=2)
    model = CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=8))
    name = save(tmp_path / "clip", model, PUBLISHED["clip-vision"].settings)
    with pytest.raises(ValueError, match="give the folder of its image part only"):
        make_encoder(name)


@pytest.mark.parametrize("key", ["size", "resample", "image_mean", "image_std"])
def test_what_a_torchvision_processor_leaves_out_is_not_guessed(key: str, tmp_path: Path) -> None:
    prepare = {name: value for name, value in DINOV3.items() if name != key}
    name = save(tmp_path / "model", PUBLISHED["dinov3-base"].make(), prepare)
    with pytest.raises(ValueError, match=f"no preparation that works without torchvision.*expected .*{key}"):
        make_encoder(name)


def test_another_preparation_is_another_key(tmp_path: Path) -> None:
    """Vectors of two preparations must not mix in one pool."""
    row = PUBLISHED["vit"]
    name = save(tmp_path / "vit", row.make(), row.settings)
    before = check_encoder(name)
    assert make_encoder(name).key == before
    changed = {**row.settings, "image_mean": IMAGENET[0]}
    (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(changed))
    assert check_encoder(name) == make_encoder(name).key != before
