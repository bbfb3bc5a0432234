"""`engine: ray` on a real cluster of nodes on this machine, whose workers and nodes are killed."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from bundle_configs import Bundle
from infers.encoders.descriptor import Descriptor
from infers.segmentation import model_fingerprint
from server.config import ConfigError, parse
from strategies.engine_ray import RayEngine
from strategies.refresh import Refresh
from strategies.workers import Worker
from tests.server.published import publish

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
SIZE = 4  # of a batch
IMAGES = [f"i{n:02d}" for n in range(40)]
BATCHES = [[(image, f"/{image}") for image in IMAGES[n : n + SIZE]] for n in range(0, len(IMAGES), SIZE)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes, a processor each."""
    made = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    made.add_node(**NODE)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # nodes do not have the tests
    yield made
    ray.shutdown()
    made.shutdown()


class Logging(Worker):
    """Finds each image's name, and writes down which process looked at it."""

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
    """It dies of the image i25, and once of i09."""

    def _see(self, image: str) -> str:
        found = super()._see(image)
        if image == "i25" or (image == "i09" and Path(self._log).read_text().count("i09") == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        return found


def looked(log: Path) -> list[list[str]]:
    """[image, process] of each look."""
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def test_the_same_as_the_local_engine(world: Any, cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other, bundle = type(world)(tmp_path / "other"), Bundle("cxr_lungs")
    conf = {"image_size": 32, "channels": "[4,8]"}
    for pool, engine in ((world, {}), (other, {"engine": "ray", "ray_address": cluster.address})):
        Path(pool.store.get_image_uri("i03")).write_bytes(b"no picture")
        settings = replace(pool.context.settings, duplicates="report", **engine)
        pool.context = replace(pool.context, settings=settings, fixed_encoder_key=Descriptor.key)
        publish(pool.context.state.folder, "cxr_lungs", conf)
        Refresh(pool.context, bundle)({}, pool.store)
    states = [pool.context.state for pool in (world, other)]
    readable = [image for image in world.images if image != "i03"]
    vectors = [state.vectors(Descriptor.key, readable) for state in states]
    np.testing.assert_allclose(vectors[1], vectors[0], rtol=1e-5)
    model = model_fingerprint(world.context.model_file)
    entropies = [state.entropies(model) for state in states]
    assert list(entropies[0]) == readable and entropies[1] == pytest.approx(entropies[0], rel=1e-5)
    assert set(states[1].measures(model)) == set(states[0].measures(model))
    assert [list(state.failures()) for state in states] == [["i03"], ["i03"]]
    assert other.cold == world.cold
    other.store.close()


def test_lost_workers_lose_nothing(cluster: Cluster, tmp_path: Path) -> None:
    log = tmp_path / "log"
    found = [d for done in RayEngine(cluster.address)(partial(Fragile, str(log)), BATCHES) for d in done]
    assert sorted(each.image for each in found) == IMAGES, "each once"
    failed = [each for each in found if each.error]
    assert [each.image for each in failed] == ["i25"] and "3 workers were lost over it" in failed[0].error
    assert all(each.found == each.image for each in found if not each.error)
    looks = Counter(image for image, _ in looked(log))
    assert looks["i09"] == 2 and looks["i25"] == 3
    again = {image for image, times in looks.items() if times > 1}
    assert again <= {"i08", "i09", "i24", "i25"}, "what was looked at in the batches that were cut short"


def test_a_lost_node_loses_nothing(cluster: Cluster, tmp_path: Path) -> None:
    log = tmp_path / "log"
    node = cluster.add_node(**NODE)
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    found, killed = [], set[str]()
    for done in RayEngine(cluster.address)(partial(Logging, str(log)), BATCHES * 3):
        found += [each.image for each in done]
        own = {str(child.pid) for child in raylet.children()} if not killed else set()
        if any(process in own for _, process in looked(log)):  # it has begun
            killed = own
            for process in [raylet, *raylet.children(recursive=True)]:  # as when a machine loses its power
                process.kill()
    assert killed, "the node took part"
    assert sorted(found) == sorted(IMAGES * 3)
    assert 0 <= len(looked(log)) - 3 * len(IMAGES) <= SIZE
    assert killed.isdisjoint(process for _, process in looked(log)[-SIZE:]), "others went on"


def test_what_a_worker_raises_comes_here(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere/log"):
        list(RayEngine(cluster.address)(partial(Logging, str(tmp_path / "nowhere" / "log")), BATCHES))


def test_settings_that_cannot_work_stop_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**conf: str) -> str:
        with pytest.raises(ConfigError) as said:
            parse(conf, Bundle("cxr_lungs"))
        return str(said.value).partition("\n")[0]

    assert refused(engine="spark") == "--conf engine spark: choose one of local, ray"
    assert "are for --conf engine ray" in refused(ray_address="10.0.0.1:6379")
    assert "shared_studies nosuch://bucket: Protocol not known" in refused(
        engine="ray", shared_studies="nosuch://bucket"
    )
    parse({"engine": "ray", "shared_studies": "file:///bucket"}, Bundle("cxr_lungs"))
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "pip install -c constraints.txt '.[ray]'" in refused(engine="ray")
