"""Claim: a model is fetched whole or not at all, whatever the server does; what came so far is not fetched again.

Oracle: an HTTP server of the test's own on 127.0.0.1, which breaks off, ignores ranges and lies as it is told.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

import pytest

from cpm_port.errors import MissingFileError, UsageError
from cpm_port.zoo import ENTRIES, ModelEntry, download, find_installed
from cpm_port.zoo import fetch as fetch_module
from tests.zoo.support import small_zoo, use_zoo, write_model

NAME = "mpii-6s"
FILE = "pose_iter_630000.caffemodel"


HEADS = {
    "endless-length": b"HTTP/1.0 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n",
    "endless-range": b"HTTP/1.0 206 OK\r\nContent-Range: bytes 0-1/" + b"9" * 5000 + b"\r\n",
    "endless-416": b"HTTP/1.0 416 no\r\nContent-Range: bytes */" + b"9" * 5000 + b"\r\n",
    "to-half-an-address": b"HTTP/1.0 302 to\r\nLocation: http://[::1\r\n",
    "to-a-long-name": b"HTTP/1.0 302 to\r\nLocation: http://" + b"a" * 300 + b".com/\r\n",
    "to-ftp": b"HTTP/1.0 302 to\r\nLocation: ftp://127.0.0.1:1/x\r\n",
    "to-a-file": b"HTTP/1.0 302 to\r\nLocation: file:///dev/null\r\n",
    "commands": b"HTTP/1.0 404 \x1b[31mred\x1b]0;title\x07\r\n",
}
"""What a server with ill will, or none, begins with."""


class Handler(BaseHTTPRequestHandler):
    """Serves `server.content` in the way that the path's first part says; notes every request."""

    server: Server

    def do_GET(self) -> None:
        way = self.path.split("/")[1]
        asked = self.headers.get("Range")
        self.server.requests.append((way, asked, self.headers.get("If-Range")))
        content, tag = self.server.content, self.server.tag
        if way == "missing":
            self.send_error(404)
            return
        if way == "overloaded":
            self.send_error(503)
            return
        if way in ("page", "disguised"):
            kind = "text/html" if way == "page" else "application/octet-stream"
            self.answer(200, b"\n <!DOCTYPE html><title>sign in</title>" + b" " * 9999, {"Content-Type": kind})
            return
        if way in HEADS:
            self.wfile.write(HEADS[way] + b"\r\n")
            return
        if way == "empty":
            self.answer(200, b"", {})
            return
        if way == "wrong-range" and asked:
            self.answer(206, content[7:], {"Content-Range": f"bytes 7-{len(content) - 1}/{len(content)}"})
            return
        if way == "lying":
            self.answer(200, content, {}, length=len(content) + (1 << 26))
            return
        if way == "endless":
            self.answer(200, content * 4, {}, length=None)
            return
        if way == "no-length":
            self.answer(200, content, {}, length=None)
            return
        headers = {"ETag": tag} if tag else {"Last-Modified": self.server.date} if self.server.date else {}
        start = 0
        same = way == "deaf-to-if-range" or self.headers.get("If-Range") in (None, *headers.values())
        if asked and way in ("ranges", "breaking", "deaf-to-if-range") and same:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
                return
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        end = next(self.server.breaking_points, self.server.breaks_after)
        sent = body[:end] if way.startswith("breaking") else body
        self.answer(206 if start else 200, sent, headers, length=len(body))

    def answer(self, code: int, body: bytes, headers: dict[str, str], length: int | None = -1) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(len(body) if length == -1 else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    content: bytes
    tag: str | None = '"one"'
    date: str | None = "Wed, 21 Oct 2015 07:28:00 GMT"
    breaks_after = 1000
    breaking_points: Iterator[int] = iter(())

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str | None, str | None]] = []

    def url(self, way: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{way}/{FILE}"


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelEntry]:
    return small_zoo(tmp_path_factory.mktemp("nets"))


