"""Fetch a model's file over HTTP: address after address, in pieces where needed, and never half a file under its name.

What has come so far lies in `NAME/FILE.part` in the folder of installed models, beside a note of where it is from. A
broken connection is continued where it broke, at once or by a later call, if the address is the same and the server
supports ranges and marks the file's version by a tag or a date. Where the file has changed meanwhile, which `If-Range`
and the server's answer show, it is fetched from its beginning. A complete file is checked and installed like one that
the user brings (`store.add`); what fails there is removed.

The weights' size is known from the net, so an error page, or anything else too small or much too large, is refused
before or while it comes.
"""

from __future__ import annotations

import fcntl
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from cpm_port.errors import MissingFileError, ModelFileError, UsageError, WriteError
from cpm_port.files.atomic import atomic_path
from cpm_port.files.json_text import read_json
from cpm_port.version import __version__
from cpm_port.zoo.entries import GONE, ModelEntry
from cpm_port.zoo.recognition import weight_bytes
from cpm_port.zoo.store import Installed, add, checked_sha256, find_installed, model_folder

__all__ = ["download"]

_CHUNK = 1 << 18
_TIMEOUT = 30.0  # seconds without a byte
_STALLS = 3  # tries in a row that bring nothing, after which an address is given up
_ROOM = 16 << 20  # what a file may hold besides its weights and their gradients, bytes
_URL_CHARACTERS = "%/:?#[]@!$&'()*+,;=~"  # what quoting leaves as it is
_MOST_DIGITS = 18  # of a length in bytes
_WEB_PAGE = re.compile(rb"\s*<(!doctype|html|head|body|\?xml)", re.IGNORECASE)


class _RefusalError(Exception):
    """An address does not give the file; the reason."""


class _UnwritableError(Exception):
    """What comes cannot be kept; the reason. No address can mend that."""


