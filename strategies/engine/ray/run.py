"""One pass over images on a Ray cluster: who works on what, and what comes of a worker or node that is lost.

There is a worker for each GPU, on nodes without any for each processor. The batches of one that is lost are
done again by others; each image is answered once.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from strategies.engine.local import Batch
from strategies.engine.ray.remote import NodeError, Order, RemoteWorker, read_files
from strategies.engine.workers import Done, Worker

logger = logging.getLogger(__name__)
_AHEAD = 2  # batches that a worker has: one that it looks at, one that it reads
_TRIES = 3  # workers that may be lost over a batch, or at their start in one place
_LOOK = 10.0  # seconds between looks at which nodes there are
_PROBES = 8  # images by which a node shows that it sees the pool
_MEMORY = 2**30  # bytes that a worker without GPU may need
_PATIENCE = 60.0  # seconds after which a worker that has not started is worth a word


class Slot(NamedTuple):
    """A place for one worker: which one on its node, and its processors and GPUs."""

    node: str
    number: int
    cpus: int
    gpus: int


@dataclass
class Job:
    """A batch, and how many workers were lost over it."""

    batch: Batch
    lost: int = 0

    @property
    def is_suspect(self) -> bool:
        """Whether its image is to be tried alone, so that no other image is blamed for it."""
        return self.lost == _TRIES - 1


@dataclass
class Actor:
    """A worker in its slot, and by Ray's references what it was told to do, in order."""

    slot: Slot
    handle: Any
    starting: Any  # reference, None once it can work
    since: float = field(default_factory=time.monotonic)
    jobs: dict[Any, Job] = field(default_factory=dict)

    def has_room(self, ahead: int) -> bool:
        """Whether it can work, has `ahead` batches at most, and none that is to be alone."""
        return (
            self.starting is None
            and len(self.jobs) <= ahead
            and not any(job.is_suspect for job in self.jobs.values())
        )


