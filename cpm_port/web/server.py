"""An address, a socket, and a server that runs until it is interrupted."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Callable
from contextlib import closing

import uvicorn

from cpm_port.errors import UsageError
from cpm_port.inference.model import Engine
from cpm_port.web.app import make_app
from cpm_port.web.guard import ANY_ADDRESS, is_loopback
from cpm_port.web.limits import Limits
from cpm_port.web.offers import Offers, offered
from cpm_port.zoo import Choice

__all__ = ["serve"]

TOKEN_LENGTH = 16
CONNECTIONS = 256


def serve(
    choice: Choice,
    engine: Engine,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    *,
    limits: Limits | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Serve the page until SIGINT or SIGTERM.

    Parameters
    ----------
    choice : Choice
        The model that is chosen at first.
    engine : Engine
        How nets run.
    host : str
        Where to listen.
    port : int
        0: any that is free.
    token : str, optional
        What every request must bring; "" makes one. Where other machines reach the server, there must be one.
    limits : Limits, optional
    say : callable of str
        Is given the address.

    Raises
    ------
    UsageError
        Other machines would reach the server, and there is no token, or a short one; or there is no such address, or it
        is taken.
    UsageError, CaffeFormatError, MissingFileError, WeightsError, UnsupportedLayerError
        The model is no pose net, or its files are not what they should be.
    """
    limits = limits or Limits()
    if token is None and not is_loopback(host):
        raise UsageError(
            f"--host {host}: other machines reach this server there, so it asks for --token, too (`--token` alone "
            "makes one and prints it)"
        )
    if token == "":
        token = secrets.token_urlsafe(TOKEN_LENGTH)
    if token is not None and len(token) < TOKEN_LENGTH:
        raise UsageError(f"--token: {len(token)} characters, expected at least {TOKEN_LENGTH}: it must not be guessed")
    offers = Offers(offered(choice), engine, limits.models)
    if choice.entry is None:
        offers.load(next(iter(offers)).name)  # so that files which do not fit are told of now
    app = make_app(offers, host, token, limits)
    with closing(_listening(host, port)) as listening:
        port = listening.getsockname()[1]
        say(f"{_address(host, port)}{'' if token is None else f'#token={token}'}")
        config = uvicorn.Config(
            app, http="h11", ws="none", log_level="warning", access_log=False, server_header=False, proxy_headers=False,
            limit_concurrency=CONNECTIONS, timeout_graceful_shutdown=2, h11_max_incomplete_event_size=16 << 10,
        )  # fmt: skip
        uvicorn.Server(config).run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    try:
        (family, _, _, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(address)
            listening.listen(128)
        except OSError:
            listening.close()
            raise
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"--host {host} --port {port}: cannot listen there: {why}; try another --port") from error
    return listening


def _address(host: str, port: int) -> str:
    name = socket.gethostname() if host in ANY_ADDRESS else host
    try:
        named = f"[{name}]" if ipaddress.ip_address(name).version == 6 else name
    except ValueError:
        named = name
    return f"http://{named}:{port}/"
