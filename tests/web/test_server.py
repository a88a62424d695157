"""Claim: the server answers proper requests as `cpm-port predict` would, and refuses all others without harm.

Oracles: the pipeline called from Python; the bounds of `Limits`; sockets that misbehave.
"""

from __future__ import annotations

import http.client
import io
import json
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import uvicorn

import cpm_port
from cpm_port.errors import MissingDependencyError, UsageError
from cpm_port.inference.face import Model
from cpm_port.inference.model import Engine
from cpm_port.inference.results import Result
from cpm_port.parts import CPM14
from cpm_port.web import app as app_module
from cpm_port.web.example import draw_example
from cpm_port.web.limits import Limits
from cpm_port.web.server import serve
from cpm_port.zoo import Choice
from tests.web.serving import Client, serving, tiny_model

BOX = [40.0, 30.0, 90.0, 150.0]


def drawn() -> np.ndarray:
    return cpm_port.DrawnPeople(seed=5, difficulty=0, size=160)[0][1]


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


@pytest.fixture(scope="module")
def choice(tmp_path_factory: pytest.TempPathFactory) -> Choice:
    return tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def model(choice: Choice) -> Model:
    return cpm_port.load_model(net=choice.net, weights=choice.weights)


@pytest.fixture(scope="module")
def server(choice: Choice) -> Iterator[Client]:
    with serving(choice) as client:
        yield client


@pytest.fixture(scope="module")
def found(server: Client) -> dict[str, Any]:
    """A result of two boxes, on the server."""
    sent = server.upload(png(drawn()), "people.png")
    *_, last = server.look(picture=sent["id"], model="tiny.caffemodel", boxes=[BOX, [10, 10, 60, 120]])
    assert last["state"] == "done", last
    return last["result"]


@pytest.fixture(scope="module")
def expected(model: Model) -> Result:
    return model(drawn(), boxes=[tuple(BOX), (10, 10, 60, 120)])[0]


# What is found.


def test_the_joints_are_those_that_predict_finds(found: dict[str, Any], expected: Result) -> None:
    assert [person["joints"] for person in found["people"]] == [person.joints.tolist() for person in expected]
    for person, wanted in zip(found["people"], expected, strict=True):
        np.testing.assert_allclose(person["scores"], wanted.scores, atol=1e-6)


def test_without_a_box_a_model_that_does_not_search_takes_the_rule_as_predict_does(
    server: Client, model: Model
) -> None:
    sent = server.upload(png(drawn()))
    *_, last = server.look(picture=sent["id"], model="tiny.caffemodel")
    (wanted,) = model(drawn())[0]
    assert [person["joints"] for person in last["result"]["people"]] == [wanted.joints.tolist()]
    assert last["result"]["place"] == model(drawn())[0].place


def test_a_second_model_looks_at_the_same_places_at_scales_in_proportion_to_its_box(
    server: Client, found: dict[str, Any], model: Model
) -> None:
    sent = server.upload(png(drawn()))
    *_, first = server.look(picture=sent["id"], model="tiny.caffemodel", boxes=[BOX])
    *_, second = server.look(picture=sent["id"], model="default", like=first["result"]["id"])
    wanted = cpm_port.predict(drawn(), boxes=[tuple(BOX)])[0]
    (other,) = second["result"]["people"]
    assert other["joints"] == wanted.joints.tolist()
    assert other["scales"] == pytest.approx(wanted.prediction.search.scales)


@pytest.mark.parametrize("kind", ["json", "coco", "openpose"])
def test_a_file_to_take_away_is_what_predict_writes(
    kind: str, server: Client, found: dict[str, Any], expected: Result
) -> None:
    got = server.json(f"/api/results/{found['id']}/files/{kind}")
    wanted: Any = {"json": expected.to_dict, "coco": expected.to_coco, "openpose": expected.to_openpose}[kind]()
    if kind == "json":
        wanted["image"] = "people.png"
    if kind == "coco":
        for row in wanted:
            row["image_id"] = "people"
    assert_same(got, json.loads(json.dumps(wanted)))


def assert_same(got: Any, wanted: Any) -> None:
    """Compare, numbers within the rounding of sums that are taken in another order."""
    if isinstance(wanted, dict):
        assert got.keys() == wanted.keys()
        for key in wanted:
            assert_same(got[key], wanted[key])
    elif isinstance(wanted, list):
        assert len(got) == len(wanted)
        for one, other in zip(got, wanted, strict=True):
            assert_same(one, other)
    elif isinstance(wanted, float):
        assert got == pytest.approx(wanted, abs=1e-6)
    else:
        assert got == wanted


