"""Contract of all encoders."""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Dinov2Config, Dinov2Model, ResNetConfig, ResNetModel, ViTConfig, ViTModel

from infers.encoders import Encoder, check_encoder, dense_encoder, make_encoder
from infers.encoders.dense import DenseEncoder
from infers.encoders.resnet import KERAS, TORCHVISION, ResNet50

PREPARE = {
    "do_resize": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255, "resample": 2,
    "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4],
}  # fmt: skip
SQUARE = {**PREPARE, "image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}


def save(folder: Path, model: torch.nn.Module, prepare: dict) -> str:
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(prepare))
    return f"transformers:{folder}"


def resnet(folder: Path) -> str:
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic")
    return save(folder, ResNetModel(config), SQUARE)


def vit(folder: Path) -> str:
    return save(folder, ViTModel(ViTConfig(**TINY, intermediate_size=16)), SQUARE)


def vit_without_pooler(folder: Path) -> str:
    return save(folder, ViTModel(ViTConfig(**TINY, intermediate_size=16), add_pooling_layer=False), SQUARE)


def dinov2_with_dinov3_processor(folder: Path) -> str:
    """Save a model whose processor transformers offers for torchvision only."""
    return save(
        folder,
        Dinov2Model(Dinov2Config(**TINY)),
        {**SQUARE, "image_processor_type": "DINOv3ViTImageProcessor"},
    )


