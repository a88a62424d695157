"""One queue, one thread: jobs run one after another, so that two people's pictures do not fight for the cores.

A job is a function of its `Job`, which it asks now and then whether to go on (`check`) and tells how far it is (`say`).
`Jobs.submit` refuses it where too many wait. A job ends early where its client has gone, or where its time is up: at
its next `check`, for a thread cannot be stopped within one pass of a net. Its client is told at once.

Conventions: `Job.state` is "waiting", "working", "done", "failed" or "stopped"; what is read of a job on another thread
may be a moment old.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from cpm_port.errors import CpmPortError

__all__ = ["BusyError", "Job", "Jobs", "StoppedError"]

_log = logging.getLogger(__name__)

OUR_FAULT = "Something went wrong here, and it is not the picture's fault. The terminal of `cpm-port serve` says what."


class BusyError(Exception):
    """More wait than may wait."""


class StoppedError(Exception):
    """A job was cancelled, or its time is up."""


class Job:
    """One job of the queue.

    Attributes
    ----------
    state : str
    text : str
        What it does, in words.
    share : float or None
        How much of it is done, 0 to 1.
    result : object
        What it returned, where it is done.
    error : str or None
        Why it failed, as a sentence, or was stopped.
    """

    def __init__(self, work: Callable[[Job], Any], seconds: float) -> None:
        self.state = "waiting"
        self.text = ""
        self.share: float | None = None
        self.result: Any = None
        self.error: str | None = None
        self._work, self._seconds = work, seconds
        self._cancelled = threading.Event()
        self._deadline: float | None = None
        self._wake: Callable[[], None] = lambda: None

    def watched_by(self, changed: asyncio.Event) -> None:
        """Set an event of the running loop whenever the job changes."""
        loop = asyncio.get_running_loop()

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(changed.set)

        self._wake = wake

    @property
    def over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in ("done", "failed", "stopped")

    def say(self, text: str, share: float | None = None) -> None:
        """Tell how far the work is."""
        self.text, self.share = text, share
        self._wake()

    def check(self) -> None:
        """Raise StoppedError where the work is no longer wanted or took too long."""
        if self._cancelled.is_set() or self.late:
            raise StoppedError

    def cancel(self) -> None:
        """Have it end at its next `check`, or before it begins."""
        self._cancelled.set()

    @property
    def late(self) -> bool:
        """Whether its time is up."""
        return self._deadline is not None and time.monotonic() > self._deadline

    def run(self) -> None:
        """Do the work, on the calling thread; whatever goes wrong is the job's."""
        if self._cancelled.is_set():
            self._end("stopped", "It was cancelled.")
            return
        self._deadline = time.monotonic() + self._seconds
        self.state = "working"
        self._wake()
        try:
            self.result = self._work(self)
        except StoppedError:
            self._end("stopped", self.too_long() if self.late else "It was cancelled.")
        except CpmPortError as error:
            self._end("failed", str(error))
        except MemoryError:
            self._end("failed", "There is not enough memory for this picture with this model.")
        except Exception:
            _log.exception("a job failed")
            self._end("failed", OUR_FAULT)
        else:
            self._end("done", None)

    def too_long(self) -> str:
        """Return the sentence about a job that takes too long."""
        return f"It took longer than {self._seconds:g} seconds and was stopped. A smaller model, or a box, is faster."

    def _end(self, state: str, error: str | None) -> None:
        self.error = error
        self.state = state
        self._wake()


class Jobs:
    """The queue and its thread.

    Parameters
    ----------
    waiting : int
        How many may wait.
    seconds : float
        How long one may run.
    """

    def __init__(self, waiting: int, seconds: float) -> None:
        self._most, self._seconds = waiting, seconds
        self._queue: deque[Job] = deque()
        self._there = threading.Condition()
        self._ended = False
        self._running: Job | None = None
        self._thread = threading.Thread(target=self._work, name="cpm-port serve: worker", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Job], Any]) -> Job:
        """Queue a job; BusyError where too many wait."""
        job = Job(work, self._seconds)
        with self._there:
            self._forget_cancelled()
            if len(self._queue) >= self._most:
                raise BusyError(f"{self._most} pictures are waiting already. Try again in a moment.")
            self._queue.append(job)
            self._there.notify()
        return job

    def before(self, job: Job) -> int:
        """Return how many are done before this one, which waits."""
        with self._there:
            self._forget_cancelled()
            place = self._queue.index(job) if job in self._queue else 0
            return place + (self._running is not None)

    def end(self) -> None:
        """Cancel everything; the thread ends with what it does just now."""
        with self._there:
            self._ended = True
            for job in (*self._queue, *([self._running] if self._running else [])):
                job.cancel()
            self._there.notify()

    def _forget_cancelled(self) -> None:
        for job in [job for job in self._queue if job._cancelled.is_set()]:
            self._queue.remove(job)
            job.run()  # which only says that it was cancelled

    def _work(self) -> None:
        while True:
            with self._there:
                while not self._queue and not self._ended:
                    self._there.wait()
                if self._ended:
                    return
                self._running = self._queue.popleft()
            self._running.run()
            self._running = None
