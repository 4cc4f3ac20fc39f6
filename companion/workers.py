"""Processes that compute: one that dies takes nothing but its own piece of work along, and none outlives its parent."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, NamedTuple

import torch

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class WorkerDiedError(RuntimeError):
    """The process that computed was ended from outside; the message says how."""


class _Worker(NamedTuple):
    process: SpawnProcess
    connection: Connection


class Processes(Executor):
    """An executor of fresh processes with one thread each: more threads are slower on small networks.

    It differs from ``concurrent.futures.ProcessPoolExecutor`` where that one loses work. A process that is killed, as
    when memory runs out, fails its own call and is replaced. Processes do not see interrupts, so that what is in hand
    is done before the pool ends; left by an exception, the pool ends them at once. They end with their parent, however
    that ends. What a call raises arrives as ``RuntimeError`` with its kind and text.

    Parameters
    ----------
    count : int
        Processes, at least 1. Each starts when it is needed.

    Raises
    ------
    ValueError
        ``count`` is below 1.
    """

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ValueError(f"workers={count} must be at least 1")
        # Numerical libraries read these when they are loaded, which is before a worker can call anything.
        os.environ.update(dict.fromkeys(_THREADS, "1"))
        self._threads = ThreadPoolExecutor(count, initializer=_block_interrupts)
        self._own = threading.local()
        self._alive: dict[SpawnProcess, Connection] = {}
        self._lock = threading.Lock()
        self._ended = False

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call ``function``, which can be pickled, in one of the processes."""
        return self._threads.submit(self._call, function, args, kwargs)

    def kill(self) -> None:
        """End all processes now; what they had in hand fails, and nothing more is computed."""
        with self._lock:
            self._ended = True
            for process in self._alive:
                process.kill()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes when what was submitted is done."""
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)
        if wait:
            for process, connection in self._alive.items():
                connection.close()  # it sees that, and ends
                process.join()
            self._alive.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.kill()
        self.shutdown(cancel_futures=kind is not None)

    def _call(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if getattr(self._own, "worker", None) is None:
            self._own.worker = self._start()
        worker: _Worker = self._own.worker
        try:
            worker.connection.send((function, args, kwargs))
            error, result = worker.connection.recv()
        except (EOFError, ConnectionError) as broken:
            self._own.worker = None
            raise WorkerDiedError(self._bury(worker)) from broken
        if error is not None:
            raise RuntimeError(error)
        return result

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with self._lock:
            if self._ended:
                raise WorkerDiedError("the pool has ended")
            process.start()
            self._alive[process] = ours
        theirs.close()  # so that the end of the process closes the last copy
        return _Worker(process, ours)

    def _bury(self, worker: _Worker) -> str:
        worker.process.join()
        with self._lock:
            self._alive.pop(worker.process, None)
        code = worker.process.exitcode or 0
        if code >= 0:
            return f"the process that computed it ended with exit status {code}"
        return f"the process that computed it was ended by {signal.Signals(-code).name}, as when memory runs out"


def _block_interrupts() -> None:
    """In a thread that starts processes: they inherit this, and so never see an interrupt, from their first moment."""
    resource_tracker.ensure_running()  # or the first start does, which lets interrupts through again
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])


def _serve(connection: Connection) -> None:
    """What a process does: one call after the other, until the other end is closed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    with contextlib.suppress(EOFError):
        while True:
            function, args, kwargs = connection.recv()
            try:
                connection.send((None, function(*args, **kwargs)))
            except Exception as error:  # the parent raises; as text, since not every exception can be sent
                connection.send((f"{type(error).__name__}: {error}", None))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
