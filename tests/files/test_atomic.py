"""Files appear whole or not at all. Oracle: the folder's listing after success and after failure."""

import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cpm_port.errors import WriteError
from cpm_port.files.atomic import atomic_path
from tests.support import ROOT


def test_a_clean_exit_replaces_the_file(tmp_path):
    target = tmp_path / "out.caffemodel.h5"
    target.write_text("old")
    with atomic_path(target) as temporary:
        assert temporary.parent.parent == tmp_path
        assert temporary.name == target.name, "writers that look at the suffix see the right one"
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_leaves_the_old_file_alone(tmp_path):
    target = tmp_path / "out.txt"
    target.write_text("old")

    def fail_midway() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        fail_midway()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_missing_folders_are_made(tmp_path):
    with atomic_path(tmp_path / "a" / "b" / "out.txt") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "a" / "b" / "out.txt").read_text() == "x"


def test_permissions_are_those_of_the_old_file_or_of_the_umask(tmp_path):
    old, new, plain = tmp_path / "old", tmp_path / "new", tmp_path / "plain"
    old.write_text("x")
    old.chmod(0o640)
    plain.write_text("x")
    for target in (old, new):
        with atomic_path(target) as temporary:
            temporary.write_text("y")
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    assert stat.S_IMODE(new.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def write(path: Path, content: bytes = b"new") -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def test_a_link_stays_and_the_file_that_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "target", tmp_path / "link"
    target.write_text("old")
    (tmp_path / "between").symlink_to(target)
    link.symlink_to("between")
    write(link)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_link_to_nothing_gets_its_target(tmp_path):
    (tmp_path / "link").symlink_to("later")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "later").read_bytes() == b"new"


def test_a_link_that_goes_round_is_an_error(tmp_path):
    (tmp_path / "link").symlink_to("link")
    with pytest.raises(WriteError, match="link: cannot be written"):
        write(tmp_path / "link")


def test_a_pipe_is_written_to_and_stays(tmp_path):
    pipe, received = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    write(pipe)
    reader.join()
    assert received == [b"new"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


@pytest.mark.parametrize("name", ["/dev/null", "/dev/stdout"])
def test_a_device_or_an_open_file_is_written_to_and_stays(name, tmp_path):
    before = os.lstat(name)
    code = "from pathlib import Path\nfrom cpm_port.files.atomic import atomic_path\nprint('first', flush=True)\n"
    code += f"with atomic_path({name!r}) as path: path.write_text('second')"
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=out, check=True)
    assert (tmp_path / "out").read_text() == ("first\n" if name == "/dev/null" else "first\nsecond")
    after = os.lstat(name)
    assert (before.st_mode, before.st_ino) == (after.st_mode, after.st_ino)


def test_a_device_that_takes_nothing_is_told():
    with pytest.raises(WriteError, match="/dev/full: cannot be written: No space left on device"):
        write(Path("/dev/full"))


def test_a_folder_in_the_files_place_is_told_before_the_work(tmp_path):
    with pytest.raises(WriteError, match="cannot be written: Is a directory"), atomic_path(tmp_path):
        pytest.fail("the work began")


def test_an_error_about_another_file_passes(tmp_path):
    with pytest.raises(FileNotFoundError, match="other") as caught, atomic_path(tmp_path / "out"):
        (tmp_path / "other").read_bytes()
    assert not isinstance(caught.value, WriteError)


@pytest.mark.parametrize(("age", "stays"), [(10.0, True), (7200.0, False)])
def test_a_plain_partial_file_of_old_goes(age, stays, tmp_path):
    left = tmp_path / ".partial-old.caffemodel"
    left.write_bytes(b"half")
    os.utime(left, (time.time() - age,) * 2)
    write(tmp_path / "out")
    assert left.exists() == stays


@pytest.mark.parametrize("count", [1, 8])
def test_writers_side_by_side_do_not_take_each_others_partial_files(count, tmp_path):
    code = "from pathlib import Path\nfrom cpm_port.files import atomic\n"
    code += "for turn in range(200):\n atomic._swept.clear()\n"
    code += f" with atomic.atomic_path({str(tmp_path / 'out')!r}) as path: path.write_text('x' * 1000)"
    running = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(count)]
    assert [child.wait() for child in running] == [0] * count
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