def resnet_that_keeps_the_aspect_ratio(folder: Path) -> str:
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic")
    prepare = {**PREPARE, "image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 32}}
    return save(folder, ResNetModel(config), {**prepare, "do_center_crop": False})


def official_keys(state: dict) -> dict:
    steps = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    return {f"backbone.{steps[key.split('.')[0]]}.{key.split('.', 1)[1]}": v for key, v in state.items()}


@pytest.fixture(scope="session")
def radimagenet_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Save random weights in the two published layouts; the port's lack the counters, like old files."""
    folder = tmp_path_factory.mktemp("radimagenet")
    torch.manual_seed(0)
    port = {k: v for k, v in ResNet50(KERAS).state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(port, folder / "RadImageNet-ResNet50_notop.pth")
    torch.save(official_keys(ResNet50(TORCHVISION).state_dict()), folder / "ResNet50.pt")
    return {"warvito": folder / "RadImageNet-ResNet50_notop.pth", "official": folder / "ResNet50.pt"}


FOLDERS: dict[str, tuple[Callable[[Path], str], int, str]] = {
    "resnet": (resnet, 12, "pooler_output"),
    "vit": (vit, 16, "pooler_output"),
    "vit-no-pooler": (vit_without_pooler, 16, "cls token"),
    "dinov3-processor": (dinov2_with_dinov3_processor, 16, "pooler_output"),
    "any-aspect": (resnet_that_keeps_the_aspect_ratio, 12, "pooler_output"),
}


@pytest.fixture(scope="module", params=["descriptor", "warvito", "official", *FOLDERS])
def made(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    radimagenet_files: dict[str, Path],
) -> tuple[str, str, str | None]:
    """Return (kind, name, weights) for one encoder of each kind."""
    if request.param in FOLDERS:
        return request.param, FOLDERS[request.param][0](tmp_path_factory.mktemp("model") / "tiny"), None
    if request.param == "descriptor":
        return "descriptor", "descriptor", None
    return request.param, "radimagenet", str(radimagenet_files[request.param])


@pytest.fixture(scope="module")
def encoder(made: tuple[str, str, str | None]) -> Encoder:
    return make_encoder(made[1], made[2])


def some_images(count: int = 4) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    shapes = [(40, 60), (64, 64), (128, 50), (33, 47)]
    return [rng.random(shapes[i % 4], dtype=np.float32) * (i + 1) / count for i in range(count)]


def test_rows_are_float32_finite_and_of_length_dim(encoder: Encoder) -> None:
    assert isinstance(encoder, Encoder)
    images = [*some_images(), np.zeros((32, 32), np.float32), np.ones((5, 300), np.float32)]
    rows = encoder.embed(images)
    assert rows.dtype == np.float32 and rows.shape == (len(images), encoder.dim)
    assert np.isfinite(rows).all()
    assert encoder.embed([]).shape == (0, encoder.dim)


def test_a_row_does_not_depend_on_the_batch(encoder: Encoder) -> None:
    images = some_images()
    together = encoder.embed(images)
    scale = np.abs(together).max()
    alone = np.concatenate([encoder.embed([image]) for image in images])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5 * scale)
    np.testing.assert_allclose(encoder.embed(images[::-1])[::-1], together, rtol=1e-4, atol=1e-5 * scale)
    np.testing.assert_array_equal(encoder.embed(images), together)


def test_images_are_left_as_they_were_and_different_ones_differ(encoder: Encoder) -> None:
    images = some_images()
    copies = [image.copy() for image in images]
    rows = encoder.embed(images)
    for image, copy in zip(images, copies, strict=True):
        np.testing.assert_array_equal(image, copy)
    assert len(np.unique(rows, axis=0)) == len(images)


def test_the_same_name_gives_the_same_key_and_passes_the_check(
    made: tuple[str, str, str | None], encoder: Encoder
) -> None:
    check_encoder(made[1], made[2])
    again = make_encoder(made[1], made[2])
    assert (again.key, again.name, again.dim) == (encoder.key, encoder.name, encoder.dim)
    np.testing.assert_array_equal(again.embed(some_images(1)), encoder.embed(some_images(1)))
    if made[0] in FOLDERS:
        _, dim, pooling = FOLDERS[made[0]]
        assert (encoder.dim, encoder.pooling) == (dim, pooling)  # type: ignore[attr-defined]


def test_dense_features_span_the_image_and_do_not_depend_on_the_batch(encoder: Encoder) -> None:
    assert dense_encoder(encoder) is encoder and isinstance(encoder, DenseEncoder)
    left, right = np.zeros((40, 60), np.float32), np.zeros((40, 60), np.float32)
    left[:, :10] = right[:, -10:] = 1
    together = encoder.dense([left, right, *some_images(2)])
    for level, other, alone in zip(together[0], together[1], encoder.dense([left])[0], strict=True):
        side = len(level)
        assert level.dtype == np.float32 and level.shape == (side, side, level.shape[2]) and side >= 4
        assert np.isfinite(level).all()
        np.testing.assert_allclose(level, alone, rtol=1e-4, atol=1e-4 * np.abs(level).max())
        difference = np.abs(level - other).mean(axis=(0, 2))
        assert difference[: side // 2].sum() > 0 and difference[-side // 2 :].sum() > 0
    sizes = [len(level) for level in together[0]]
    assert sizes == sorted(sizes, reverse=True)
    assert encoder.dense_key.startswith(encoder.key.split(":")[0])
    assert encoder.dense([]) == []


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (np.zeros((8, 8, 3), np.float32), r"image 1 has shape \(8, 8, 3\)"),
        (np.zeros((0, 8), np.float32), "image 1 has shape"),
        (
            np.full((8, 8), 255, np.float32),
            r"image 1 has values from 255 to 255: expected finite values in \[0, 1\]",
        ),
        (np.array([[0.1, np.nan]], np.float32), "image 1 has values from nan"),
    ],
)
def test_bad_images_are_refused_by_number(encoder: Encoder, image: np.ndarray, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        encoder.embed([np.zeros((8, 8), np.float32), image])


@pytest.mark.parametrize("call", [make_encoder, check_encoder])
@pytest.mark.parametrize(
    "name", ["resnet", "", "transformers", "transformers:", "radimagenet:x", "descriptor:2"]
)
def test_unknown_names_list_the_known_ones(call: Callable[..., object], name: str) -> None:
    with pytest.raises(ValueError, match="expected one of descriptor, radimagenet, transformers:<folder>"):
        call(name)


@pytest.mark.parametrize("call", [make_encoder, check_encoder])
def test_weights_for_an_encoder_without_are_refused(call: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match="remove encoder_weights"):
        call("descriptor", "weights.pt")


@pytest.mark.parametrize("call", [make_encoder, check_encoder])
def test_radimagenet_says_which_files_it_wants(call: Callable[..., object], tmp_path: Path) -> None:
    wanted = "RadImageNet-ResNet50_notop.pth.*ResNet50.pt"
    with pytest.raises(ValueError, match=f"needs encoder_weights.*{wanted}"):
        call("radimagenet")
    with pytest.raises(FileNotFoundError, match=f"absent.pt.*set encoder_weights.*{wanted}"):
        call("radimagenet", str(tmp_path / "absent.pt"))
    for name, content in (("text.pt", b"<html>not found</html>"), ("empty.pt", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}.*{wanted}"):
            call("radimagenet", str(tmp_path / name))
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(ValueError, match=f"list.pt holds list.*{wanted}"):
        call("radimagenet", str(tmp_path / "list.pt"))
    with (tmp_path / "code.pt").open("wb") as stream:
        pickle.dump({"conv1.weight": print}, stream, protocol=2)
    with pytest.raises(ValueError, match="code.pt"):
        call("radimagenet", str(tmp_path / "code.pt"))


@pytest.mark.parametrize("call", [make_encoder, check_encoder])
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_model_folder_must_be_complete(call: Callable[..., object], name: str, tmp_path: Path) -> None:
    encoder = vit(tmp_path / "model")
    (tmp_path / "model" / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        call(encoder)
    with pytest.raises(FileNotFoundError, match="absent does not exist"):
        call(f"transformers:{tmp_path / 'absent'}")


@pytest.mark.parametrize("call", [make_encoder, check_encoder])
@pytest.mark.parametrize(
    "content", ["half", "", "<html>sign in</html>", "version https://git-lfs.github.com/spec/v1"]
)
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_half_downloads_are_refused(
    call: Callable[..., object], content: str, name: str, tmp_path: Path
) -> None:
    encoder = vit(tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    whole = file.read_bytes()
    if name == "pytorch_model.bin":
        torch.save(ViTModel(ViTConfig(**TINY, intermediate_size=16)).state_dict(), tmp_path / "weights")
        whole = (tmp_path / "weights").read_bytes()
        file.unlink()
    (tmp_path / "model" / name).write_bytes(whole)
    call(encoder)
    (tmp_path / "model" / name).write_bytes(
        whole[: len(whole) // 2] if content == "half" else content.encode()
    )
    with pytest.raises(ValueError, match=f"{name} .* half a download; delete it, then download"):
        call(encoder)


@pytest.mark.parametrize("call", [make_encoder, check_encoder])
def test_half_a_download_of_radimagenet_is_refused(
    call: Callable[..., object], radimagenet_files: dict[str, Path], tmp_path: Path
) -> None:
    for file in radimagenet_files.values():
        half = tmp_path / file.name
        half.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with pytest.raises(ValueError, match=f"{file.name} cannot be read as PyTorch weights"):
            call("radimagenet", str(half))


def test_weights_of_another_model_are_refused_and_not_filled_at_random(tmp_path: Path) -> None:
    vit(tmp_path / "vit")
    name = resnet(tmp_path / "resnet")
    (tmp_path / "vit" / "model.safetensors").replace(tmp_path / "resnet" / "model.safetensors")
    with pytest.raises(ValueError, match="random"):
        make_encoder(name)


def test_the_check_imports_no_transformers(tmp_path: Path) -> None:
    name = vit(tmp_path / "model")
    code = f"import sys; from infers.encoders import check_encoder as c; c({name!r}); c('descriptor'); "
    code += "sys.exit('transformers' in sys.modules or 'torch' in sys.modules)"
    root = Path(__file__).resolve().parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
