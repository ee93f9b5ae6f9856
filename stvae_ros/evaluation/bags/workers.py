"""Evaluation of several streams at a time: in processes of this machine, or as tasks of a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from stvae_ros.evaluation.bags.run import BagOptions, Stream, evaluate_stream

_POLL_SECONDS = 0.3
Finished = tuple[Stream, str | None]
"""A stream and the reason why it failed, None if it did not."""


def attempt(stream: Stream, options: BagOptions, folder: Path) -> str | None:
    """Evaluate a stream.

    Returns:
        The reason of a failure, so that the other streams go on; None without one.
    """
    try:
        evaluate_stream(stream, options, folder)
    except Exception as error:  # No error of one stream may stop the others.
        return str(error) if isinstance(error, (ValueError, OSError)) else f"{type(error).__name__}: {error}"
    return None


def run_processes(streams: Sequence[Stream], options: BagOptions, work: Path, workers: int) -> Iterator[Finished]:
    """Evaluate in processes of this machine.

    The results do not depend on the number of processes. If a process dies, for example for lack of memory, only its
    current stream fails.

    Args:
        streams: the streams.
        options: the options.
        work: folder for the folders of results.
        workers: number of processes.

    Yields:
        Each stream as soon as it has ended.
    """
    waiting: queue.SimpleQueue[Stream] = queue.SimpleQueue()
    finished: queue.SimpleQueue[Finished] = queue.SimpleQueue()
    for stream in streams:
        waiting.put(stream)
    stopping = threading.Event()

    def work_off() -> None:
        pool = None
        try:
            while not stopping.is_set():
                try:
                    stream = waiting.get_nowait()
                except queue.Empty:
                    return
                pool = pool or ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _end_with_parent)
                try:
                    problem = pool.submit(attempt, stream, options, work / stream.name).result()
                except BrokenProcessPool:
                    problem, pool = "its process died; was there enough memory?", None
                finished.put((stream, problem))
        finally:
            if pool is not None:
                pool.shutdown()

    threads = [threading.Thread(target=work_off, daemon=True) for _ in range(min(workers, len(streams)))]
    for thread in threads:
        thread.start()
    try:
        for _ in streams:
            yield finished.get()
    except BaseException:
        stopping.set()
        for process in multiprocessing.active_children():
            process.kill()
        raise


def _end_with_parent() -> None:
    """End this process when its parent ends, even if that was killed. Ctrl-C is handled by the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def run_ray(streams: Sequence[Stream], options: BagOptions, work: Path, address: str) -> Iterator[Finished]:
    """Evaluate as tasks of a Ray cluster.

    Bags and ``work`` must have the same paths on all machines.

    Args:
        streams: the streams.
        options: the options.
        work: folder for the folders of results.
        address: of the cluster, or "local" for this machine.

    Yields:
        Each stream as soon as it has ended.

    Raises:
        ValueError: Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ValueError("--ray needs Ray: pip install ray, or '.[ray]' here") from error
    ray.init(address=address, include_dashboard=False, log_to_driver=False)
    try:
        task = ray.remote(num_cpus=options.threads, max_retries=1)(attempt)
        pending: dict[Any, Stream] = {task.remote(stream, options, work / stream.name): stream for stream in streams}
        while pending:
            done, _ = ray.wait(list(pending), num_returns=1)
            for reference in done:
                stream = pending.pop(reference)
                try:
                    yield stream, ray.get(reference)
                except ray.exceptions.RayError as error:
                    yield stream, f"its task failed: {error}"
    finally:
        ray.shutdown()


def watch(
    finished: Iterator[Finished], streams: Sequence[Stream], work: Path, tell: Callable[[Stream, float], Any]
) -> Mapping[str, str]:
    """Wait for all streams and report their progress.

    Args:
        finished: as from `run_processes`.
        streams: the streams.
        work: folder of their folders of results.
        tell: takes a stream and the share in [0, 1] of it that is done.

    Returns:
        The reasons of failures by name of the stream.
    """
    failed: dict[str, str] = {}
    done: set[Stream] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_POLL_SECONDS):
            for stream in streams:
                try:
                    tell(stream, 1.0 if stream in done else float((work / stream.name / "progress").read_text()))
                except (OSError, ValueError):
                    continue  # The stream has not started, or the file is just being written.

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        for stream, problem in finished:
            if problem is not None:
                failed[stream.name] = problem
            done.add(stream)
            tell(stream, 1.0)
    finally:
        ended.set()
        watcher.join()
    return failed
