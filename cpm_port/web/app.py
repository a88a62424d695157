"""Which request gives which answer.

- `GET /`, `GET /page/NAME`: the page's own files, from a fixed table;
- `GET /api/about`: models, limits, version;
- `POST /api/pictures?name=LABEL`: a picture's file as the body; `POST /api/example`: the example picture;
  `GET` and `DELETE /api/pictures/ID`: as it was decoded, and away with it;
- `POST /api/look`: JSON, a wish (`_wish`); the answer is a line of JSON whenever something changes, at least every
  second, and the last one holds the result, or an error. Whoever closes the connection cancels the job;
- `GET /api/results/ID/maps/N`: a person's belief maps (`answers.map_bytes`);
  `GET /api/results/ID/files/KIND`: a file to take away.

What goes wrong is told as `{"error": SENTENCE, "todo": WHAT TO DO}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, TypeVar

import anyio.to_thread
from anyio import CapacityLimiter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from cpm_port.errors import CpmPortError
from cpm_port.files.names import printable
from cpm_port.release import BENCHMARK_MULTIPLIERS
from cpm_port.version import __version__
from cpm_port.web.answers import DOWNLOADS, map_bytes, page_content
from cpm_port.web.guard import Guard
from cpm_port.web.jobs import BusyError, Job, Jobs
from cpm_port.web.limits import Limits
from cpm_port.web.looking import FoundPeople, Wish, look_for
from cpm_port.web.memory import Kept
from cpm_port.web.offers import Offers
from cpm_port.web.uploads import Arriving, RefusedError, SentPicture, read_body, received

__all__ = ["make_app"]

Answer = TypeVar("Answer")

PAGE = {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "main.js": "text/javascript; charset=utf-8",
    "server.js": "text/javascript; charset=utf-8",
    "view.js": "text/javascript; charset=utf-8",
    "boxes.js": "text/javascript; charset=utf-8",
    "maps.js": "text/javascript; charset=utf-8",
}
"""The page's files, and what they are."""
EXAMPLE = "example.png"
NAME_LENGTH = 200
SAVE_AGAIN = "Take another picture, or save this one again as JPEG or PNG."
OPEN_AGAIN = "Open the picture again: the server keeps pictures and results for a while only."


@lru_cache
def page_file(name: str) -> bytes:
    """Return a file of the page."""
    return (resources.files("cpm_port.web") / "page" / name).read_bytes()


@dataclass(frozen=True, eq=False)
class _Result:
    picture: SentPicture
    found: FoundPeople


def make_app(offers: Offers, host: str, token: str | None = None, limits: Limits | None = None) -> ASGIApp:
    """Return the ASGI application.

    Parameters
    ----------
    offers : Offers
    host : str
        Where the server listens (`Guard`).
    token : str, optional
        What every request must bring.
    limits : Limits, optional
    """
    server = _Server(offers, limits or Limits())
    routes = [
        Route("/", server.page),
        Route("/page/{name}", server.page),
        Route("/api/about", server.about),
        Route("/api/pictures", server.upload, methods=["POST"]),
        Route("/api/example", server.example, methods=["POST"]),
        Route("/api/pictures/{id}", server.picture, methods=["GET"]),
        Route("/api/pictures/{id}", server.forget, methods=["DELETE"]),
        Route("/api/look", server.look, methods=["POST"]),
        Route("/api/results/{id}/maps/{person:int}", server.maps),
        Route("/api/results/{id}/files/{kind}", server.file),
    ]
    handlers: Mapping[Any, Any] = {
        RefusedError: _refused, BusyError: _busy, CpmPortError: _unfit, 404: _unknown, 405: _unknown,
    }  # fmt: skip
    app = Starlette(routes=routes, exception_handlers=handlers, lifespan=server.lifespan)
    return Guard(app, host, token, ("/", *(f"/page/{name}" for name in PAGE)))


