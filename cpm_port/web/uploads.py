"""Pictures in: a request's body, bounded while it arrives, and a picture that was decoded once before it is believed.

Kept is the file, not its pixels: a photograph of 5 MB takes 36 MB decoded. Decoding is `cpm_port.imaging.reading`'s,
as strict as for `cpm-port predict`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from starlette.requests import ClientDisconnect, Request

from cpm_port.imaging.opencv import cv2
from cpm_port.imaging.reading import decode_image
from cpm_port.web.jobs import BusyError
from cpm_port.web.limits import Limits

__all__ = ["Arriving", "RefusedError", "SentPicture", "read_body", "received"]

SHOWN_SIDE = 2048
JPEG_QUALITY = 93


class RefusedError(Exception):
    """A request that is not served, with its HTTP status and what to do."""

    def __init__(self, status: int, error: str, todo: str = "") -> None:
        super().__init__(error)
        self.status, self.error, self.todo = status, error, todo


@dataclass(frozen=True)
class SentPicture:
    """A picture that was sent.

    Attributes
    ----------
    name : str
        What the client calls it; a label, never a path.
    data : bytes
        The file.
    width, height : int
    most_pixels : int
        The bound under which it was accepted.
    """

    name: str
    data: bytes
    width: int
    height: int
    most_pixels: int

    def decoded(self) -> NDArray[np.uint8]:
        """Return the pixels, (H, W, 3) uint8, BGR."""
        return decode_image(self.data, self.name, self.most_pixels)

    def shown(self) -> bytes:
        """Return a JPEG of what was decoded, upright, over white, its longer side at most `SHOWN_SIDE` px."""
        image = self.decoded()
        zoom = SHOWN_SIDE / max(image.shape[:2])
        if zoom < 1:
            size = max(1, round(image.shape[1] * zoom)), max(1, round(image.shape[0] * zoom))
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        return bytes(data)


class Arriving:
    """How many bytes of pictures are arriving at this moment, over all clients.

    Parameters
    ----------
    most : int
        A byte more makes the server busy.
    """

    def __init__(self, most: int) -> None:
        self._most, self.bytes = most, 0

    def take(self, count: int) -> None:
        """Count bytes that came; BusyError where they are too many."""
        if self.bytes + count > self._most:
            raise BusyError("Too many pictures are arriving at once. Try again in a moment.")
        self.bytes += count

    def give_back(self, count: int) -> None:
        """Count bytes that are no longer arriving."""
        self.bytes -= count


async def read_body(request: Request, most: int, limits: Limits, arriving: Arriving) -> bytes:
    """Read a request's body of at most `most` bytes.

    Raises
    ------
    RefusedError
        It is longer, or comes too slowly, or ends early.
    BusyError
        Too many bytes are arriving.
    """
    too_large = RefusedError(
        413, f"This is larger than {most / (1 << 20):.3g} MiB.", "Make the picture smaller, and send it again."
    )
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > most:
        raise too_large
    chunks: list[bytes] = []
    count = 0
    try:
        async with asyncio.timeout(limits.upload_seconds), aclosing(_stream(request)) as stream:
            while True:
                async with asyncio.timeout(limits.pause_seconds):
                    chunk = await anext(stream, None)
                if chunk is None:
                    return b"".join(chunks)
                if count + len(chunk) > most:
                    raise too_large
                arriving.take(len(chunk))
                count += len(chunk)
                chunks.append(chunk)
    except TimeoutError:
        raise RefusedError(408, "The picture came too slowly.", "Try again, or send a smaller one.") from None
    except ClientDisconnect:
        raise RefusedError(400, "The picture did not come to its end.", "Send it again.") from None
    finally:
        arriving.give_back(count)


async def _stream(request: Request) -> AsyncGenerator[bytes, None]:
    async for chunk in request.stream():
        yield chunk


def received(data: bytes, name: str, limits: Limits) -> SentPicture:
    """Decode a picture once, so that what is kept is known to be one; DataError where it is none, or too large."""
    height, width = decode_image(data, name, limits.upload_pixels).shape[:2]
    return SentPicture(name, data, width, height, limits.upload_pixels)
