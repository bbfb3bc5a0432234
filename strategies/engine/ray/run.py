"""Scheduling of one pass over images on a Ray cluster, with recovery of lost workers and nodes.

There is one worker per GPU, or per processor on nodes without a GPU. Other workers repeat the batches of a
lost one; each image gets exactly one result.
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
from strategies.engine.worker import Done, Worker

logger = logging.getLogger(__name__)
_BATCHES_PER_WORKER = 2  # one is processed while the other is read
_MAX_LOST = 3  # workers that may be lost over a batch, or while starting in one slot
_POLL_SECONDS = 10.0  # between checks for new nodes
_PROBE_IMAGES = 8  # images by which a node proves that it can read the pool
_WORKER_MEMORY = 2**30  # bytes that a worker without GPU may need
_SLOW_START_SECONDS = 60.0  # after which a worker that has not started is logged


class Slot(NamedTuple):
    """A place for one worker: its node, its number there, and its processors and GPUs."""

    node: str
    number: int
    cpus: int
    gpus: int


@dataclass
class Job:
    """A batch, and the number of workers lost over it."""

    batch: Batch
    lost: int = 0

    @property
    def is_suspect(self) -> bool:
        """True if its image is to be tried alone, so that no other image is blamed for it."""
        return self.lost == _MAX_LOST - 1


@dataclass
class Actor:
    """A worker in its slot, and its jobs by Ray reference, in order."""

    slot: Slot
    handle: Any
    starting: Any  # reference; None once it is ready
    since: float = field(default_factory=time.monotonic)
    jobs: dict[Any, Job] = field(default_factory=dict)

    def has_room(self, ahead: int) -> bool:
        """Return True if it is ready, has at most `ahead` batches, and none that must run alone."""
        return (
            self.starting is None
            and len(self.jobs) <= ahead
            and not any(job.is_suspect for job in self.jobs.values())
        )


def slots() -> list[Slot]:
    """Return the slots for workers on all live nodes."""
    free_slots = []
    for node in ray.nodes():
        resources = node["Resources"] if node["Alive"] else {}
        cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
        if gpus:
            free_slots += [Slot(node["NodeID"], n, max(1, cpus // gpus), 1) for n in range(min(cpus, gpus))]
        elif cpus:
            count = max(1, min(cpus, int(resources["memory"] // _WORKER_MEMORY)))
            free_slots += [Slot(node["NodeID"], n, 1, 0) for n in range(count)]
    return free_slots


class Run:
    """One pass; `results` may be called once.

    :param shared: where the nodes find the images, see `Order`
    """

    def __init__(self, make_worker: partial[Worker], batches: Iterable[Batch], shared: str) -> None:
        self._make_worker, self._shared = make_worker, shared
        self._incoming = (Job(batch) for batch in batches)
        self._is_exhausted = False  # True once `_incoming` has ended
        self._queue: deque[Job] = deque()
        self._suspects: deque[Job] = deque()
        self._actors: dict[Slot, Actor] = {}
        self._failed: Counter[Slot] = Counter()  # failed starts
        self._reason: Exception = RuntimeError(
            "no node of the Ray cluster has a processor or GPU: start some with `ray start` "
            "(docs/how-to/cluster.md)"
        )
        self._next_poll = 0.0
        self._has_warned = False  # about workers that do not start

    def results(self) -> Iterator[list[Done]]:
        """Yield the results batch by batch, in any order."""
        places = len(slots())
        self._queue.extend(islice(self._incoming, places))  # no more workers than batches
        self._is_exhausted = len(self._queue) < places
        if not self._queue and places:
            return
        self._prepare()
        logger.info("Ray: %d places for workers on %d nodes", places, len({slot.node for slot in slots()}))
        try:
            while self._schedule():
                for ref in ray.wait(self._pending_refs(), timeout=_POLL_SECONDS)[0]:
                    yield from self._collect(ref)
        finally:
            for actor in self._actors.values():
                ray.kill(actor.handle)

    def _pending_refs(self) -> list[Any]:
        refs = (ref for actor in self._actors.values() for ref in (actor.starting, *actor.jobs))
        return [ref for ref in refs if ref is not None]

    def _prepare(self) -> None:
        """Put the worker's files into Ray's store once; nodes fetch them from there."""
        kind: Any = self._make_worker.func
        files = list(read_files(kind.files(*self._make_worker.args)))
        paths = (path for job in self._queue for _, path in job.batch)
        probes = tuple(islice(filter(os.path.exists, paths), _PROBE_IMAGES))
        self._order = Order(self._make_worker, tuple(sent for sent, _ in files), self._shared, probes)
        self._contents = [ray.put(content) for _, content in files]

    def _schedule(self) -> bool:
        """Start workers and give them batches; return True while results are outstanding.

        Raises the last failure when no worker is left.
        """
        if self._is_exhausted and not self._count_open():
            return False
        if time.monotonic() >= self._next_poll:
            self._next_poll = time.monotonic() + _POLL_SECONDS
            self._start_actors()
            self._warn_of_slow_starts()
        for ahead in range(_BATCHES_PER_WORKER):
            for actor in [a for a in self._actors.values() if a.has_room(ahead)]:
                if job := self._next_job(alone=not actor.jobs):
                    actor.jobs[actor.handle.work.remote(job.batch)] = job
        return not self._is_exhausted or self._count_open() > 0

    def _next_job(self, alone: bool) -> Job | None:
        if self._queue:
            return self._queue.popleft()
        job = next(self._incoming, None)
        self._is_exhausted = job is None
        return self._suspects.popleft() if job is None and alone and self._suspects else job

    def _count_open(self) -> int:
        """Return the number of batches drawn and not yet answered."""
        given = sum(len(actor.jobs) for actor in self._actors.values())
        return len(self._queue) + len(self._suspects) + given

    def _start_actors(self) -> None:
        for slot in slots():
            is_needed = not self._is_exhausted or len(self._actors) < self._count_open()
            if is_needed and slot not in self._actors and self._failed[slot] < _MAX_LOST:
                self._actors[slot] = self._start(slot)
        if not self._actors:
            raise self._reason

    def _warn_of_slow_starts(self) -> None:
        late = time.monotonic() - _SLOW_START_SECONDS
        waiting = [a for a in self._actors.values() if a.starting is not None and a.since < late]
        if waiting and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "Ray: %d of %d workers have not started for %.0f s. Other jobs may be using the processors "
                "or GPUs (see `ray status`); the workers start once these are free",
                len(waiting),
                len(self._actors),
                _SLOW_START_SECONDS,
            )

    def _start(self, slot: Slot) -> Actor:
        handle: Any = (
            ray.remote(RemoteWorker)
            .options(
                num_cpus=slot.cpus,
                num_gpus=slot.gpus,
                max_concurrency=_BATCHES_PER_WORKER,
                scheduling_strategy=NodeAffinitySchedulingStrategy(slot.node, soft=False),
            )
            .remote(slot.cpus)
        )
        return Actor(slot, handle, handle.start.remote(self._order, *self._contents))

    def _collect(self, ref: Any) -> Iterator[list[Done]]:
        """Handle a reference that is ready."""
        actor = next((a for a in self._actors.values() if ref == a.starting or ref in a.jobs), None)
        if actor is None:  # its worker was lost meanwhile
            return
        try:
            results = ray.get(ref)
        except RayTaskError as error:
            if ref != actor.starting and not isinstance(error.cause, NodeError):
                raise error.cause from error
            self._disable_slot(actor, error.cause)
        except RayError as error:
            yield from self._recover(actor, error)
        else:
            if ref == actor.starting:
                actor.starting = None
            else:
                del actor.jobs[ref]
                yield results

    def _disable_slot(self, actor: Actor, reason: Exception) -> None:
        """Stop using this slot: its worker would fail again."""
        logger.error("Ray: node %s cannot work: %s", actor.slot.node[:8], reason)
        self._failed[actor.slot], self._reason = _MAX_LOST, reason
        self._queue.extend(actor.jobs.values())
        self._kill(actor)

    def _recover(self, actor: Actor, error: RayError) -> Iterator[list[Done]]:
        """Hand the jobs of a lost or unreachable worker to others."""
        logger.warning("Ray: lost a worker on node %s: %s", actor.slot.node[:8], error)
        if actor.starting is not None:
            self._failed[actor.slot] += 1
            self._reason = RuntimeError(f"workers cannot start on the Ray cluster: {error}")
        self._kill(actor)
        for ref, job in actor.jobs.items():
            try:
                yield ray.get(ref, timeout=0)
            except RayTaskError as raised:
                if not isinstance(raised.cause, NodeError):
                    raise raised.cause from raised
                self._queue.append(job)  # the node's fault, not the batch's
            except RayError:
                yield from self._retry(job)

    def _kill(self, actor: Actor) -> None:
        del self._actors[actor.slot]
        ray.kill(actor.handle)
        self._next_poll = 0.0

    def _retry(self, job: Job) -> Iterator[list[Done]]:
        """Retry a batch whole, then image by image; an image that kills a worker even alone is an error."""
        job.lost += 1
        if job.lost == _MAX_LOST:
            yield [Done(i, None, f"{path}: {_MAX_LOST} workers were lost over it") for i, path in job.batch]
        elif job.is_suspect:
            self._suspects.extend(Job([image], job.lost) for image in job.batch)
        else:
            self._queue.appendleft(job)
