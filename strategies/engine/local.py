"""Where a pass over images runs: in this process, reading the next images while the network sees these.

An engine is one function, `run_batches`. It gets what makes a worker, and batches of images, and gives what
the worker found; it writes nothing. What drives it (`passes.py`) is the only writer, and asks for the next
batch after it has kept the last, so that a kill repeats one batch at most. Batches are taken in the caller's
thread, because taking one may write too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from strategies.engine.workers import Done, Worker, try_read

Batch = Sequence[tuple[str, str]]  # id and path of each image
Engine = Callable[[Callable[[], Worker], Iterable[Batch]], Iterator[list[Done]]]
_READERS = 2  # threads; reading lets go of Python's lock most of the time


def run_batches(make_worker: Callable[[], Worker], batches: Iterable[Batch]) -> Iterator[list[Done]]:
    """What a worker finds, batch by batch; while it looks at one, threads read the next.

    At most two batches are held, whatever their number. Raises what making the worker or its `look` raises.
    """
    worker = make_worker()
    readers = ThreadPoolExecutor(_READERS, "reading")
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