@dataclass
class _Part:
    """What has come so far: an open file, and the note of where it is from."""

    file: IO[bytes]
    note: Path

    @property
    def size(self) -> int:
        return self.file.seek(0, 2)

    def origin(self) -> dict[str, Any]:
        """Return the note: `url`, and `validator`, which tells one state of the file there from another."""
        try:
            content: Any = read_json(self.note)
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def append(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        try:
            while rest:  # the file is not buffered: a disk that is nearly full takes a part
                rest = rest[self.file.write(rest) :]
        except OSError as error:
            raise _UnwritableError(error.strerror or str(error)) from error

    def restart(self, url: str, validator: str | None) -> None:
        """Empty the part; from now on it is the file at `url`."""
        self.file.truncate(0)
        with atomic_path(self.note) as temporary:
            temporary.write_text(json.dumps({"url": url, "validator": validator}), encoding="utf-8")

    def remove(self) -> None:
        Path(self.file.name).unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def download(
    entry: ModelEntry, urls: Sequence[str] = (), *, sha256: str | None = None, pause: float = 1.0
) -> tuple[Installed, bool]:
    """Fetch a model and install it.

    Parameters
    ----------
    entry : ModelEntry
    urls : sequence of str
        Addresses to try before those that the entry knows.
    sha256 : str, optional
        What the file's SHA-256 must be.
    pause : float
        Seconds before a broken connection is taken up.

    Returns
    -------
    installed : Installed
    new : bool
        False where the model was installed already; then nothing is fetched.

    Raises
    ------
    UsageError
        The model ships with the package; an address is not of HTTP, or `sha256` no SHA-256; or the model is being
        fetched already.
    MissingFileError
        No address gave the file; the message says why each did not, and what to do.
    WriteError
        What comes cannot be written to the folder of installed models.

    Examples
    --------
    >>> from cpm_port.zoo import download, model_named
    >>> download(model_named("default"))
    Traceback (most recent call last):
    ...
    cpm_port.errors.UsageError: default ships with the package; there is nothing to fetch
    """
    if entry.embedded:
        raise UsageError(f"{entry.name} ships with the package; there is nothing to fetch")
    for url in urls:
        _check_address(url)
    sha256 = checked_sha256(sha256)
    installed = find_installed(entry)
    if installed is not None:
        return installed, False
    with _opened_part(entry) as part:
        try:
            result, reasons = _try_all((*urls, *entry.urls), part, entry, sha256, pause)
        except _UnwritableError as error:
            raise WriteError(
                f"{part.file.name}: cannot be written beyond {part.size} bytes: {error}; {entry.name} takes about "
                f"{weight_bytes(entry)} bytes twice over while it is installed. What came is kept: call again to go on"
            ) from error
        if result is not None or not part.size:
            part.remove()
    if result is not None:
        return result
    with suppress(OSError):
        model_folder(entry).rmdir()  # where nothing is kept
    tried = "".join(f"\n  {reason}" for reason in reasons) or " no address is known to have it"
    raise MissingFileError(
        f"{entry.name} could not be fetched:{tried}\n"
        f"What to do: {GONE}, so ask whoever has {entry.file_name} (about {weight_bytes(entry) / 1e6:.0f} MB) for it "
        f"and run `cpm-port models add {entry.file_name}`, or name an address that has it with --url."
    )


def _try_all(
    urls: Sequence[str], part: _Part, entry: ModelEntry, sha256: str | None, pause: float
) -> tuple[tuple[Installed, bool] | None, list[str]]:
    """Return what `add` said of the first address that gave the model, and why those before did not."""
    reasons: list[str] = []
    for url in urls:
        try:
            _fetch(url, part, entry, pause)
            return add(part.file.name, entry.name, sha256=sha256, origin=url), reasons
        except _RefusalError as refusal:
            reasons.append(f"{url}: {refusal}")
        except (ModelFileError, UsageError) as error:
            part.restart(url, None)
            reasons.append(f"{url}: what came is thrown away: {error}")
    return None, reasons


@contextmanager
def _opened_part(entry: ModelEntry) -> Iterator[_Part]:
    """Open the part for this process alone."""
    path = model_folder(entry) / f"{entry.file_name}.part"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(f"{path} is in use: is {entry.name} being fetched already?") from error
        yield _Part(file, path.with_name(f"{path.name}.json"))


def _fetch(url: str, part: _Part, entry: ModelEntry, pause: float) -> None:
    """Bring the whole file into the part, over as many connections as that takes."""
    stalls, furthest = 0, part.size
    while True:
        try:
            if _receive(url, part, entry):
                return
            reason = "the connection broke"
        except HTTPError as error:
            reason = f"it answers {error.code} {_on_one_line(error.reason)}"
            if error.code < 500:
                raise _RefusalError(reason) from error
        except (OSError, HTTPException) as error:
            reason = _on_one_line(getattr(error, "reason", error)) or type(error).__name__
        except ValueError as error:  # of an address that it sends us to
            raise _RefusalError(f"it sends to what is no address: {_on_one_line(error)}") from error
        stalls = 0 if part.size > furthest else stalls + 1
        furthest = max(furthest, part.size)
        if stalls == _STALLS:
            if not part.origin().get("validator"):
                part.restart(url, None)  # nothing would tell whether the rest belongs to it
            kept = f"; {part.size} bytes are kept, call again to go on" if part.size else ""
            raise _RefusalError(f"{reason}{kept}")
        time.sleep(pause)


def _receive(url: str, part: _Part, entry: ModelEntry) -> bool:
    """Take what one connection brings; return whether the file is complete."""
    origin = part.origin()
    same = origin.get("validator") if origin.get("url") == url else None
    have = part.size if same else 0
    headers = {"User-Agent": f"cpm-port/{__version__}"}
    if same and have:
        headers |= {"Range": f"bytes={have}-", "If-Range": same}
    try:
        request = Request(quote(url, safe=_URL_CHARACTERS), headers=headers)
        response = build_opener(_HttpOnly).open(request, timeout=_TIMEOUT)
    except HTTPError as error:
        if error.code != 416 or not have:
            raise
        complete = _range(error.headers.get("Content-Range")) == (None, have)
        if not complete:
            part.restart(url, None)
        return complete
    with response:
        resumed = response.status == 206
        first, total = _range(response.headers.get("Content-Range")) if resumed else (0, None)
        if resumed and (first != have or _validator(response) not in (None, same)):
            part.restart(url, None)
            return False
        if not resumed:
            total = _whole_number(response.headers.get("Content-Length"))
        _write(response, part, url, entry, have if resumed else 0, total)
        return total is None or part.size == total


def _write(response: HTTPResponse, part: _Part, url: str, entry: ModelEntry, start: int, total: int | None) -> None:
    """Append the body to the part, which is emptied first where the body is the file from its beginning."""
    from tqdm import tqdm

    least = weight_bytes(entry)
    most = 2 * least + _ROOM
    if total is not None and not least <= total <= most:
        raise _RefusalError(f"it offers {total} bytes; the weights alone take {least}, the whole file at most {most}")
    chunk = response.read1(_CHUNK)
    if response.headers.get_content_type() == "text/html" or (start == 0 and _WEB_PAGE.match(chunk)):
        raise _RefusalError("it answers with a web page instead of the file")
    if start == 0:
        part.restart(url, _validator(response))
    with tqdm(
        desc=entry.name, initial=start, total=total, unit="B", unit_scale=True, disable=None, file=sys.stderr
    ) as bar:
        while chunk:
            if part.size + len(chunk) > most:
                part.restart(url, None)
                raise _RefusalError(f"it sends more than {most} bytes")
            part.append(chunk)
            bar.update(len(chunk))
            chunk = response.read1(_CHUNK)


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        (parts.hostname or "").encode("idna")
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(f"--url {url}: expected an address of http or https")


def _validator(response: HTTPResponse) -> str | None:
    """Return what `If-Range` may compare: a strong entity tag, else the date."""
    tag = response.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _range(content_range: str | None) -> tuple[int | None, int | None]:
    """Return first byte and total of a Content-Range, `bytes 5-9/10` or `bytes */10`; None for what it does not say."""
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", content_range or "")
    return (None, None) if match is None else (_whole_number(match[1]), _whole_number(match[2]))


def _whole_number(text: str | None) -> int | None:
    """Return a number that a server says; one of more digits than any file needs as a very large one."""
    if not text or not text.isdecimal():
        return None
    return int(text) if len(text) <= _MOST_DIGITS else 10**_MOST_DIGITS


def _on_one_line(text: object) -> str:
    """Return what a server says as text that cannot command the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)[:200])


class _HttpOnly(HTTPRedirectHandler):
    """Follows a server's redirections to HTTP only."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        """Refuse another scheme."""
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise ValueError(f"{newurl}: expected http or https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
