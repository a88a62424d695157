"""A file's hash. Oracle: the published SHA-256 of `abc` and of nothing (FIPS 180-4, NIST's examples)."""

from __future__ import annotations

from pathlib import Path

import pytest

from cpm_port.files.digest import file_sha256


@pytest.mark.parametrize(
    ("content", "digest"),
    [
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ],
)
def test_a_files_hash_is_the_standards(content: bytes, digest: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert file_sha256(path) == digest
