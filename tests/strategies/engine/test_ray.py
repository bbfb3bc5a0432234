"""`engine: ray` on a real cluster on this machine, with workers and nodes being killed."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from bundle_configs import Bundle
from infers.segmentation.task import model_fingerprint
from server.config import ConfigError, parse
from strategies.engine.local import run_batches
from strategies.engine.ray.engine import RayEngine
from strategies.engine.ray.run import slots
from strategies.engine.worker import Worker
from strategies.engine.workers import EmbedWorker, ScoreWorker
from tests.server.published import publish

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
SIZE = 4  # of a batch
IMAGES = [f"i{n:02d}" for n in range(40)]
BATCHES = [[(image, f"/{image}") for image in IMAGES[n : n + SIZE]] for n in range(0, len(IMAGES), SIZE)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Start a cluster of two nodes with one processor each."""
    made = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    made.add_node(**NODE)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # nodes do not have the tests
    yield made
    ray.shutdown()
    made.shutdown()


class Logging(Worker):
    """Computes each image's name, and logs the process that handled it."""

    def __init__(self, log: str) -> None:
        self._log = log

    def read(self, path: str) -> str:
        return path[1:]

    def look(self, images: Sequence[str]) -> list[str]:
        return [self._see(image) for image in images]

    def _see(self, image: str) -> str:
        time.sleep(0.03)
        with open(self._log, "a") as log:
            log.write(f"{image} {os.getpid()}\n")
        return image


class Fragile(Logging):
    """Dies on the image i25."""

    def _see(self, image: str) -> str:
        found = super()._see(image)
        if image == "i25":
            os.kill(os.getpid(), signal.SIGKILL)
        return found


def looked(log: Path) -> list[list[str]]:
    """Return [image, process] of each handled image."""
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


