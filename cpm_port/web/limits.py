"""Every bound of the server, in one place, so that its memory and its patience can be read off."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What a server takes upon itself.

    Attributes
    ----------
    upload_bytes : int
        Of one picture's file.
    upload_pixels : int
        Of one picture, as its header says, before it is decoded: 50 million take 350 MB.
    arriving_bytes : int
        Of all pictures that are arriving at one time.
    pause_seconds, upload_seconds : float
        How long a request's body may pause, and how long it may take.
    request_bytes : int
        Of a request that is no picture.
    boxes : int
        In one request.
    waiting : int
        Jobs in the queue, besides the one that runs.
    job_seconds : float
        How long one job may run.
    picture_bytes, result_bytes : int
        What pictures (their files) and results (their maps) take at most; the oldest go first.
    keep_seconds : float
        How long they are kept after they were last asked for.
    models : int
        Loaded at one time; the one that was longest unused goes.
    """

    upload_bytes: int = 32 * MIB
    upload_pixels: int = 50_000_000
    arriving_bytes: int = 128 * MIB
    pause_seconds: float = 10.0
    upload_seconds: float = 120.0
    request_bytes: int = 64 << 10
    boxes: int = 20
    waiting: int = 8
    job_seconds: float = 300.0
    picture_bytes: int = 128 * MIB
    result_bytes: int = 256 * MIB
    keep_seconds: float = 1800.0
    models: int = 2