@pytest.fixture(scope="module")
def content(zoo: dict[str, ModelEntry], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_model(tmp_path_factory.mktemp("model") / FILE, zoo[NAME].net).read_bytes()


@pytest.fixture(autouse=True)
def folder(zoo: dict[str, ModelEntry], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder in which the model will lie."""
    use_zoo(monkeypatch, zoo, tmp_path / "models")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "models" / NAME


@pytest.fixture
def server(content: bytes) -> Iterator[Server]:
    with Server() as server:
        server.content = content
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def get(*urls: str, **options: object) -> bool:
    """Download the model; return whether it is new."""
    return download(ENTRIES[NAME], urls, pause=0.0, **options)[1]  # type: ignore[arg-type]


def assert_installed(folder: Path, content: bytes) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "mpii-6s.caffemodel"]
    assert (folder / "mpii-6s.caffemodel").read_bytes() == content


@pytest.mark.parametrize("way", ["ranges", "plain", "no-length"])
def test_a_file_is_fetched_and_installed(way: str, server: Server, folder: Path, content: bytes) -> None:
    assert get(server.url(way))
    assert_installed(folder, content)
    installed = find_installed(ENTRIES[NAME])
    assert installed is not None
    assert (installed.original_name, installed.recognised_by) == (server.url(way), "file name")
    assert not get(server.url(way))
    assert len(server.requests) == 1  # what is there is not fetched again


def test_a_broken_connection_is_taken_up_where_it_broke(server: Server, folder: Path, content: bytes) -> None:
    server.breaks_after = len(content) // 3 + 1
    assert get(server.url("breaking"))
    assert_installed(folder, content)
    step = server.breaks_after
    assert server.requests == [
        ("breaking", None, None),
        ("breaking", f"bytes={step}-", '"one"'),
        ("breaking", f"bytes={2 * step}-", '"one"'),
    ]


def keep(folder: Path, url: str, part: bytes, validator: str | None = '"one"') -> Path:
    """Leave a part as an earlier call would have."""
    path = folder / f"{FILE}.part"
    path.parent.mkdir(parents=True)
    path.write_bytes(part)
    path.with_name(f"{path.name}.json").write_text(json.dumps({"url": url, "validator": validator}))
    return path


def test_what_a_call_leaves_the_next_one_takes_up(server: Server, folder: Path, content: bytes) -> None:
    url = server.url("breaking")
    keep(folder, url, content[:1234])
    server.breaks_after = 0
    with pytest.raises(MissingFileError, match="the connection broke; 1234 bytes are kept, call again to go on"):
        get(url)
    assert (folder / f"{FILE}.part").read_bytes() == content[:1234]
    assert find_installed(ENTRIES[NAME]) is None
    server.breaks_after = len(content)
    server.requests.clear()
    assert get(url)
    assert_installed(folder, content)
    assert server.requests == [("breaking", "bytes=1234-", '"one"')]


def test_a_part_that_is_complete_is_not_fetched_again(server: Server, folder: Path, content: bytes) -> None:
    keep(folder, server.url("ranges"), content)
    assert get(server.url("ranges"))  # the server answers 416 with the size
    assert_installed(folder, content)


def test_a_part_longer_than_the_file_is_begun_anew(server: Server, folder: Path, content: bytes) -> None:
    keep(folder, server.url("ranges"), content + b"more")
    assert get(server.url("ranges"))
    assert_installed(folder, content)
    assert [asked for _, asked, _ in server.requests] == [f"bytes={len(content) + 4}-", None]


@pytest.mark.parametrize(
    ("way", "validator", "asked"),
    [
        ("ranges", '"old"', ["bytes=1234-"]),
        ("deaf-to-if-range", '"old"', ["bytes=1234-", None]),  # it goes on in the new file, and its tag says so
        ("ranges", None, [None]),  # nothing could tell
    ],
)
def test_a_file_that_changed_meanwhile_is_fetched_anew(
    way: str, validator: str | None, asked: list[str | None], server: Server, folder: Path, content: bytes
) -> None:
    keep(folder, server.url(way), b"x" * 1234, validator)
    assert get(server.url(way))
    assert_installed(folder, content)
    assert [range_ for _, range_, _ in server.requests] == asked


def test_a_part_is_not_kept_where_nothing_could_tell_that_the_file_changed(server: Server, folder: Path) -> None:
    server.tag, server.date, server.breaks_after = None, None, 1000
    with pytest.raises(MissingFileError, match="the connection broke\n") as caught:
        get(server.url("breaking"))
    assert "are kept" not in str(caught.value)
    assert not folder.exists()
    assert [asked for _, asked, _ in server.requests] == [None] * 4


def test_a_server_that_breaks_off_anywhere_and_ignores_ranges_is_given_up(server: Server) -> None:
    ends = iter([500, 1000, 700, 900, 800, 950, 600, 990] * 20)
    server.breaking_points = ends
    with pytest.raises(MissingFileError, match="the connection broke"):
        get(server.url("breaking-and-deaf-to-ranges"))
    assert len(server.requests) == 5  # twice further than before, then three times not


def test_a_full_disk_ends_it_and_keeps_what_came(
    server: Server, folder: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        """An open file on a disk with room for 1234 bytes."""

        def __init__(self, file: IO[bytes]) -> None:
            self.file = file

        def __getattr__(self, name: str) -> object:
            return getattr(self.file, name)

        def write(self, data: memoryview) -> int:
            room = 1234 - self.file.seek(0, 2)
            if room == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(data[:room])

    part_type = fetch_module._Part
    with monkeypatch.context() as patch:
        patch.setattr(fetch_module, "_Part", lambda file, note: part_type(Full(file), note))
        with pytest.raises(OSError, match=r"part: cannot be written beyond 1234 bytes: No space left") as caught:
            get(server.url("ranges"))
    assert "What came is kept: call again to go on" in str(caught.value)
    assert not isinstance(caught.value, MissingFileError)  # it is not for want of an address
    assert len(server.requests) == 1
    assert (folder / f"{FILE}.part").read_bytes() == content[:1234]
    assert get(server.url("ranges"))
    assert_installed(folder, content)
    assert [asked for _, asked, _ in server.requests] == [None, "bytes=1234-"]


def test_addresses_may_hold_blanks_and_letters_of_any_script(server: Server, folder: Path, content: bytes) -> None:
    assert get(server.url("plain").replace(FILE, f"Modèle (1)/{FILE}?a=%20b"))
    assert_installed(folder, content)


def test_a_hash_may_be_written_in_capitals_and_must_be_one(server: Server, folder: Path, content: bytes) -> None:
    with pytest.raises(UsageError, match="SHA-256 'abc': expected 64 hexadecimal digits"):
        get(server.url("plain"), sha256="abc")
    assert not server.requests
    assert get(server.url("plain"), sha256=hashlib.sha256(content).hexdigest().upper())


def test_a_date_tells_a_change_where_the_server_gives_no_tag(server: Server, folder: Path, content: bytes) -> None:
    server.tag, server.breaks_after = None, len(content) // 2 + 1
    assert get(server.url("breaking"))
    assert [validator for _, _, validator in server.requests] == [None, "Wed, 21 Oct 2015 07:28:00 GMT"]


@pytest.mark.parametrize("way", ["plain", "wrong-range"])
def test_a_server_that_ignores_ranges_gives_the_file_from_its_beginning(
    way: str, server: Server, folder: Path, content: bytes
) -> None:
    keep(folder, server.url(way), content[:1234])
    assert get(server.url(way))
    assert_installed(folder, content)
    assert server.requests[0] == (way, "bytes=1234-", '"one"')


def test_a_part_of_another_address_is_begun_anew(server: Server, folder: Path, content: bytes) -> None:
    keep(folder, "http://elsewhere.example/model", b"x" * 1234)
    assert get(server.url("ranges"))
    assert_installed(folder, content)
    assert server.requests == [("ranges", None, None)]


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("missing", "answers 404 Not Found"),
        ("overloaded", "answers 503 Service Unavailable"),
        ("page", "a web page instead of the file"),
        ("disguised", "a web page instead of the file"),
        ("empty", "it offers 0 bytes; the weights alone take "),
        ("lying", "bytes; the weights alone take "),
        ("endless", "it sends more than "),
        ("breaking-and-deaf-to-ranges", "the connection broke; 1000 bytes are kept"),
    ],
)
def test_an_address_without_the_file_leaves_nothing_under_its_name(
    way: str, message: str, server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_module, "_ROOM", 1000)
    if way in ("page", "disguised"):
        monkeypatch.setattr(fetch_module, "weight_bytes", lambda entry: 10_000)
    with pytest.raises(MissingFileError) as caught:
        get(server.url(way))
    assert f"{server.url(way)}: " in str(caught.value)
    assert message in str(caught.value)
    assert "the host that the release names no longer answers" in str(caught.value)
    assert f"cpm-port models add {FILE}" in str(caught.value)
    left = [path.name for path in folder.iterdir()] if folder.exists() else []
    assert sorted(left) == ([f"{FILE}.part", f"{FILE}.part.json"] if "kept" in message else [])


def test_a_web_page_does_not_cost_what_came_before(
    server: Server, folder: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = keep(folder, server.url("page"), content[:1234])
    monkeypatch.setattr(fetch_module, "weight_bytes", lambda entry: 10_000)
    monkeypatch.setattr(fetch_module, "_ROOM", 1000)
    with pytest.raises(MissingFileError, match="a web page"):
        get(server.url("page"))
    assert part.read_bytes() == content[:1234]


def test_a_host_that_is_gone_is_said_so(server: Server, folder: Path) -> None:
    url = server.url("ranges")
    server.server_close()
    with pytest.raises(MissingFileError, match=r"127\.0\.0\.1.*: .*refused"):
        get(url)
    assert not folder.exists()


def test_the_addresses_are_tried_in_turn_the_users_first(
    server: Server, folder: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = replace(ENTRIES[NAME], urls=(server.url("plain"),))
    monkeypatch.setitem(ENTRIES, NAME, known)
    assert get(server.url("missing"), server.url("empty"))
    assert_installed(folder, content)
    assert [way for way, _, _ in server.requests] == ["missing", "empty", "plain"]


def test_a_model_that_is_another_or_not_whole_is_thrown_away(
    server: Server, folder: Path, zoo: dict[str, ModelEntry], content: bytes
) -> None:
    server.content = content[:-1] + b"\xff" * 500
    with pytest.raises(MissingFileError, match="thrown away: not a whole model"):
        get(server.url("plain"))
    server.content = content
    with pytest.raises(MissingFileError, match="its name is that of mpii-6s, not lsp-6s"):
        download(ENTRIES["lsp-6s"], [server.url("plain")], pause=0.0)
    with pytest.raises(MissingFileError, match=r"SHA-256 is .*, expected 0{64}"):
        get(server.url("plain"), sha256="0" * 64)
    assert not folder.exists()
    assert find_installed(ENTRIES["lsp-6s"]) is None


def test_without_an_address_it_says_what_to_do(folder: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no address is known to have it\nWhat to do: .*with --url"):
        get()
    assert not folder.exists()


@pytest.mark.parametrize(
    "url",
    ["ftp://a.example/m", "file:///m", "model.caffemodel", "http:///m", "http://[::1", "http://a.example:99999/m"],
)
def test_only_http_is_spoken(url: str, folder: Path) -> None:
    with pytest.raises(UsageError, match="expected an address of http or https"):
        get(url)


def test_two_at_once_do_not_write_into_one_part(server: Server, folder: Path) -> None:
    with keep(folder, "", b"").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match=f"is in use: is {NAME} being fetched already"):
            get(server.url("plain"))


def test_the_default_model_is_not_fetched() -> None:
    with pytest.raises(UsageError, match="ships with the package"):
        download(ENTRIES["default"])


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("endless-length", "it offers 1000000000000000000 bytes"),
        ("endless-range", "it offers 1000000000000000000 bytes"),
        ("endless-416", "it answers 416"),
        ("to-half-an-address", "it sends to what is no address: Invalid IPv6 URL"),
        ("to-a-long-name", "it sends to what is no address: .*idna"),
        ("to-ftp", "it sends to what is no address: ftp://127.0.0.1:1/x: expected http or https"),
        ("to-a-file", "it answers 302 .*not allowed"),
        ("commands", r"it answers 404 \\x1b\[31mred\\x1b\]0;title\\x07"),
    ],
)
def test_what_a_server_says_is_not_believed(way: str, reason: str, server: Server, folder: Path) -> None:
    with pytest.raises(MissingFileError, match=f"/{way}/{FILE}: {reason}"):
        get(server.url(way))
    assert not folder.exists()


@pytest.mark.parametrize("url", ["http://.example.com/a", "http://" + "a" * 300 + ".com/a", "http://[::1", "ftp://x/a"])
def test_an_address_that_is_none_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(UsageError, match="expected an address of http or https"):
        get(url)