class EmbedAndScore(Worker):
    """Both in one process, since each process imports for seconds."""

    def __init__(self, model: str, sha256: str) -> None:
        self._embed = EmbedWorker("descriptor", None, "cxr_lungs", {}, True)
        self._score = ScoreWorker(model, sha256)

    def read(self, path: str) -> tuple[Any, Any]:
        return self._embed.read(path), self._score.read(path)

    def look(self, images: Sequence[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        embedded, scored = (list(each) for each in zip(*images, strict=True))
        return list(zip(self._embed.look(embedded), self._score.look(scored), strict=True))


def test_the_same_as_the_local_engine(
    world: Any, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strategies.engine.ray.run.slots", lambda: slots()[:1])
    Path(world.store.get_image_uri("i03")).write_bytes(b"no picture")
    publish(tmp_path, "cxr_lungs", {"image_size": 32, "channels": "[4,8]"})
    worker: Any = partial(EmbedAndScore, str(tmp_path / "model.pt"), model_fingerprint(tmp_path / "model.pt"))
    batch = [(image, world.store.get_image_uri(image)) for image in world.images]
    engine, readable = RayEngine(cluster.address), [n for n, i in enumerate(world.images) if i != "i03"]
    ((*far,), (*near,)) = next(engine(worker, [batch])), next(run_batches(worker, [batch]))
    assert [(each.image, each.error) for each in far] == [(each.image, each.error) for each in near]
    assert [n for n, each in enumerate(far) if not each.error] == readable
    for n in readable:
        (far_one, far_score), (near_one, near_score) = far[n].found, near[n].found
        np.testing.assert_allclose(far_one.vector, near_one.vector, rtol=1e-5)
        assert far_one.print == near_one.print
        assert far_score.entropy == pytest.approx(near_score.entropy, rel=1e-5)
        assert far_score.measures == pytest.approx(near_score.measures, rel=1e-5)


class OutdatedError(Exception):
    pass


class Outdated(Logging):
    """Cannot be made, as a worker whose model was replaced."""

    def __init__(self, log: str) -> None:
        raise OutdatedError("another was published")


def test_an_error_of_making_a_worker_keeps_its_type(cluster: Cluster) -> None:
    with pytest.raises(OutdatedError, match="another was published"):
        next(RayEngine(cluster.address)(partial(Outdated, ""), BATCHES))


def test_lost_workers_lose_nothing(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strategies.engine.ray.run._MAX_LOST", 2)  # a worker takes seconds to start
    log = tmp_path / "log"
    found = [
        each for done in RayEngine(cluster.address)(partial(Fragile, str(log)), BATCHES) for each in done
    ]
    assert sorted(each.image for each in found) == IMAGES, "each once"
    (failed,) = [each for each in found if each.error]
    assert (failed.image, failed.error) == ("i25", "/i25: 2 workers were lost over it")
    looks = Counter(image for image, _ in looked(log))
    assert {image: times for image, times in looks.items() if times > 1} == {"i24": 2, "i25": 2}
    assert all(each.found == each.image for each in found if each != failed)


def test_the_only_worker_is_replaced_when_it_is_lost(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strategies.engine.ray.run._MAX_LOST", 2)
    monkeypatch.setattr("strategies.engine.ray.run.slots", lambda: slots()[:1])
    few = BATCHES[5:8]
    found = [
        each
        for done in RayEngine(cluster.address)(partial(Fragile, str(tmp_path / "log")), few)
        for each in done
    ]
    assert sorted(each.image for each in found) == IMAGES[5 * SIZE : 8 * SIZE]
    assert [each.image for each in found if each.error] == ["i25"]


class Neighbour:
    """Another job on the cluster that runs until a file exists."""

    def __init__(self, until: str) -> None:
        Thread(target=self._leave, args=[until], daemon=True).start()

    def _leave(self, until: str) -> None:
        while not os.path.exists(until):
            time.sleep(0.1)
        os._exit(0)


def test_workers_that_wait_for_a_processor_say_so(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("strategies.engine.ray.run._SLOW_START_SECONDS", 0.5)
    monkeypatch.setattr("strategies.engine.ray.run._POLL_SECONDS", 0.5)
    until, log, deadline = tmp_path / "until", str(tmp_path / "log"), time.monotonic() + 120
    ray.init(cluster.address)
    number = len(slots())
    other: Any = ray.remote(num_cpus=1)(Neighbour).options(lifetime="detached")
    others = [other.remote(str(until)) for _ in range(number)]
    ray.get([each.__ray_ready__.remote() for each in others])
    ray.shutdown()

    def said() -> list[str]:
        return [message for message in caplog.messages if "have not started" in message]

    def end_the_others() -> None:
        while not said() and time.monotonic() < deadline:
            time.sleep(0.1)
        until.touch()

    Thread(target=end_the_others, daemon=True).start()
    try:
        found = [each for done in RayEngine(cluster.address)(partial(Logging, log), BATCHES) for each in done]
    finally:
        until.touch()
    assert sorted(each.image for each in found) == IMAGES
    (message,) = said()
    assert f"{number} of {number} workers" in message and "`ray status`" in message


def test_a_lost_node_loses_nothing(cluster: Cluster, tmp_path: Path) -> None:
    log, killed, given, found = tmp_path / "log", set[str](), list[str](), list[str]()
    node = next(node for node in cluster.worker_nodes)
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)

    def batches() -> Iterator[list[tuple[str, str]]]:
        """Yield batches until the node is lost, and some more afterwards."""
        for n in range(2000):
            given.extend(images := [f"{n}-{k}" for k in range(SIZE)])
            yield [(image, f"/{image}") for image in images]
            if killed and n > after + 20:
                return

    after = 2000
    for done in RayEngine(cluster.address)(partial(Logging, str(log)), batches()):
        found += [each.image for each in done]
        own = {str(child.pid) for child in raylet.children()} if not killed else set()
        if len([process for _, process in looked(log) if process in own]) > 2 * SIZE:
            killed, after = own, len(given) // SIZE
            for process in [raylet, *raylet.children(recursive=True)]:  # as when a machine loses its power
                process.kill()
    assert killed, "the node took part"
    assert sorted(found) == sorted(given), "each once"
    assert len(looked(log)) - len(given) <= SIZE, "what was repeated"


def test_no_cluster_is_said_at_once() -> None:
    with pytest.raises(RuntimeError, match=r"ray_address 127.0.0.1:9: .*refused.*`ray start --head`"):
        next(RayEngine("127.0.0.1:9")(partial(Logging, ""), BATCHES))


def test_settings_that_cannot_work_stop_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**conf: str) -> str:
        with pytest.raises(ConfigError) as said:
            parse(conf, Bundle("cxr_lungs"))
        return str(said.value).partition("\n")[0]

    assert refused(engine="spark") == "--conf engine spark: choose one of local, ray"
    assert "are for --conf engine ray" in refused(ray_address="10.0.0.1:6379")
    assert "expected host:port" in refused(engine="ray", ray_address="head")
    assert "shared_studies nosuch://bucket: Protocol not known" in refused(
        engine="ray", shared_studies="nosuch://bucket"
    )
    parse({"engine": "ray", "shared_studies": "file:///bucket"}, Bundle("cxr_lungs"))
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "pip install -c constraints.txt '.[ray]'" in refused(engine="ray")