def test_the_picture_to_take_away_has_the_limbs_of_predict(
    server: Client, found: dict[str, Any], expected: Result
) -> None:
    _, headers, body = server.ask(f"/api/results/{found['id']}/files/png?min_score=0.01")
    assert headers["content-type"] == "image/png"
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(body, np.uint8), 1), expected.draw(0.01))


def test_the_maps_to_take_away_hold_every_stage_scale_and_part(
    server: Client, found: dict[str, Any], expected: Result
) -> None:
    _, _, body = server.ask(f"/api/results/{found['id']}/files/npz")
    with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
        maps, merged = arrays["person_2_maps"], arrays["person_2_merged"]
        assert maps.shape == (2, 7, 15, 8, 8)
        assert maps.dtype == np.float32
        assert arrays["parts"].tolist() == [*CPM14.parts, "background"]
        on_image = expected.maps(stage=2, person=1)
        rows, columns = arrays["person_2_merged_rows"], arrays["person_2_merged_columns"]
        np.testing.assert_allclose(merged[1], on_image[np.ix_(rows, columns)], atol=1e-5)
        np.testing.assert_array_equal(arrays["person_2_joints"], expected[1].joints)


def test_the_pages_maps_are_the_same_in_bytes(server: Client, found: dict[str, Any]) -> None:
    _, _, body = server.ask(f"/api/results/{found['id']}/maps/0")
    _, _, taken = server.ask(f"/api/results/{found['id']}/files/npz")
    with np.load(io.BytesIO(taken)) as arrays:
        maps, merged = arrays["person_1_maps"], arrays["person_1_merged"]
    shares = np.concatenate([maps.ravel(), merged.transpose(0, 3, 1, 2).ravel() / 7])
    np.testing.assert_allclose(np.frombuffer(body, np.uint8), np.clip(shares, 0, 1) * 255, atol=0.51)


def test_a_levels_box_is_where_its_pixels_come_from(found: dict[str, Any], expected: Result) -> None:
    """Oracle: the scale, and the center, which lies at box px b / 2 - 1, rounded to whole scaled px."""
    for person, wanted in zip(found["people"], expected, strict=True):
        for (x, y, width, height), scale in zip(person["boxes"], person["scales"], strict=True):
            assert width == height == pytest.approx(64 / scale)
            assert abs(x + width / 2 - (wanted.center[0] + 1)) <= 0.5 / scale + 1e-9
            assert abs(y + height / 2 - (wanted.center[1] + 1)) <= 0.5 / scale + 1e-9


def test_progress_comes_before_the_result(server: Client) -> None:
    sent = server.upload(png(drawn()))
    lines = server.look(picture=sent["id"], model="tiny.caffemodel", boxes=[BOX])
    assert {line["state"] for line in lines[:-1]} <= {"waiting", "working"}
    assert lines[-1]["state"] == "done"


def test_the_example_is_what_its_command_draws(server: Client) -> None:
    shipped = cv2.imdecode(np.frombuffer(app_module.page_file("example.png"), np.uint8), 1)
    assert np.abs(shipped.astype(int) - draw_example()).max() <= 1  # the sine's last bit may be another
    assert server.json("/api/example", b"")["width"] == shipped.shape[1]


def test_a_pictures_name_is_a_label_and_reaches_no_path(server: Client, tmp_path: Path) -> None:
    sent = server.upload(png(drawn()), "..%2F..%2Fetc%2Fpasswd%00.png")
    *_, last = server.look(picture=sent["id"], model="tiny.caffemodel", boxes=[BOX])
    written = server.json(f"/api/results/{last['result']['id']}/files/json")
    assert written["image"] == "../../etc/passwd.png"


# What is refused.


@pytest.mark.parametrize("path", ["/page/../app.py", "/page/%2e%2e/app.py", "/page/example.png", "/page/", "/nowhere"])
def test_only_the_pages_own_files_go_out(path: str, server: Client) -> None:
    assert server.ask(path)[0] == 404


