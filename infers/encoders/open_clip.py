"""Conversion of BiomedCLIP's image encoder to transformers: `python -m infers.encoders.open_clip FOLDER`.

Zhang et al., "BiomedCLIP: a multimodal biomedical foundation model", arXiv 2303.00915. It is published for
open_clip: timm's ViT-B/16 under the keys `visual.trunk.`. The vector is the class token after the last norm,
without its projection into the space shared with texts; images are prepared as CLIP's.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors.torch import save_file

from infers.encoders.model_folder import read_settings

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_pytorch_model.bin"
_MODEL = "vit_base_patch16_224"  # timm's name
_TRUNK = "visual.trunk."
_HEAD = 64  # width of an attention head in every ViT of timm's series
_NAMES = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
}
_BLOCK_NAMES = {
    "norm1": "layernorm_before",
    "attn.proj": "attention.output.dense",
    "norm2": "layernorm_after",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}


def convert(folder: Path) -> None:
    """Write config.json, preprocessor_config.json and model.safetensors beside open_clip's files in `folder`.

    Raises:
        FileNotFoundError: open_clip_config.json or open_clip_pytorch_model.bin is missing.
        ValueError: they are damaged or belong to another model.
    """
    settings = read_settings(folder, CONFIG)
    try:
        name = settings["model_cfg"]["vision_cfg"]["timm_model_name"]  # type: ignore[index]
        norm = {f"image_{key}": settings["preprocess_cfg"][key] for key in ("mean", "std")}  # type: ignore[index]
        trunk = _read_trunk(folder / WEIGHTS)
        state = {key: value for name, tensor in trunk.items() for key, value in _renamed(name, tensor)}
        config = _config(trunk)
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{folder} holds no BiomedCLIP for open_clip: {error} is missing") from error
    if name != _MODEL:
        raise ValueError(f"{folder / CONFIG} describes the image model {name}; expected {_MODEL}")
    side = config["image_size"]
    prepare = {
        "image_processor_type": "CLIPImageProcessor", "do_resize": True, "size": {"shortest_edge": side},
        "resample": 3, "do_center_crop": True, "crop_size": {"height": side, "width": side},
        "do_convert_rgb": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, **norm,
    }  # fmt: skip
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "preprocessor_config.json").write_text(json.dumps(prepare, indent=2))
    (folder / "config.json").write_text(json.dumps(config, indent=2))


def _read_trunk(path: Path) -> dict[str, torch.Tensor]:
    """Read the weights of timm's ViT, by timm's names."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: download it from the page of BiomedCLIP")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as PyTorch weights; download it again") from error
    return {key.removeprefix(_TRUNK): value for key, value in weights.items() if key.startswith(_TRUNK)}


def _config(trunk: dict[str, torch.Tensor]) -> dict[str, object]:
    """Build config.json of transformers' ViT from the shapes of the weights."""
    width, _, patch, _ = trunk["patch_embed.proj.weight"].shape
    patches = round((trunk["pos_embed"].shape[1] - 1) ** 0.5)
    return {
        "model_type": "vit", "architectures": ["ViTModel"], "hidden_act": "gelu", "qkv_bias": True,
        "layer_norm_eps": 1e-6, "hidden_size": width, "num_attention_heads": width // _HEAD,
        "intermediate_size": trunk["blocks.0.mlp.fc1.weight"].shape[0], "patch_size": patch,
        "num_hidden_layers": len({key.split(".")[1] for key in trunk if key.startswith("blocks.")}),
        "image_size": patch * patches, "num_channels": 3,
    }  # fmt: skip


def _renamed(name: str, tensor: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    """Rename one of timm's tensors for transformers; timm joins queries, keys and values in one tensor."""
    if name in _NAMES:
        return [(_NAMES[name], tensor.contiguous())]
    stem, _, last = name.rpartition(".")
    if not stem.startswith("blocks."):
        return [(f"{_NAMES[stem]}.{last}", tensor.contiguous())]
    _, number, part = stem.split(".", 2)
    layer = f"encoder.layer.{number}"
    if part == "attn.qkv":
        names = [f"{layer}.attention.attention.{which}.{last}" for which in ("query", "key", "value")]
        return [(key, value.clone()) for key, value in zip(names, tensor.chunk(3), strict=True)]
    return [(f"{layer}.{_BLOCK_NAMES[part]}.{last}", tensor.contiguous())]


def main(
    folder: Annotated[Path, typer.Argument(help=f"Folder with {CONFIG} and {WEIGHTS}.")],
) -> None:
    """Convert a folder with BiomedCLIP's two open_clip files so that transformers can read it."""
    try:
        convert(folder)
    except (OSError, ValueError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{folder} is ready. Start the server with --conf encoder transformers:{folder.resolve()}")


if __name__ == "__main__":
    typer.run(main)
