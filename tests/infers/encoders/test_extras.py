"""timm and torchxrayvision: equal to direct calls if importable, refused with a clear error otherwise."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from infers.encoders import check_encoder, make_encoder
from infers.encoders.extras import import_extra

NIH = "nih-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt"
RESNET = "pc-nih-rsna-siim-vin-resnet50-test512-e400-state.pt"


def extra(name: str) -> ModuleType:
    try:
        return import_extra(name)
    except ValueError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def timm() -> ModuleType:
    return extra("timm")


@pytest.fixture(scope="module")
def xrv() -> ModuleType:
    return extra("torchxrayvision")


def pictures() -> list[np.ndarray]:
    """Return two grey images of different sizes with 8-bit values, so that nothing is rounded."""
    rng = np.random.default_rng(3)
    shapes = ((70, 90), (300, 260))
    return [rng.integers(0, 256, shape).astype(np.uint8).astype(np.float32) / 255 for shape in shapes]


@pytest.mark.parametrize("name", ["timm:folder", "torchxrayvision:file.pt"])
def test_without_the_package_it_says_how_to_get_it(name: str) -> None:
    package = name.partition(":")[0]
    if find_spec(package):
        pytest.skip(f"{package} is installed")
    for call in (check_encoder, make_encoder):
        with pytest.raises(
            ValueError, match=rf"No module named '{package}'\): pip install .*'\.\[{package}\]'"
        ):
            call(name)


def test_a_torchvision_of_another_build_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_installed.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(
        ValueError, match="torchvision::nms does not exist.*only beside the torch that it was"
    ):
        import_extra("half_installed")


def timm_folder(timm: ModuleType, folder: Path, name: str = "test_vit", **changes: object) -> Path:
    torch.manual_seed(0)
    timm.models.save_for_hf(timm.create_model(name, **changes), str(folder), safe_serialization=True)
    return folder


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet", "test_resnet"])
def test_timm_equals_its_model_called_by_hand(timm: ModuleType, tmp_path: Path, name: str) -> None:
    folder = timm_folder(timm, tmp_path / name, name)
    encoder = make_encoder(f"timm:{folder}")
    assert encoder.key == check_encoder(f"timm:{folder}") and encoder.key.startswith(f"timm:{name}:")
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    settings = timm.data.resolve_model_data_config(model)
    _, side, _ = settings["input_size"]
    resized = int(np.floor(side / settings["crop_pct"]))
    how = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
    rows = []
    for image in pictures():  # the shorter side, then the middle square
        picture = Image.fromarray(np.rint(image * 255).astype(np.uint8)).convert("RGB")
        scale = resized / min(picture.size)
        size = [
            int(resized * max(picture.size) / min(picture.size)) if n * scale > resized else resized
            for n in picture.size
        ]
        picture = picture.resize((size[0], size[1]), how[settings["interpolation"]])
        left, top = (round((n - side) / 2) for n in picture.size)
        pixels = np.asarray(picture.crop((left, top, left + side, top + side)), np.float64) / 255
        pixels = (pixels - settings["mean"]) / settings["std"]
        batch = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]
        with torch.inference_mode():
            rows.append(model.forward_head(model.forward_features(batch), pre_logits=True)[0].numpy())
    assert encoder.dim == len(rows[0])
    np.testing.assert_allclose(encoder.embed(pictures()), rows, rtol=0, atol=1e-4 * np.abs(rows).max())


def test_timm_folders_that_do_not_fit_are_refused(timm: ModuleType, tmp_path: Path) -> None:
    good = timm_folder(timm, tmp_path / "good")
    with pytest.raises(
        FileNotFoundError, match="not the folder of a timm model.*config.json and model.safetensors"
    ):
        check_encoder(f"timm:{tmp_path / 'gone'}")

    half = shutil.copytree(good, tmp_path / "half")
    data = (half / "model.safetensors").read_bytes()
    (half / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="half a download"):
        check_encoder(f"timm:{half}")

    other = shutil.copytree(good, tmp_path / "other")
    settings = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(settings | {"architecture": "vit_tiny_patch16_224"}))
    with pytest.raises(
        ValueError, match="timm cannot load.*Error.*state_dict.*settings and weights that belong"
    ):
        make_encoder(f"timm:{other}")

    (other / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(ValueError, match="no key architecture.*transformers:<folder>"):
        check_encoder(f"timm:{other}")

    grey = timm_folder(timm, tmp_path / "grey", in_chans=1)
    settings = json.loads((grey / "config.json").read_text())
    settings["pretrained_cfg"]["input_size"][0] = 1
    (grey / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="takes 1 channels; expected one that takes 3"):
        make_encoder(f"timm:{grey}")


def xrv_file(xrv: ModuleType, folder: Path, name: str) -> Path:
    """Save random weights in torchxrayvision's published formats: a whole DenseNet, a ResNet's weights."""
    torch.manual_seed(0)
    if name == RESNET:
        import torchvision

        model = torchvision.models.resnet50(num_classes=18)
        model.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        torch.save(model.state_dict(), folder / name)
    else:
        torch.save(xrv.models.DenseNet(), folder / name)
    return folder / name


@pytest.mark.parametrize(("name", "side", "dim"), [(NIH, 224, 1024), (RESNET, 512, 2048)])
def test_xrayvision_equals_its_model_called_by_hand(
    xrv: ModuleType, tmp_path: Path, name: str, side: int, dim: int
) -> None:
    import torchvision
    from skimage.transform import resize

    file = xrv_file(xrv, tmp_path, name)
    encoder = make_encoder(f"torchxrayvision:{file}")
    assert encoder.key == check_encoder(f"torchxrayvision:{file}") and encoder.dim == dim
    assert encoder.key.startswith(
        "torchxrayvision:" + ("resnet50-res512-all" if name == RESNET else "densenet")
    )
    rows = []
    for image in pictures():
        edge = min(image.shape)
        top, left = ((n // 2) - (edge // 2) for n in image.shape)
        square = image[top : top + edge, left : left + edge] * 2048 - 1024
        batch = torch.from_numpy(
            resize(square, (side, side), mode="constant", preserve_range=True).astype(np.float32)
        )[None, None]
        if name == RESNET:
            state = torch.load(file, weights_only=True)
            model = torchvision.models.resnet50(num_classes=18)
            model.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
            model.load_state_dict(state)
            model.fc = torch.nn.Identity()
            head = model.eval()
        else:
            whole = torch.load(file, weights_only=False).eval()
            head = torch.nn.Sequential(
                whole.features, torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
            )
        with torch.inference_mode():
            rows.append(head(batch)[0].numpy())
    np.testing.assert_allclose(encoder.embed(pictures()), rows, rtol=0, atol=1e-4 * np.abs(rows).max())


def test_xrayvision_files_that_do_not_fit_are_refused(xrv: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist: download one of.*github.com"):
        check_encoder(f"torchxrayvision:{tmp_path / NIH}")
    file = xrv_file(xrv, tmp_path, NIH)
    renamed = Path(shutil.copy(file, tmp_path / "mine.pt"))
    with pytest.raises(ValueError, match="publishes no model as mine.pt.*keep the name"):
        check_encoder(f"torchxrayvision:{renamed}")
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="cannot load .*damaged, half a download or another model"):
        make_encoder(f"torchxrayvision:{file}")
    torch.save(torch.nn.Linear(2, 2), file)
    with pytest.raises(ValueError, match="cannot load .*another model"):
        make_encoder(f"torchxrayvision:{file}")