class _Server:
    """What the endpoints share."""

    def __init__(self, offers: Offers, limits: Limits) -> None:
        self._offers, self._limits = offers, limits
        self._pictures: Kept[SentPicture] = Kept(limits.picture_bytes, limits.keep_seconds)
        self._results: Kept[_Result] = Kept(limits.result_bytes, limits.keep_seconds)
        self._arriving = Arriving(limits.arriving_bytes)
        self._jobs: Jobs

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Start the worker, load the page's first model, and drop what is old, until the server ends."""
        self._jobs = Jobs(self._limits.waiting, self._limits.job_seconds)
        self._one_at_a_time = CapacityLimiter(1)
        first = next(iter(self._offers)).name
        self._jobs.submit(lambda job: self._offers.load(first))
        dropping = asyncio.create_task(self._drop_old())
        yield
        dropping.cancel()
        self._jobs.end()

    async def _drop_old(self) -> None:
        while True:
            await asyncio.sleep(min(30.0, self._limits.keep_seconds))
            self._results.drop_old()
            self._pictures.drop_old()

    async def _decode(self, work: Callable[[], Answer]) -> Answer:
        """Do what takes a picture's pixels on a thread, one request at a time: pixels are large."""
        return await anyio.to_thread.run_sync(work, limiter=self._one_at_a_time)

    async def page(self, request: Request) -> Response:
        """A file of the page."""
        name = request.path_params.get("name", "index.html")
        if name not in PAGE:
            raise RefusedError(404, "There is no such file.")
        return Response(page_file(name), media_type=PAGE[name])

    async def about(self, request: Request) -> Response:
        """What the page must know before anything else."""
        return JSONResponse(
            {
                "version": __version__,
                "models": [offer.to_json() for offer in self._offers],
                "limits": {
                    "bytes": self._limits.upload_bytes,
                    "pixels": self._limits.upload_pixels,
                    "boxes": self._limits.boxes,
                },
                "multipliers": BENCHMARK_MULTIPLIERS,
            }
        )

    async def upload(self, request: Request) -> Response:
        """Take a picture in."""
        data = await read_body(request, self._limits.upload_bytes, self._limits, self._arriving)
        name = request.query_params.get("name", "").strip()[:NAME_LENGTH] or "picture"
        return await self._keep(data, printable(name.replace("\0", "")))

    async def example(self, request: Request) -> Response:
        """Take the example picture in."""
        return await self._keep(page_file(EXAMPLE), EXAMPLE)

    async def _keep(self, data: bytes, name: str) -> Response:
        try:
            picture = await self._decode(lambda: received(data, name, self._limits))
        except CpmPortError as error:
            raise RefusedError(400, _sentence(str(error)), SAVE_AGAIN) from None
        key = self._pictures.put(picture, len(data))
        return JSONResponse({"id": key, "name": name, "width": picture.width, "height": picture.height}, 201)

    async def picture(self, request: Request) -> Response:
        """A picture as it was decoded."""
        picture = self._kept_picture(request.path_params["id"])
        return Response(await self._decode(picture.shown), media_type="image/jpeg")

    async def forget(self, request: Request) -> Response:
        """Forget a picture, and what was found in it."""
        picture = self._pictures.drop(request.path_params["id"])
        self._results.drop_where(lambda result: result.picture is picture)
        return Response(status_code=204)

    async def look(self, request: Request) -> Response:
        """Look for the people of a picture."""
        body = await read_body(request, self._limits.request_bytes, self._limits, self._arriving)
        picture, model, wish = self._wish(body)
        job = self._jobs.submit(lambda job: self._looked(job, picture, model, wish))
        return _Watched(self._jobs, job)

    def _looked(self, job: Job, picture: SentPicture, model_name: str, wish: Wish) -> dict[str, Any]:
        """Do the work of a look, on the worker's thread."""
        job.say(f"Loading the model {model_name}" if not self._offers.is_loaded(model_name) else "Reading the picture")
        model = self._offers.load(model_name)
        job.check()
        image = picture.decoded()
        boxes, text = 0, ""

        def before(count: int) -> None:
            nonlocal boxes
            job.check()
            boxes += count
            job.say(text, boxes / (boxes + BOXES_TO_COME))

        def say(words: str) -> None:
            nonlocal text
            text = words
            job.say(text, job.share)

        found = look_for(model, model_name, picture.name, image, wish, before=before, say=say)
        job.check()
        key = self._results.put(_Result(picture, found), found.bytes + len(picture.data))
        return {"id": key, **page_content(found)}

    def _wish(self, body: bytes) -> tuple[SentPicture, str, Wish]:
        """Read what a look asks for: `picture`, `model`, and `boxes`, or `like` (a result), or neither."""
        wrong = RefusedError(400, "The request is not what this server expects.", "Load the page again.")
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError):
            raise wrong from None
        if not isinstance(asked, dict) or not asked.keys() <= {"picture", "model", "boxes", "like"}:
            raise wrong
        model, boxes, like = asked.get("model"), asked.get("boxes"), asked.get("like")
        if not isinstance(model, str) or not (like is None or isinstance(like, str)):
            raise wrong
        if model not in self._offers:
            raise RefusedError(404, f"There is no model {model!r} here.", "Load the page again, and choose another.")
        if boxes is not None:
            if not isinstance(boxes, list) or not 1 <= len(boxes) <= self._limits.boxes or not all(map(_is_box, boxes)):
                raise wrong
            boxes = [(float(x), float(y), float(w), float(h)) for x, y, w, h in boxes]
        other = None if like is None else self._kept_result(like).found
        return self._kept_picture(asked.get("picture")), model, Wish(boxes, other)

    async def maps(self, request: Request) -> Response:
        """A person's belief maps."""
        found = self._kept_result(request.path_params["id"]).found
        number = request.path_params["person"]
        if number >= len(found.people):
            raise RefusedError(404, "There is no such person.")
        data = await anyio.to_thread.run_sync(map_bytes, found, number)
        return Response(data, media_type="application/octet-stream")

    async def file(self, request: Request) -> Response:
        """A file to take away."""
        kept, kind = self._kept_result(request.path_params["id"]), request.path_params["kind"]
        if kind not in DOWNLOADS:
            raise RefusedError(404, "There is no such file.")
        try:
            least = float(request.query_params.get("min_score", "0"))
        except ValueError:
            least = math.nan
        if not 0 <= least <= 1:
            raise RefusedError(400, "The least score is no number from 0 to 1.", "Load the page again.")
        make, media_type = DOWNLOADS[kind]
        data = await self._decode(lambda: make(kept.found, kept.picture, least))
        return Response(data, media_type=media_type)

    def _kept_picture(self, key: Any) -> SentPicture:
        found = self._pictures.get(key) if isinstance(key, str) else None
        if found is None:
            raise RefusedError(404, "This picture is no longer here.", OPEN_AGAIN)
        return found

    def _kept_result(self, key: str) -> _Result:
        found = self._results.get(key)
        if found is None:
            raise RefusedError(404, "This result is no longer here.", OPEN_AGAIN)
        return found


