"""Damaged files in a pool and as labels of a real server: no server error, no hang, no lost label.

`--fuzz-files 1000` takes more of them, `--real-data DIR` damages real images too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from benchmarks.server_process import Server
from pool.imaging.labels import read_label
from tests.pool.imaging import damaged as files
from tests.pool.imaging.damaged import damaged
from tests.pool.imaging.test_damaged_files import sources
from tests.server.end_to_end.test_right_place import LUNGS, XRAYS, Pool
from tests.server.published import publish

LABEL_SENT = {"label_info": [{"name": "right lung", "idx": 1}, {"name": "left lung", "idx": 2}]}
GOOD = 10


@pytest.fixture(scope="module")
def count(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--fuzz-files"))


@pytest.fixture(scope="module")
def pool(
    request: pytest.FixtureRequest, phantoms: Path, count: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pool]:
    """Ten radiographs among damaged files of every format, and a published model."""
    folder = tmp_path_factory.mktemp("fuzzed")
    studies = folder / "studies"
    studies.mkdir()
    for i, path in enumerate(sorted((phantoms / "studies").iterdir())[:GOOD]):
        Image.open(path).save(studies / f"good{i}.png")
    whole = sources(request, folder / "whole")
    for number in range(count):
        damaged(whole, number, studies)
    publish(folder / "state", "cxr_lungs", XRAYS)
    conf = XRAYS | {"state": folder / "state", "max_open": count, "duplicates": "off"}
    with Server("cxr_lungs", studies, conf, folder / "server.log") as server:
        server.wait()
        yield Pool(server, studies, folder)


def get(pool: Pool, path: str, **params: str) -> requests.Response:
    return requests.get(f"{pool.url}/{path}", params=params, timeout=60)


def test_each_damaged_image_is_used_or_refused_by_name(pool: Pool, count: int) -> None:
    pool.wait_ready()
    status = pool.status()
    failures, images = status["failures"], set(get(pool, "datastore/", output="all").json()["objects"])
    assert status["failed"] + status["map"]["images"] == len(images) and len(images) > count * 0.9
    assert not any(name.startswith("good") for name in failures) and len(failures) > count / 4
    assert all(name in reason and "\n" not in reason for name, reason in failures.items())
    given = {ask(pool, f"client {n}")["id"] for n in range(GOOD)}
    assert len(given) == GOOD and not given & failures.keys()


def ask(pool: Pool, client: str) -> dict[str, Any]:
    answer = requests.post(f"{pool.url}/activelearning/auto", json={"client_id": client}, timeout=60)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_pages_and_predictions_of_damaged_images_end_in_no_server_error(pool: Pool) -> None:
    pool.wait_ready()
    failures, answers = pool.status()["failures"], Counter[int]()
    for image in get(pool, "datastore/", output="all").json()["objects"]:
        predict = f"{pool.url}/infer/segmentation?image={image}&output=image"
        for answer in (
            get(pool, "selection/images/thumbnail", image=image),
            get(pool, f"selection/image/{image}/voxels"),
            requests.post(predict, timeout=60),
        ):
            answers[answer.status_code] += 1
            assert answer.status_code in ((200, 404, 422) if image in failures else (200,)), answer.text
            if answer.status_code == 422:
                assert image in answer.json()["detail"] and "\n" not in answer.json()["detail"]
    assert answers[200] >= 3 * GOOD and answers[422]
    assert "Traceback" not in pool.server.log.read_text()


def test_no_damaged_label_costs_one_that_is_kept(pool: Pool, count: int, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    labels = [
        path for path in files.phantoms(tmp_path / "whole") if path.name.startswith(("m.", "l.", "p.", "c."))
    ]
    size = Image.open(pool.image("good0")).size
    Image.new("L", size, 1).save(tmp_path / "right.png")
    assert pool.save("good0", tmp_path / "right.png").status_code == 200
    kept, versions = pool.stored("good0").read_bytes(), 1
    for number in range(count):
        file = damaged(labels, number, tmp_path)
        answer = pool.save("good0", file, **LABEL_SENT)
        assert answer.status_code in (200, 422), answer.text
        if answer.status_code == 200:
            kept, versions = pool.stored("good0").read_bytes(), versions + 1
            assert read_label(pool.stored("good0"), LUNGS, pool.image("good0")).any()
        else:
            assert "good0" in answer.json()["detail"] or file.name in answer.json()["detail"]
        assert pool.stored("good0").read_bytes() == kept
    older = [path for path in (pool.studies / "versions" / "final").glob("good0.*") if path.suffix != ".json"]
    assert len(older) == versions - 1 and pool.status()["labelled"] == 1
    assert "Traceback" not in pool.server.log.read_text()