class Attributes(HTMLParser):
    """All attributes of a page's elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.all: list[tuple[str, str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all += [(tag, name, value) for name, value in attrs] or [(tag, "", None)]


def test_the_page_holds_no_inline_script_and_no_inline_style(server: Client) -> None:
    found = Attributes(server.ask("/")[2].decode())
    assert not [one for one in found.all if one[1].startswith("on") or one[1] == "style" or one[0] == "style"]
    assert [one for one in found.all if one[0] == "script"] == [
        ("script", "type", "module"), ("script", "src", "/page/main.js")
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["/", *(f"/page/{name}" for name in app_module.PAGE)])
def test_the_page_names_no_other_host_and_the_policy_allows_none(name: str, server: Client) -> None:
    status, headers, body = server.ask(name)
    assert status == 200
    assert set(re.findall(r"https?://[^\"' )]+", body.decode())) <= {"http://www.w3.org/2000/svg"}  # a name, no address
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[", "10.0.0.1"])
def test_a_wrong_host_is_refused(host: str, server: Client) -> None:
    assert server.ask("/api/about", Host=host)[0] in (400, 421)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:8000", "LOCALHOST:9"])
def test_this_machines_names_are_taken(host: str, server: Client) -> None:
    assert server.ask("/api/about", Host=host)[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://[", ""])
def test_another_origin_is_refused(origin: str, server: Client) -> None:
    assert server.ask("/api/example", b"", Origin=origin)[0] == 403


def test_the_own_origin_is_taken_and_a_cross_site_request_is_not(server: Client) -> None:
    assert server.ask("/api/example", b"", Origin=server.url)[0] == 201
    assert server.ask("/api/about", Sec_Fetch_Site="cross-site")[0] == 403
    assert server.ask("/", Sec_Fetch_Site="cross-site")[0] == 200  # a link may lead here


def test_with_a_token_everything_but_the_pages_files_asks_for_it(choice: Choice) -> None:
    with serving(choice, token="sixteen letters.") as client:
        assert client.ask("/")[0] == 200
        assert client.ask("/page/main.js")[0] == 200
        for wrong in ({}, {"Authorization": "Bearer sixteen letters"}, {"Authorization": "Bearer "}):
            assert client.ask("/api/about", **wrong)[0] == 401
            assert client.ask("/api/example", b"", **wrong)[0] == 401
        assert client.ask("/api/about", Authorization="Bearer sixteen letters.")[0] == 200


def one_bit_png(side: int) -> bytes:
    """Return a white PNG of one bit per pixel, a few KB for hundreds of millions of pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + b"\xff" * -(-side // 8)
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(row * 100) for _ in range(side // 100)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def jpeg() -> bytes:
    return cv2.imencode(".jpg", drawn())[1].tobytes()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"hello", "not an image"),
        (jpeg()[:-500], "ends before its end marker"),
        (png(drawn())[:-500], "cut short"),
        (one_bit_png(8000), "an image of 8000 x 8000; expected 1 to 50000000 pixels"),
        (one_bit_png(20000), "more than 178956970 pixels"),
    ],
    ids=["nothing", "text", "cut JPEG", "cut PNG", "8000 x 8000", "20000 x 20000"],
)
def test_a_bad_picture_is_refused_in_a_sentence_with_what_to_do(data: bytes, says: str, server: Client) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status, _, body = server.ask("/api/pictures?name=mine", data)
    told = json.loads(body)
    assert status == 400
    assert says in told["error"]
    assert told["error"].startswith("mine: ")
    assert told["todo"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < peak + 50_000  # KB; 20000 x 20000 decoded takes 400 MB
    assert server.upload(png(drawn()))["width"] > 0


def test_a_body_that_says_or_turns_out_to_be_too_long_is_refused(choice: Choice) -> None:
    with serving(choice, Limits(upload_bytes=1000)) as client:
        assert client.ask("/api/pictures", b"x" * 1001)[0] == 413
        connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=60)
        connection.request("POST", "/api/pictures", iter([b"x" * 600, b"x" * 600]), encode_chunked=True,
                           headers={"Transfer-Encoding": "chunked"})  # fmt: skip
        assert connection.getresponse().status == 413
        connection.close()
        assert client.ask("/api/about")[0] == 200


@pytest.mark.parametrize(
    "wish",
    [
        b"", b"[]", b"{", b"[" * 60000, b'{"picture": 1, "model": "default"}', b'{"picture": "x", "model": 7}',
        b'{"picture": "x", "model": "default", "path": "/etc/passwd"}', b'{"picture": "x", "model": "../default"}',
        b'{"picture": "x", "model": "default"}', b'{"picture": "x", "model": "default", "like": "y"}',
    ],
)  # fmt: skip
def test_a_request_that_makes_no_sense_is_refused(wish: bytes, server: Client) -> None:
    status, _, body = server.ask("/api/look", wish)
    assert status in (400, 404)
    assert json.loads(body)["error"]


