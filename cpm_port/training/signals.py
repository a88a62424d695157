"""What a signal asks of a training run: stop after a snapshot, or just a snapshot.

SIGINT and SIGTERM stop, SIGHUP takes a snapshot and goes on; the loop asks between iterations. SIGINT and SIGHUP may
be given another effect: "stop", "snapshot" or "none". A second signal that stops is not waited for: it ends the process
as it would without us.

Source: BVLC/caffe@9b89154 tools/caffe.cpp (`--sigint_effect`, `--sighup_effect`, their defaults), signal_handler.cpp.
Differs: Caffe leaves SIGTERM alone, and takes no snapshot on a stop where `snapshot_after_train` is false.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cpm_port.errors import UsageError

__all__ = ["EFFECTS", "Wishes", "watch_signals"]

EFFECTS = ("stop", "snapshot", "none")


class Wishes:
    """What was asked since the loop last looked."""

    def __init__(self) -> None:
        self.stop = False
        self.snapshot = False


@contextmanager
def watch_signals(sigint: str = "stop", sighup: str = "snapshot") -> Iterator[Wishes]:
    """Record signals as wishes inside the `with` block; outside the main thread, where Python forbids it, none.

    Parameters
    ----------
    sigint, sighup : {"stop", "snapshot", "none"}
        What these signals ask for.

    Raises
    ------
    UsageError
        Another effect.
    """
    effects = {signal.SIGINT: sigint, signal.SIGTERM: "stop", signal.SIGHUP: sighup}
    strange = [effect for effect in effects.values() if effect not in EFFECTS]
    if strange:
        raise UsageError(f"a signal's effect {strange[0]!r}: expected {', '.join(EFFECTS)}")
    wishes = Wishes()
    if threading.current_thread() is not threading.main_thread():
        yield wishes
        return
    before = {int(number): signal.getsignal(number) for number in effects}

    def heard(number: int, _frame: FrameType | None) -> None:
        effect = effects[signal.Signals(number)]
        wishes.snapshot |= effect == "snapshot"
        if effect == "stop":
            wishes.stop = True
            signal.signal(number, before[number])

    for number in before:
        signal.signal(number, heard)
    try:
        yield wishes
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
