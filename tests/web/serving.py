"""A server for the tests: two tiny nets of known files and the default model, on a thread, at a free port."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from cpm_port.caffe import read_net, write_weights
from cpm_port.demo import seeded_module
from cpm_port.inference.model import Engine
from cpm_port.models import architecture, to_caffe, write_files
from cpm_port.web.app import make_app
from cpm_port.web.limits import Limits
from cpm_port.web.offers import Offers, offered
from cpm_port.zoo import Choice


def tiny_model(folder: Path, stages: int = 2, box_size: int = 64) -> Choice:
    """Return a seeded CPM of 14 parts; it does not look for people itself."""
    net = architecture("mpi", stages=stages, width=4, box=(box_size, box_size))
    deploy = write_files(net, folder)[0]
    weights = folder / "tiny.caffemodel"
    write_weights(weights, to_caffe(seeded_module(net).state_dict(), net), read_net(deploy))
    return Choice(deploy, weights, None)


class Client:
    """Requests to one server, without a browser."""

    def __init__(self, port: int, server: uvicorn.Server) -> None:
        self.port, self.server = port, server
        self.url = f"http://127.0.0.1:{port}"

    def ask(
        self, path: str, data: bytes | None = None, method: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body; header names with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, data, named, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()

    def json(self, path: str, data: bytes | None = None, **headers: str) -> Any:
        """Return an answer's content, which must be no error."""
        status, _, body = self.ask(path, data, **headers)
        assert status < 300, body
        return json.loads(body)

    def upload(self, data: bytes, name: str = "picture.png") -> dict[str, Any]:
        return self.json(f"/api/pictures?name={name}", data)

    def look(self, **wish: Any) -> list[dict[str, Any]]:
        """Return all lines of a look."""
        status, _, body = self.ask("/api/look", json.dumps(wish).encode())
        assert status == 200, body
        return [json.loads(line) for line in body.splitlines()]


@contextmanager
def serving(
    choice: Choice, limits: Limits | None = None, token: str | None = None, engine: Engine | None = None
) -> Iterator[Client]:
    """Run a server on a thread."""
    limits = limits or Limits()
    app = make_app(Offers(offered(choice), engine or Engine(), limits.models), "127.0.0.1", token, limits)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(app, http="h11", ws="none", log_level="error", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.02)
            yield Client(listening.getsockname()[1], server)
        finally:
            server.should_exit = True
            thread.join()