@pytest.mark.parametrize(
    "boxes",
    ["[]", "[[1, 2, 3]]", "[[1, 2, 0, 4]]", "[[1, 2, NaN, 4]]", "[[1, 2, 1e999, 4]]", '["abcd"]', "[[1, 2, true, 4]]",
     "{}", f"{[[1, 2, 3, 4]] * 21}"],
)  # fmt: skip
def test_boxes_that_make_no_sense_are_refused(boxes: str, server: Client) -> None:
    sent = server.upload(png(drawn()))
    wish = f'{{"picture": "{sent["id"]}", "model": "default", "boxes": {boxes}}}'
    assert server.ask("/api/look", wish.encode())[0] == 400


def test_a_box_far_outside_is_told_as_an_error_of_the_look(server: Client) -> None:
    sent = server.upload(png(drawn()))
    *_, last = server.look(picture=sent["id"], model="tiny.caffemodel", boxes=[[9e6, 9e6, 50, 50]])
    assert last["state"] == "failed"
    assert "no box about it touches the image" in last["error"]


@pytest.mark.parametrize("query", ["min_score=2", "min_score=nan", "min_score=x", "min_score=-1"])
def test_a_least_score_must_be_a_share(query: str, server: Client, found: dict[str, Any]) -> None:
    assert server.ask(f"/api/results/{found['id']}/files/png?{query}")[0] == 400


@pytest.mark.parametrize("path", ["files/exe", "files/..%2f", "maps/2", "maps/-1", "maps/x"])
def test_a_part_of_a_result_that_is_not_there_is_refused(path: str, server: Client, found: dict[str, Any]) -> None:
    assert server.ask(f"/api/results/{found['id']}/{path}")[0] == 404


def test_a_forgotten_picture_and_its_results_are_gone(server: Client) -> None:
    sent = server.upload(png(drawn()))
    *_, last = server.look(picture=sent["id"], model="tiny.caffemodel", boxes=[BOX])
    assert server.ask(f"/api/pictures/{sent['id']}", method="DELETE")[0] == 204
    assert server.ask(f"/api/pictures/{sent['id']}")[0] == 404
    assert server.ask(f"/api/results/{last['result']['id']}/files/json")[0] == 404


# Abuse.


