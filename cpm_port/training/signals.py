"""What a signal asks of a training run: stop after a snapshot, or just a snapshot.

SIGINT and SIGTERM stop, SIGHUP takes a snapshot and goes on; the loop asks between iterations. A second SIGINT or
SIGTERM is not waited for: it ends the process as it would without us.

Source: the defaults of `caffe train`, `--sigint_effect=stop --sighup_effect=snapshot`. Differs: Caffe leaves SIGTERM
alone, and takes no snapshot on a stop where `snapshot_after_train` is false.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Wishes", "watch_signals"]


class Wishes:
    """What was asked since the loop last looked."""

    def __init__(self) -> None:
        self.stop = False
        self.snapshot = False


@contextmanager
def watch_signals() -> Iterator[Wishes]:
    """Record signals as wishes inside the `with` block; outside the main thread, where Python forbids it, none."""
    wishes = Wishes()
    if threading.current_thread() is not threading.main_thread():
        yield wishes
        return
    stopping = (signal.SIGINT, signal.SIGTERM)
    before = {int(number): signal.getsignal(number) for number in (*stopping, signal.SIGHUP)}

    def heard(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            wishes.snapshot = True
            return
        wishes.stop = True
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, heard)
    try:
        yield wishes
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
