"""One worker process brings the pool up to date, as long as its server lives."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests
from PIL import Image

from benchmarks.server_process import Server
from tests.server.polling import status, until


def tasks(server: Server) -> list[dict[str, Any]]:
    answer = requests.get(f"{server.url}/scoring/", params={"all": "true"}, timeout=60)
    return list(answer.json()) if answer.status_code == 200 else []


def is_ready(server: Server) -> bool:
    return (status(server)["progress"] or {"step": ""})["step"] == "ready"


def worker(server: Server) -> psutil.Process | None:
    """Return the newest worker process, which the log names, if it is alive."""
    pids = re.findall(r"The worker is process (\d+)", server.log.read_text())
    return psutil.Process(int(pids[-1])) if pids and psutil.pid_exists(int(pids[-1])) else None


def pids(server: Server) -> set[str]:
    """Return the ids of the processes that worked."""
    return set(re.findall(r"Refresh: embedding, \d+ of \d+ \(pid (\d+)\)", server.log.read_text()))


@pytest.fixture(scope="module")
def pool(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    shutil.copytree(phantoms / "studies", folder / "studies")
    return folder


@pytest.fixture(scope="module")
def server(pool: Path, start: Callable[..., Server]) -> Iterator[Server]:
    yield start(pool / "studies", pool / "state")


def add_image(pool: Path, number: int) -> None:
    """Add a picture that is like no other: noise."""
    pixels = np.random.default_rng(number).integers(0, 256, (128, 128), dtype=np.uint8)
    Image.fromarray(pixels).save(pool / "studies" / f"more{number}.png")


def test_one_process_does_all_runs_and_each_is_a_task(pool: Path, server: Server) -> None:
    until(lambda: status(server)["stage"] == "cold_start" and is_ready(server))
    for number in range(2):
        before = len(tasks(server))
        add_image(pool, number)
        until(lambda: len(tasks(server)) > before and is_ready(server))  # noqa: B023
    asked = requests.post(f"{server.url}/scoring/refresh", timeout=60).json()
    until(lambda: tasks(server)[-1]["status"] == "DONE")
    assert tasks(server)[-1]["id"] == asked["id"]
    assert {task["status"] for task in tasks(server)} == {"DONE"}
    assert len(pids(server)) == 1 and status(server)["map"]["images"] == 18


def test_a_killed_worker_is_replaced_and_the_reason_is_shown(pool: Path, server: Server) -> None:
    first = until(lambda: worker(server))
    first.kill()
    step = until(lambda: re.search("ended.*SIGKILL", str((status(server)["progress"] or {}).get("step"))))
    assert step
    add_image(pool, 2)
    until(lambda: is_ready(server) and status(server)["map"]["images"] == 19)
    second = worker(server)
    assert second is not None and second.pid != first.pid


def test_a_run_that_a_client_stops_takes_its_process_with_it_and_work_goes_on(
    pool: Path, server: Server
) -> None:
    first = until(lambda: worker(server))
    for number in range(3, 43):
        add_image(pool, number)
    stopped = until(lambda: requests.delete(f"{server.url}/scoring/", timeout=60).json())
    assert stopped["status"] == "STOPPED"
    until(lambda: not first.is_running())
    until(lambda: is_ready(server) and status(server)["map"]["images"] == 59)
    assert [task["status"] for task in tasks(server)].count("STOPPED") == 1


def test_the_worker_ends_with_its_server(server: Server) -> None:
    process = until(lambda: worker(server))
    server.stop(kill=True)
    until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, 10)


def test_a_worker_past_its_memory_is_replaced_between_steps(
    phantoms: Path, start: Callable[..., Server], tmp_path: Path
) -> None:
    shutil.copytree(phantoms / "studies", tmp_path / "studies")
    server = start(tmp_path / "studies", tmp_path / "state", worker_memory=0.5)  # less than its imports need
    until(lambda: status(server)["stage"] == "cold_start" and is_ready(server))
    log = server.log.read_text()
    assert "uses more than 512 MiB" in log and "started again" not in log
    runs = [task for task in tasks(server) if task["status"] == "DONE"]
    assert len(runs) > 1, "the steps were shared out among processes"