def slots() -> list[Slot]:
    """The places for workers on all nodes that live."""
    found = []
    for node in ray.nodes():
        has = node["Resources"] if node["Alive"] else {}
        cpus, gpus = int(has.get("CPU", 0)), int(has.get("GPU", 0))
        if gpus:
            found += [Slot(node["NodeID"], n, max(1, cpus // gpus), 1) for n in range(min(cpus, gpus))]
        elif cpus:
            most = max(1, min(cpus, int(has["memory"] // _MEMORY)))
            found += [Slot(node["NodeID"], n, 1, 0) for n in range(most)]
    return found


class Run:
    """A pass: `results` once.

    :param shared: where the nodes find the images, see `Order`
    """

    def __init__(self, make_worker: partial[Worker], batches: Iterable[Batch], shared: str) -> None:
        self._make_worker, self._shared = make_worker, shared
        self._new = (Job(batch) for batch in batches)
        self._is_all = False  # whether `new` has ended
        self._again: deque[Job] = deque()
        self._suspects: deque[Job] = deque()
        self._actors: dict[Slot, Actor] = {}
        self._failed: Counter[Slot] = Counter()  # starts
        self._reason: Exception = RuntimeError(
            "no node of the Ray cluster has a processor or GPU: start some with `ray start` "
            "(docs/how-to/cluster.md)"
        )
        self._next_look = 0.0
        self._is_told = False  # that workers do not start

    def results(self) -> Iterator[list[Done]]:
        """What is found, batch by batch, in any order."""
        places = len(slots())
        self._again.extend(islice(self._new, places))  # no more workers than batches
        self._is_all = len(self._again) < places
        if not self._again and places:
            return
        self._prepare()
        logger.info("Ray: %d places for workers on %d nodes", places, len({slot.node for slot in slots()}))
        try:
            while self._go_on():
                for ref in ray.wait(self._waited_for(), timeout=_LOOK)[0]:
                    yield from self._take(ref)
        finally:
            for actor in self._actors.values():
                ray.kill(actor.handle)

    def _waited_for(self) -> list[Any]:
        refs = (ref for actor in self._actors.values() for ref in (actor.starting, *actor.jobs))
        return [ref for ref in refs if ref is not None]

    def _prepare(self) -> None:
        """Send the worker's files to Ray's store once; nodes fetch them from there."""
        kind: Any = self._make_worker.func
        files = list(read_files(kind.files(*self._make_worker.args)))
        paths = (path for job in self._again for _, path in job.batch)
        probes = tuple(islice(filter(os.path.exists, paths), _PROBES))
        self._order = Order(self._make_worker, tuple(sent for sent, _ in files), self._shared, probes)
        self._contents = [ray.put(content) for _, content in files]

    def _go_on(self) -> bool:
        """Start workers and give them batches; whether anything is still to come.

        Raises the last reason when no worker is left that could do it.
        """
        if self._is_all and not self._left():
            return False
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _LOOK
            self._start_actors()
            self._tell_who_waits()
        for ahead in range(_AHEAD):
            for actor in [a for a in self._actors.values() if a.has_room(ahead)]:
                if job := self._next_job(alone=not actor.jobs):
                    actor.jobs[actor.handle.work.remote(job.batch)] = job
        return not self._is_all or self._left() > 0

    def _next_job(self, alone: bool) -> Job | None:
        if self._again:
            return self._again.popleft()
        job = next(self._new, None)
        self._is_all = job is None
        return self._suspects.popleft() if job is None and alone and self._suspects else job

    def _left(self) -> int:
        """Batches that are known and not answered."""
        given = sum(len(actor.jobs) for actor in self._actors.values())
        return len(self._again) + len(self._suspects) + given

    def _start_actors(self) -> None:
        for slot in slots():
            is_wanted = not self._is_all or len(self._actors) < self._left()
            if is_wanted and slot not in self._actors and self._failed[slot] < _TRIES:
                self._actors[slot] = self._start(slot)
        if not self._actors:
            raise self._reason

    def _tell_who_waits(self) -> None:
        late = time.monotonic() - _PATIENCE
        waiting = [a for a in self._actors.values() if a.starting is not None and a.since < late]
        if waiting and not self._is_told:
            self._is_told = True
            logger.warning(
                "Ray: %d of %d workers have not started for %.0f s. Other work may have the processors or "
                "GPUs (`ray status` shows it); they start once these are free",
                len(waiting),
                len(self._actors),
                _PATIENCE,
            )

    def _start(self, slot: Slot) -> Actor:
        handle: Any = (
            ray.remote(RemoteWorker)
            .options(
                num_cpus=slot.cpus,
                num_gpus=slot.gpus,
                max_concurrency=_AHEAD,
                scheduling_strategy=NodeAffinitySchedulingStrategy(slot.node, soft=False),
            )
            .remote(slot.cpus)
        )
        return Actor(slot, handle, handle.start.remote(self._order, *self._contents))

    def _take(self, ref: Any) -> Iterator[list[Done]]:
        """What came of a reference that is ready."""
        actor = next((a for a in self._actors.values() if ref == a.starting or ref in a.jobs), None)
        if actor is None:  # lost together with another
            return
        try:
            found = ray.get(ref)
        except RayTaskError as error:
            if ref != actor.starting and not isinstance(error.cause, NodeError):
                raise error.cause from error
            self._refuse(actor, error.cause)
        except RayError as error:
            yield from self._lose(actor, error)
        else:
            if ref == actor.starting:
                actor.starting = None
            else:
                del actor.jobs[ref]
                yield found

    def _refuse(self, actor: Actor, reason: Exception) -> None:
        """Nothing runs in this slot any more: it would go wrong again."""
        logger.error("Ray: node %s cannot work: %s", actor.slot.node[:8], reason)
        self._failed[actor.slot], self._reason = _TRIES, reason
        self._again.extend(actor.jobs.values())
        self._end(actor)

    def _lose(self, actor: Actor, error: RayError) -> Iterator[list[Done]]:
        """A worker or its node is gone, or cannot be reached: others do what it had."""
        logger.warning("Ray: a worker on node %s is lost: %s", actor.slot.node[:8], error)
        if actor.starting is not None:
            self._failed[actor.slot] += 1
            self._reason = RuntimeError(f"workers cannot start on the Ray cluster: {error}")
        self._end(actor)
        for ref, job in actor.jobs.items():
            try:
                yield ray.get(ref, timeout=0)
            except RayTaskError as raised:
                if not isinstance(raised.cause, NodeError):
                    raise raised.cause from raised
                self._again.append(job)  # the node's fault, not the batch's
            except RayError:
                yield from self._retry(job)

    def _end(self, actor: Actor) -> None:
        del self._actors[actor.slot]
        ray.kill(actor.handle)
        self._next_look = 0.0

    def _retry(self, job: Job) -> Iterator[list[Done]]:
        """Once as it was, then image by image; an image that ends a worker even alone is an error."""
        job.lost += 1
        if job.lost == _TRIES:
            yield [Done(i, None, f"{path}: {_TRIES} workers were lost over it") for i, path in job.batch]
        elif job.is_suspect:
            self._suspects.extend(Job([image], job.lost) for image in job.batch)
        else:
            self._again.appendleft(job)
