"""Workers on a node, without a cluster: received files, shared storage, missing folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image
from s3fs import S3FileSystem
from transformers import ResNetConfig, ResNetModel

from infers.encoders.model_folder import key_of_folder
from strategies.engine.local import run_batches
from strategies.engine.ray.remote import NodeError, Order, RemoteWorker, read_files, unpacked
from strategies.engine.worker import Done
from strategies.engine.workers import EmbedWorker


@pytest.fixture
def batch(tmp_path: Path) -> list[tuple[str, str]]:
    """Write four images to `studies`, one of them unreadable."""
    (tmp_path / "studies").mkdir()
    chance, paths = np.random.default_rng(1), [tmp_path / "studies" / f"{name}.png" for name in "abcd"]
    for path in paths:
        Image.fromarray(chance.integers(0, 255, (32, 40), dtype=np.uint8)).save(path)
    paths[2].write_bytes(b"no picture")
    return [(path.stem, str(path)) for path in paths]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Save a tiny network in transformers' format."""
    folder = tmp_path / "tiny net"
    ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1])).save_pretrained(folder)
    prepare = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    prepare |= {"image_mean": [0.5] * 3, "image_std": [0.2] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(prepare))
    return folder


def embedding(encoder: str = "descriptor") -> partial[EmbedWorker]:
    return partial(EmbedWorker, encoder, None, "cxr_lungs", {}, True)


def started(
    worker: partial[EmbedWorker], shared: str = "", probes: tuple[str, ...] = (), contents: Any = None
) -> RemoteWorker:
    files = list(read_files(EmbedWorker.files(*worker.args)))
    node = RemoteWorker(2)
    node.start(
        Order(worker, tuple(sent for sent, _ in files), shared, probes),
        *([content for _, content in files] if contents is None else contents),
    )
    return node


def assert_equal(found: list[Done], expected: list[Done]) -> None:
    assert [(each.image, each.error) for each in found] == [(each.image, each.error) for each in expected]
    for one, other in zip(found, expected, strict=True):
        if not one.error:
            np.testing.assert_allclose(one.found.vector, other.found.vector, rtol=1e-5)
            assert (one.found.key, one.found.print) == (other.found.key, other.found.print)


def test_the_network_comes_in_the_order_not_from_a_shared_folder(batch: Any, model: Path) -> None:
    worker = embedding(f"transformers:{model}")
    files = list(read_files(EmbedWorker.files(*worker.args)))
    expected, key = next(run_batches(worker, [batch])), key_of_folder(model)
    shutil.rmtree(model)
    node = RemoteWorker(2)
    node.start(Order(worker, tuple(sent for sent, _ in files), "", ()), *(content for _, content in files))
    found = node.work(batch)
    assert_equal(found, expected)
    assert found[0].found.key == key and key.startswith("transformers:tiny net:")
    assert "c.png: cannot be read" in found[2].error


def test_a_file_that_came_damaged_is_not_used(model: Path) -> None:
    worker = embedding(f"transformers:{model}")
    contents = [content for _, content in read_files(EmbedWorker.files(*worker.args))]
    contents[-1] = contents[-1].copy()
    contents[-1][100] ^= 1
    with pytest.raises(NodeError, match="arrived damaged: its sha256 is not"):
        started(worker, contents=contents)


def test_files_of_one_name_do_not_meet(tmp_path: Path) -> None:
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "weights.pth").write_text(folder)
    paths = [str(tmp_path / folder / "weights.pth") for folder in "ab"]
    files = list(read_files(paths))
    with unpacked([sent for sent, _ in files], [content for _, content in files]) as here:
        assert [Path(here[path]).read_text() for path in paths] == ["a", "b"]
        assert {Path(path).name for path in here.values()} == {"weights.pth"}
    assert not any(Path(path).exists() for path in here.values())


def test_images_come_from_shared_storage(batch: Any, tmp_path: Path) -> None:
    expected = next(run_batches(embedding(), [batch]))
    (tmp_path / "studies").rename(tmp_path / "bucket")  # nothing is left at the paths of the server
    node = started(embedding(), f"file://{tmp_path}/bucket/", (batch[0][1],))
    assert_equal(node.work(batch), expected)
    (tmp_path / "bucket" / "b.png").unlink()
    assert f"{batch[1][1]}: is not in file://{tmp_path}/bucket; copy it" in node.work(batch)[1].error
    (tmp_path / "bucket" / "b.png").mkdir()
    assert f"{batch[1][1]}: cannot be read from file://" in node.work(batch)[1].error
    with pytest.raises(
        NodeError, match="elsewhere/a.png cannot be read on .*: copy it there, or change shared"
    ):
        started(embedding(), f"file://{tmp_path}/elsewhere", (batch[0][1],))


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3FileSystem]:
    """Start an S3 server on this machine that s3fs finds through its usual settings."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.get_host_and_port()[1]}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    S3FileSystem.clear_instance_cache()
    yield S3FileSystem()
    S3FileSystem.clear_instance_cache()
    server.stop()


def test_images_come_from_s3(batch: Any, tmp_path: Path, s3: S3FileSystem) -> None:
    expected = next(run_batches(embedding(), [batch]))
    s3.mkdir("scans")
    s3.put(f"{tmp_path}/studies", "scans/pool", recursive=True)
    shutil.rmtree(tmp_path / "studies")
    node = started(embedding(), "s3://scans/pool", (batch[0][1],))
    assert_equal(node.work(batch), expected)
    s3.rm("scans/pool/b.png")
    assert f"{batch[1][1]}: is not in s3://scans/pool; copy it there" in node.work(batch)[1].error
    with pytest.raises(NodeError, match="s3://other/pool/a.png cannot be read on"):
        started(embedding(), "s3://other/pool", (batch[0][1],))


def test_a_node_that_does_not_see_the_images_blames_none_of_them(batch: Any, tmp_path: Path) -> None:
    node = started(embedding(), probes=(batch[0][1],))
    (tmp_path / "studies" / "b.png").unlink()
    assert "b.png" in node.work(batch)[1].error  # gone by itself
    for path in (tmp_path / "studies").iterdir():  # as an unmounted folder looks
        path.unlink()
    with pytest.raises(NodeError, match=r"a.png cannot be read on .*: mount the studies folder there"):
        node.work(batch)
    with pytest.raises(NodeError, match="mount the studies folder there at the same path"):
        started(embedding(), probes=(batch[0][1],))
