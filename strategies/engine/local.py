"""Engine that runs a pass over images in this process, with prefetching.

An engine is a callable such as `run_batches`: it takes a worker factory and batches of images, yields the
worker's results and writes nothing. Its caller (`image_pass.py`) is the only writer, and stores each result
before asking for the next, so a kill repeats at most one batch. Batches are drawn in the caller's thread,
because drawing one may write too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from strategies.engine.worker import Done, Worker, try_read

Batch = Sequence[tuple[str, str]]  # id and path of each image
Engine = Callable[[Callable[[], Worker], Iterable[Batch]], Iterator[list[Done]]]
_READER_THREADS = 2  # reading releases the GIL most of the time


def run_batches(make_worker: Callable[[], Worker], batches: Iterable[Batch]) -> Iterator[list[Done]]:
    """Yield a worker's results batch by batch; threads read the next batch meanwhile.

    At most two batches are in memory. Raises what creating the worker or its `look` raises.
    """
    worker = make_worker()
    readers = ThreadPoolExecutor(_READER_THREADS, "reading")
    waiting: deque[tuple[Batch, list[Any]]] = deque()
    try:
        for batch in batches:
            waiting.append((batch, [readers.submit(try_read, worker, path) for _, path in batch]))
            if len(waiting) == 2:
                yield _finish(worker, *waiting.popleft())
        while waiting:
            yield _finish(worker, *waiting.popleft())
    finally:
        readers.shutdown(cancel_futures=True)


def _finish(worker: Worker, batch: Batch, reading: Sequence[Any]) -> list[Done]:
    return worker.answer([image for image, _ in batch], [future.result() for future in reading])