BOXES_TO_COME = 60
"""How many boxes a look goes on for, as a rule of thumb: the bar grows ever more slowly, and never to its end."""


class _Watched(Response):
    """A job's progress as lines of JSON; the job ends where its client goes."""

    def __init__(self, jobs: Jobs, job: Job) -> None:
        super().__init__(media_type="application/x-ndjson")
        self._jobs, self._job = jobs, job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del self.headers["content-length"]
        changed = asyncio.Event()
        self._job.watched_by(changed)
        gone = asyncio.ensure_future(_gone(receive))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while not gone.done():
                changed.clear()
                line = self._line()
                await send({"type": "http.response.body", "body": json.dumps(line).encode() + b"\n", "more_body": True})
                if line["state"] not in ("waiting", "working"):
                    break
                waiting = asyncio.ensure_future(changed.wait())
                await asyncio.wait((waiting, gone), timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._job.cancel()
            gone.cancel()

    def _line(self) -> dict[str, Any]:
        job = self._job
        state = job.state
        if state == "waiting":
            return {"state": state, "before": self._jobs.before(job)}
        if state == "working" and job.late:
            return {"state": "stopped", "error": job.too_long()}
        if state == "working":
            return {"state": state, "text": job.text, "share": job.share}
        if state == "done":
            return {"state": state, "result": job.result}
        return {"state": state, "error": _sentence(job.error or "")}


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _is_box(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in value)
        and value[2] > 0
        and value[3] > 0
    )


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _told(status: int, error: str, todo: str = "") -> JSONResponse:
    return JSONResponse({"error": error, "todo": todo}, status)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return _told(error.status, error.error, error.todo)


async def _busy(request: Request, error: Exception) -> Response:
    return _told(503, str(error))


async def _unfit(request: Request, error: Exception) -> Response:
    return _told(400, _sentence(str(error)))


async def _unknown(request: Request, error: Exception) -> Response:
    return _told(404, "There is nothing at this address.", "Go to the server's first page.")