class Gate:
    """A net's stand-in for time: looks wait here until the gate opens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.entered, self.ended = threading.Event(), threading.Semaphore(0), threading.Semaphore(0)
        real = app_module.look_for

        def look(*arguments: Any, before: Any, **more: Any) -> Any:
            self.entered.release()
            try:
                while not self.open.wait(0.01):
                    before(1)
                return real(*arguments, before=before, **more)
            finally:
                self.ended.release()

        monkeypatch.setattr(app_module, "look_for", look)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def begin_look(client: Client, picture: str) -> socket.socket:
    """Ask for a look on a raw connection, and read until its first line has come."""
    body = json.dumps({"picture": picture, "model": "tiny.caffemodel", "boxes": [BOX]}).encode()
    connection = socket.create_connection(("127.0.0.1", client.port), timeout=60)
    head = f"POST /api/look HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    answer = b""
    while b'"state"' not in answer and b'"error"' not in answer:
        answer += connection.recv(1 << 16)
    return connection


def test_a_closed_tab_ends_its_work_and_the_next_is_served(choice: Choice, gate: Gate) -> None:
    with serving(choice) as client:
        picture = client.upload(png(drawn()))["id"]
        connection = begin_look(client, picture)
        assert gate.entered.acquire(timeout=60)
        connection.close()
        assert gate.ended.acquire(timeout=60)
        gate.open.set()
        assert client.look(picture=picture, model="tiny.caffemodel", boxes=[BOX])[-1]["state"] == "done"


def test_a_look_that_takes_too_long_is_stopped_with_a_sentence(choice: Choice, gate: Gate) -> None:
    with serving(choice, Limits(job_seconds=0.3)) as client:
        picture = client.upload(png(drawn()))["id"]
        last = client.look(picture=picture, model="tiny.caffemodel", boxes=[BOX])[-1]
        assert last["state"] == "stopped"
        assert "longer than 0.3 seconds" in last["error"]


def test_of_50_clients_at_once_the_queue_takes_its_bound_and_the_next_request_is_answered(
    choice: Choice, gate: Gate
) -> None:
    with serving(choice, Limits(waiting=8)) as client:
        picture = client.upload(png(drawn()))["id"]
        occupying = begin_look(client, picture)
        assert gate.entered.acquire(timeout=60)
        wish = json.dumps({"picture": picture, "model": "tiny.caffemodel", "boxes": [BOX]}).encode()
        statuses: list[int] = []
        threads = [
            threading.Thread(target=lambda: statuses.append(client.ask("/api/look", wish)[0])) for _ in range(50)
        ]
        for thread in threads:
            thread.start()
        while len(statuses) < 42:
            time.sleep(0.02)
        assert statuses == [503] * 42
        assert client.ask("/api/about")[0] == 200
        gate.open.set()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [200] * 8 + [503] * 42
        occupying.close()
        assert client.look(picture=picture, model="tiny.caffemodel", boxes=[BOX])[-1]["state"] == "done"


def test_fifty_slow_bodies_hold_up_nobody_and_are_ended(choice: Choice) -> None:
    with serving(choice, Limits(pause_seconds=3.0)) as client:
        slow = []
        for _ in range(50):
            connection = socket.create_connection(("127.0.0.1", client.port), timeout=60)
            connection.sendall(b"POST /api/pictures HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc")
            slow.append(connection)
        assert client.upload(png(drawn()))["width"] > 0
        for connection in slow:
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 408")
            connection.close()


def test_pictures_that_arrive_at_once_are_bounded_together(choice: Choice) -> None:
    with serving(choice, Limits(arriving_bytes=100_000, pause_seconds=60.0)) as client:
        holding = socket.create_connection(("127.0.0.1", client.port), timeout=60)
        head = b"POST /api/pictures HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n"
        holding.sendall(head + b"x" * 90_000)
        while True:  # until the server has read them
            status, _, body = client.ask("/api/pictures", b"x" * 20_000)
            if status == 503:
                break
            assert status == 400
            time.sleep(0.02)
        assert "Try again" in json.loads(body)["error"]
        holding.close()
        while client.ask("/api/pictures", png(drawn()))[0] != 201:
            time.sleep(0.02)


def test_an_upload_that_breaks_off_leaves_nothing_behind(choice: Choice) -> None:
    with serving(choice, Limits(arriving_bytes=1 << 20)) as client:
        for _ in range(20):
            connection = socket.create_connection(("127.0.0.1", client.port), timeout=60)
            head = b"POST /api/pictures HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999\r\n\r\n"
            connection.sendall(head + b"x" * 200_000)
            connection.close()
        while client.ask("/api/pictures", png(drawn()))[0] != 201:
            time.sleep(0.02)


def test_a_fault_of_ours_is_told_without_its_inside(choice: Choice, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(app_module, "look_for", broken)
    monkeypatch.setattr(app_module, "received", broken)
    with serving(choice) as client:
        status, _, body = client.ask("/api/pictures", b"x")
        assert status == 500
        assert b"secret" not in body
        assert client.ask("/api/about")[0] == 200


# How it is started.


def test_other_machines_need_a_token(choice: Choice) -> None:
    with pytest.raises(UsageError, match=r"--host 0\.0\.0\.0: other machines .* --token"):
        serve(choice, Engine(), "0.0.0.0", 0)
    with pytest.raises(UsageError, match="expected at least 16"):
        serve(choice, Engine(), "0.0.0.0", 0, "short")


def test_a_port_that_is_taken_is_told(choice: Choice) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(UsageError, match="cannot listen there: Address already in use; try another --port"),
    ):
        serve(choice, Engine(), "127.0.0.1", taken.getsockname()[1])


def test_files_that_are_no_pose_net_are_told_before_anything_is_served(tmp_path: Path) -> None:
    net = tmp_path / "net.prototxt"
    net.write_text('input: "data" input_dim: 1 input_dim: 7 input_dim: 8 input_dim: 8\n')
    with pytest.raises(UsageError, match="prediction needs"):
        serve(Choice(net, tmp_path / "weights.caffemodel", None), Engine(), port=0)


def test_without_the_extra_the_command_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from cpm_port.cli import serve as verb

    monkeypatch.setattr(verb, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"starlette and uvicorn .* 'cpm_port\[web\]'"):
        verb.run(None)  # type: ignore[arg-type]


def test_the_command_prints_its_address_serves_and_ends_at_ctrl_c(choice: Choice) -> None:
    command = [sys.executable, "-m", "cpm_port", "serve", "--net", str(choice.net), "--weights", str(choice.weights)]
    with subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = re.fullmatch(r"cpm-port serve: (http://127\.0\.0\.1:\d+)/ \(Ctrl\+C ends it\)\n", line)
        assert address, line
        with urllib.request.urlopen(f"{address[1]}/api/about", timeout=120) as answer:
            assert [model["name"] for model in json.load(answer)["models"]][:2] == ["tiny.caffemodel", "default"]
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0


def test_a_token_is_made_where_one_is_asked_for_without_saying_which(
    choice: Choice, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    for _ in range(2):
        serve(choice, Engine(), "0.0.0.0", 0, "", say=said.append)
    tokens = {line.partition("#token=")[2] for line in said}
    assert len(tokens) == 2
    assert all(len(token) >= 16 for token in tokens)
