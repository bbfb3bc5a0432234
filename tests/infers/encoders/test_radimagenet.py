"""Both published ResNet-50 match their own architecture and preprocessing."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from transformers import ResNetConfig, ResNetModel

from infers.encoders import make_encoder
from infers.encoders.resnet import KERAS, TORCHVISION, ResNet50

STAGES = {1: 3, 2: 4, 3: 6, 4: 3}


def spread(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Randomise normalisation statistics too, so that mixing them up is noticed."""
    generator = torch.Generator().manual_seed(1)
    for key, value in state.items():
        if (
            key.endswith(("running_mean", "running_var"))
            or ("bn" in key or "downsample.1" in key)
            and value.ndim == 1
        ):
            low = -0.2 if key.endswith(("mean", "bias")) else 0.5
            state[key] = low + torch.rand(value.shape, generator=generator) * 0.5
    return state


def step_by_step(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Run the port's forward pass by its description: biases, stride in the first 1x1, epsilon 1.001e-5."""

    def conv(x: torch.Tensor, name: str, stride: int = 1, padding: int = 0) -> torch.Tensor:
        return functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], stride, padding)

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, var, weight, bias = (
            state[f"{name}.{part}"].view(1, -1, 1, 1)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(var + 1.001e-5) * weight + bias

    x = functional.relu(norm(conv(x, "conv1", 2, 3), "bn1"))
    x = functional.max_pool2d(functional.pad(x, (1, 1, 1, 1)), 3, 2)
    for stage, blocks in STAGES.items():
        for block in range(blocks):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = functional.relu(norm(conv(x, f"{name}.conv1", stride), f"{name}.bn1"))
            y = functional.relu(norm(conv(y, f"{name}.conv2", 1, 1), f"{name}.bn2"))
            y = norm(conv(y, f"{name}.conv3"), f"{name}.bn3")
            if block == 0:
                x = norm(conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
            x = functional.relu(x + y)
    return x.mean(dim=(2, 3))


def as_transformers(state: dict[str, torch.Tensor]) -> ResNetModel:
    """Build transformers' ResNet-50 (torchvision's architecture) with the weights of `state`."""
    parts = {"conv": "convolution", "bn": "normalization"}
    renamed = {
        f"embedder.embedder.{parts[k.split('1.')[0]]}.{k.split('.', 1)[1]}": v
        for k, v in state.items()
        if not k.startswith("layer")
    }
    for key, value in state.items():
        if key.startswith("layer"):
            stage, block, part, *rest = key.split(".")
            name = f"encoder.stages.{int(stage[5:]) - 1}.layers.{block}"
            if part == "downsample":
                renamed[f"{name}.shortcut.{['convolution', 'normalization'][int(rest[0])]}.{rest[1]}"] = value
            else:
                renamed[f"{name}.layer.{int(part[-1]) - 1}.{parts[part[:-1]]}.{rest[0]}"] = value
    model = ResNetModel(ResNetConfig())
    model.load_state_dict(renamed, strict=True)
    return model.eval()


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """Return an image of the network's input size, so that nothing is resized."""
    return np.random.default_rng(5).random((224, 224), dtype=np.float32)


def test_the_port_is_what_its_description_says(tmp_path: Path, image: np.ndarray) -> None:
    torch.manual_seed(1)
    state = spread(ResNet50(KERAS).state_dict())
    torch.save(state, tmp_path / "port.pth")
    encoder = make_encoder("radimagenet", str(tmp_path / "port.pth"))
    assert encoder.key.startswith("radimagenet-warvito:")
    norms = [m for m in encoder._run._network.modules() if isinstance(m, torch.nn.BatchNorm2d)]  # type: ignore[attr-defined]
    assert {norm.eps for norm in norms} == {1.001e-5}  # too close to torch's 1e-5 to show in the features
    blue_green_red = torch.tensor([0.406, 0.456, 0.485]).view(1, 3, 1, 1)
    with torch.inference_mode():
        expected = step_by_step(state, torch.from_numpy(image).expand(1, 3, -1, -1) - blue_green_red).numpy()
    assert expected.std() > 0
    np.testing.assert_allclose(
        encoder.embed([image]), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max()
    )


def test_the_official_one_is_torchvisions_architecture(tmp_path: Path, image: np.ndarray) -> None:
    torch.manual_seed(2)
    state = spread(ResNet50(TORCHVISION).state_dict())
    steps = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    keys = {key: f"backbone.{steps[key.split('.')[0]]}.{key.split('.', 1)[1]}" for key in state}
    torch.save({keys[key]: value for key, value in state.items()}, tmp_path / "official.pt")
    encoder = make_encoder("radimagenet", str(tmp_path / "official.pt"))
    assert encoder.key.startswith("radimagenet-official:")
    pixels = (torch.from_numpy(image * 255) - 127.5) * 2 / 255
    with torch.inference_mode():
        expected = as_transformers(state)(pixels.expand(1, 3, -1, -1)).pooler_output.flatten(1).numpy()
    assert expected.std() > 0
    np.testing.assert_allclose(
        encoder.embed([image]), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max()
    )


def test_key_starts_like_sha256sum(tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "port.pth"
    torch.save(ResNet50(KERAS).state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert make_encoder("radimagenet", str(path)).key == f"radimagenet-warvito:{digest[:12]}"


def test_other_resnets_are_refused_with_some_of_their_keys(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torchvision = ResNet50(TORCHVISION).state_dict()
    torch.save(torchvision, path)  # an ImageNet ResNet-50: right names, but no biases
    text = (
        r"not a RadImageNet.*found \d+ keys: conv1.weight.*missing for radimagenet-warvito.*bias.*53 in all"
    )
    with pytest.raises(ValueError, match=text):
        make_encoder("radimagenet", str(path))
    port = ResNet50(KERAS).state_dict()
    torch.save({**port, "fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, path)
    with pytest.raises(ValueError, match="not expected for radimagenet-warvito: fc.bias, fc.weight"):
        make_encoder("radimagenet", str(path))
    torch.save({**port, "conv1.weight": torch.zeros(64, 1, 7, 7)}, path)
    with pytest.raises(ValueError, match="of another shape for radimagenet-warvito: conv1.weight"):
        make_encoder("radimagenet", str(path))
    torch.save({f"backbone.{key}": value for key, value in torchvision.items()}, path)
    with pytest.raises(ValueError, match="missing for radimagenet-official"):
        make_encoder("radimagenet", str(path))


def test_damaged_weights_do_not_pass_as_embeddings(tmp_path: Path) -> None:
    state = ResNet50(KERAS).state_dict()
    state["conv1.weight"].fill_(float("nan"))
    torch.save(state, tmp_path / "port.pth")
    with pytest.raises(ValueError, match="its weights are damaged"):
        make_encoder("radimagenet", str(tmp_path / "port.pth")).embed([np.zeros((8, 8), np.float32)])
