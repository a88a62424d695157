"""Files appear whole or not at all. Oracle: the folder's listing after success and after failure."""

import stat

import pytest

from cpm_port.files.atomic import atomic_path


def test_a_clean_exit_replaces_the_file(tmp_path):
    target = tmp_path / "out.caffemodel.h5"
    target.write_text("old")
    with atomic_path(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith(".caffemodel.h5"), "writers that look at the suffix see the right one"
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
