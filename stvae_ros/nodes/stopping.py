"""Clean end of a node on SIGINT and SIGTERM, in any state."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import traceback
from types import FrameType, TracebackType

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop(threading.Event):
    """A context in which SIGINT and SIGTERM only set this event. It is for the main thread.

    The handlers of rclpy invalidate its context, or raise KeyboardInterrupt, between any two instructions. Therefore
    initialize rclpy with ``SignalHandlerOptions.NO``. After the context signals are ignored, because the process ends.
    """

    def __enter__(self) -> Stop:
        self._executor: SingleThreadedExecutor | None = None
        self._lock = threading.Lock()
        self._receiver, self._sender = os.pipe()
        os.set_blocking(self._sender, False)
        for number in _SIGNALS:
            signal.signal(number, _leave_to_watcher)
        # A signal is written here at once. A Python handler would run only after rcl_wait returns.
        signal.set_wakeup_fd(self._sender, warn_on_full_buffer=False)
        self._watcher = threading.Thread(target=self._watch, name="signals", daemon=True)
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        os.close(self._sender)
        self._watcher.join()
        os.close(self._receiver)

    def _watch(self) -> None:
        while number := os.read(self._receiver, 1):
            if number[0] in _SIGNALS:
                self.set()
                with self._lock:
                    if self._executor is not None:
                        self._executor.wake()

    def spin(self, node: Node, finished: Future | None = None) -> None:
        """Execute the node's callbacks until a signal comes or ``finished`` is done.

        An exception in a callback is logged, and the node continues.
        """
        executor = SingleThreadedExecutor(context=node.context)
        executor.add_node(node)
        with self._lock:
            self._executor = executor
        try:
            while not self.is_set() and not (finished is not None and finished.done()):
                try:
                    executor.spin_once()
                except ExternalShutdownException:
                    return
                except Exception:
                    if not node.context.ok():
                        return
                    node.get_logger().error(traceback.format_exc(), throttle_duration_sec=5.0)
        finally:
            with self._lock:
                self._executor = None
            executor.shutdown()


def _leave_to_watcher(number: int, frame: FrameType | None) -> None:
    """Do nothing. Python writes a signal to the wake-up file only if the signal has a handler."""


def end_process(code: int = 0) -> None:
    """End the process at once, after the last reference to a node is gone.

    The normal end of Python takes a second to unload PyTorch, and crashes while a thread runs PyTorch code.
    """
    gc.collect()  # The middleware frees its shared memory with the last reference to the node and to its context.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
