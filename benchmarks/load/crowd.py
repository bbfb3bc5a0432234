"""Many annotators at once on one server that is killed repeatedly; then everything is checked.

python -m benchmarks.load.crowd --handouts 10000 --clients 32 --out runs/crowd
python -m benchmarks.load.crowd --kills 200 --clients 8 --out runs/kills

Every answer to a client is recorded: an acknowledged hand-out, label or skip must exist afterwards, whatever
was killed, and no two clients may hold the same image.
"""

from __future__ import annotations

import random
import re
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import psutil
import requests
import typer
from tqdm import tqdm

from benchmarks.annotator import write_json
from benchmarks.load.crowd_check import Record, check, unrecorded
from benchmarks.phantoms.generate import generate
from benchmarks.server_process import Server, running

_SMALL_CONF = {"epochs": 3, "image_size": 64, "channels": "[4,8,16]", "cold_start_budget": 8, "batch_size": 4}
_CATCH_UP_SECONDS = 90.0  # for the ledger, after the database was away
Fault = Callable[[Server], bool]  # does harm to a server's pool; False if it is not possible now


class Worker(threading.Thread):
    """One annotator: requests an image, then labels, skips, releases or keeps it."""

    def __init__(self, name: str, url: str, labels: Path, record: Record, ended: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self._url, self._labels, self._record, self._ended = url, labels, record, ended
        self._max_labels = len(list(labels.iterdir())) // 2  # most images to label, so that work remains
        self._random = random.Random(
            name + str(record.asked)
        )  # another course after each restart of the server
        self._session = requests.Session()
        self.unexpected: list[str] = []

    def run(self) -> None:
        while not self._ended.is_set():
            try:
                self._step()
            except requests.RequestException:  # the server was killed: the main thread starts another
                return

    def _step(self) -> None:
        _, answer = self._post({})
        if answer.get("id") is None:
            time.sleep(0.05)  # everything is held or done
            return self._label_again()
        image = answer["id"]
        action = self._random.random()
        if action < 0.2:
            self._label(image) if len(self._record.labels) < self._max_labels else self._label_again()
        elif action < 0.35:
            self._skip(image)
        elif action < 0.9 or answer["selection"]["again"]:  # keep some, but not so many that it gets no more
            self._post({"release": image})

    def _post(self, verbs: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Return the status of an answer, and a good answer itself."""
        started = time.perf_counter()
        answer = self._session.post(
            f"{self._url}/activelearning/auto", json={"client_id": self.name, **verbs}, timeout=60
        )
        with self._record.lock:
            self._record.asked += 1
            self._record.clicks += [] if verbs else [time.perf_counter() - started]
            body: dict[str, Any] = answer.json()
            if answer.status_code == 200 and body and body["selection"]["again"] is None:
                self._record.handouts.append((body["id"], self.name))
        if answer.status_code not in (200, 409):
            self.unexpected.append(f"{answer.status_code} {answer.text[:200]}")
        return answer.status_code, body if answer.status_code == 200 else {}

    def _skip(self, image: str) -> None:
        """Skip an image, and undo it half of the time, so that skips do not use up the pool."""
        few = sum(self._record.skips.values()) < self._max_labels / 2
        for verb, skipped in (("skip", True), ("unskip", False))[
            : self._random.choice((1, 2, 2)) if few else 2
        ]:
            with self._record.lock:
                if image in self._record.unclear:  # another client awaits an answer: its order is unknown
                    return
                self._record.unclear.add(image)
            status, _ = self._post({verb: image})
            if status == 503:  # the database went away, perhaps after it was done
                return
            with self._record.lock:
                self._record.unclear.discard(image)
                if status == 200:
                    self._record.skips[image] = skipped

    def _label_again(self) -> None:
        with self._record.lock:
            labelled = sorted(self._record.labels)
        if labelled:
            self._label(self._random.choice(labelled))

    def _label(self, image: str) -> None:
        with open(self._labels / f"{image}.png", "rb") as file:
            answer = self._session.put(
                f"{self._url}/datastore/label",
                params={"image": image},
                data={"params": f'{{"client_id": "{self.name}"}}'},
                files={"label": (f"{image}.png", file)},
                timeout=60,
            )
        if answer.status_code != 200:
            self.unexpected.append(f"label of {image}: {answer.status_code} {answer.text[:200]}")
            return
        with self._record.lock:
            self._record.labels[image] = self._record.labels.get(image, 0) + 1


def process_of(server: Server, kind: str) -> psutil.Process | None:
    """Return the newest process of a kind ("worker", "train"), which the server's log names, if it runs."""
    pids = re.findall(rf"The {kind} is process (\d+)", server.log.read_text(errors="replace"))
    try:
        process = psutil.Process(int(pids[-1])) if pids else None
        started_since = psutil.Process(server.process.pid).create_time()
        if process and process.status() != psutil.STATUS_ZOMBIE and process.create_time() >= started_since:
            return process
    except psutil.NoSuchProcess:
        pass
    return None


def _kill_server(server: Server) -> bool:
    server.stop(kill=True)
    return True


def _kill_worker(server: Server) -> bool:
    if process := process_of(server, "worker"):
        process.kill()
    return process is not None


def _kill_training(server: Server) -> bool:
    """Kill the training; ask for one if none is running, as none may be due any more."""
    if process := process_of(server, "train"):
        process.kill()
    else:
        requests.post(f"{server.url}/train/segmentation", json={}, timeout=60)
    return process is not None


KILLS: Mapping[str, Fault] = {"server": _kill_server, "worker": _kill_worker, "train": _kill_training}


def main(
    out: Annotated[Path, typer.Option(help="Folder for the pool, the log and crowd.json; emptied first")],
    clients: Annotated[int, typer.Option(min=1, help="Annotators at once")] = 32,
    handouts: Annotated[int, typer.Option(help="Minimum number of hand-outs")] = 0,
    kills: Annotated[int, typer.Option(help="Number of times to kill -9 server, worker or training")] = 0,
    images: Annotated[int, typer.Option(min=16, help="Size of the pool")] = 300,
    seed: Annotated[int, typer.Option(help="Seed of the phantoms and of the kills")] = 1,
) -> None:
    """Let many annotators loose on a server and check that nothing was handed out twice or lost."""
    shutil.rmtree(out, ignore_errors=True)
    generate(out.resolve(), count=images, seed=seed, size=96)
    report = run_crowd(out.resolve(), clients, handouts, kills, random.Random(seed))
    write_json(out / "crowd.json", report)
    typer.echo("\n".join(f"{name}: {value}" for name, value in report.items()))
    raise typer.Exit(1 if report["wrong"] else 0)


@dataclass
class Goal:
    """The end of a crowd's run, and its progress."""

    handouts: int
    kills: int
    faults: Mapping[str, Fault]
    record: Record = field(default_factory=Record)
    killed: Counter[str] = field(default_factory=Counter)
    during_training: int = 0  # kills while a training ran, of whatever process

    def reached(self) -> bool:
        return len(self.record.handouts) >= self.handouts and self.kills <= sum(self.killed.values())

    def progress(self) -> int:
        return min(self.handouts, len(self.record.handouts)) + sum(self.killed.values())

    def harm(self, server: Server, chance: random.Random) -> None:
        """Let one thing go wrong, if there is one to go wrong now: each gets its turn."""
        fewest = min(self.killed[name] for name in self.faults)
        name = chance.choice([name for name in self.faults if self.killed[name] == fewest])
        trains = process_of(server, "train") is not None
        if self.faults[name](server):
            self.killed[name] += 1
            self.during_training += trains


def run_crowd(
    out: Path,
    clients: int,
    handouts: int,
    kills: int,
    chance: random.Random,
    faults: Mapping[str, Fault] = KILLS,
    database: str = "",
) -> dict[str, Any]:
    """Run the crowd on the pool in `out`; return a report whose list `wrong` is empty if all is well.

    :param kills: number of faults
    :param database: URL of a PostgreSQL database; requests may then be refused with 503 while it is away
    """
    goal, started, embedded = Goal(handouts, kills, faults), time.time(), 0
    all_errors: list[str] = []
    with tqdm(total=handouts + kills, desc="crowd") as bar:
        while not all_errors and not goal.reached():
            all_errors += _until_killed(out, clients, goal, chance, bar, database)
            errors, embedded = check(out, goal.record, embedded, database)
            all_errors += errors
    return {
        "wrong": all_errors[:20],
        "handouts": len(goal.record.handouts),
        "labels": sum(goal.record.labels.values()),
        "skips": sum(goal.record.skips.values()),
        "requests": goal.record.asked,
        "killed": dict(goal.killed),
        "during_training": goal.during_training,
        "clients": clients,
        "seconds": round(time.time() - started),
    }


def _until_killed(
    out: Path, clients: int, goal: Goal, chance: random.Random, bar: tqdm[Any], database: str
) -> list[str]:
    """Run one server until it is killed; return the unexpected answers to clients."""
    conf = {
        **_SMALL_CONF,
        **({"database": database} if database else {}),
        "state": out / "state",
        "auto_train": goal.kills > 0,
        "duplicates": "off",  # some phantoms are near-duplicates, and all of them must be labelled
    }
    with running("cxr_lungs", out / "studies", conf, out / "server.log") as server:
        ended = threading.Event()
        workers = [
            Worker(f"c{n:02d}", server.url, out / "labels", goal.record, ended) for n in range(clients)
        ]
        for worker in workers:
            worker.start()
        while not goal.reached() and server.process.poll() is None:
            time.sleep(chance.uniform(0.2, 3.0))
            if sum(goal.killed.values()) < goal.kills:
                goal.harm(server, chance)
            bar.n = goal.progress()
            bar.refresh()
        ended.set()
        for worker in workers:
            worker.join()
        late = _catch_up(server, goal.record) if database and server.process.poll() is None else []
    answers = [line for worker in workers for line in worker.unexpected]
    return late + [line for line in answers if not (database and " 503 " in f" {line}")]


def _catch_up(server: Server, record: Record) -> list[str]:
    """Wait until the ledger has all labels, also those that were saved while the database was away."""
    end, late = time.monotonic() + _CATCH_UP_SECONDS, ["the ledger was not asked for"]
    while late and time.monotonic() < end:
        answer = requests.get(f"{server.url}/selection/ledger", timeout=60)
        late = unrecorded(answer.json(), record) if answer.status_code == 200 else [answer.text]
        time.sleep(1.0)
    return late


if __name__ == "__main__":
    typer.run(main)
