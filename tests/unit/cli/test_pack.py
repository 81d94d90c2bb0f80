"""The archive of a job's files: the same bytes for the same files, and nothing in it that a host must not get."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from coordinator.cli import pack as packing
from coordinator.cli.pack import ArchiveError, pack
from coordinator.spec.files import FileMapping

pytestmark = pytest.mark.timeout(60)


def tree(root: Path) -> Path:
    (root / "src" / "sub").mkdir(parents=True)
    (root / "src" / ".git").mkdir()
    (root / "src" / ".git" / "config").write_text("secret")
    (root / "src" / "run.sh").write_text("#!/bin/sh\n")
    (root / "src" / "run.sh").chmod(0o755)
    (root / "src" / "sub" / "data.bin").write_bytes(b"\0\1")
    (root / "src" / "latest").symlink_to("sub/data.bin")
    return root / "src"


def packed(*mappings: FileMapping) -> bytes:
    with pack(mappings) as archive:
        return archive.read()


def test_a_folder_with_modes_and_links(tmp_path: Path) -> None:
    with pack([FileMapping(str(tree(tmp_path)), "src")]) as archive, tarfile.open(fileobj=archive) as tar:
        found = {member.name: (member.type, oct(member.mode)) for member in tar.getmembers()}
        assert found == {
            "src": (tarfile.DIRTYPE, "0o755"),
            "src/latest": (tarfile.SYMTYPE, "0o777"),
            "src/run.sh": (tarfile.REGTYPE, "0o755"),
            "src/sub": (tarfile.DIRTYPE, "0o755"),
            "src/sub/data.bin": (tarfile.REGTYPE, "0o644"),
        }
        assert {(member.uid, member.uname, member.mtime) for member in tar.getmembers()} == {(0, "", 315532800)}


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    source = tree(tmp_path)
    first = packed(FileMapping(str(source), "src"))
    os.utime(source / "run.sh", (1, 1))
    assert packed(FileMapping(str(source), "src")) == first
    (source / "run.sh").write_text("#!/bin/bash\n")
    assert packed(FileMapping(str(source), "src")) != first


def test_a_folder_as_the_working_directory_itself(tmp_path: Path) -> None:
    with pack([FileMapping(str(tree(tmp_path)), ".")]) as archive, tarfile.open(fileobj=archive) as tar:
        assert tar.getnames() == ["latest", "run.sh", "sub", "sub/data.bin"]


def test_a_named_link_is_followed(tmp_path: Path) -> None:
    source = tree(tmp_path)
    with pack([FileMapping(str(source / "latest"), "d.bin")]) as archive, tarfile.open(fileobj=archive) as tar:
        member = tar.extractfile("d.bin")
        assert member is not None
        assert member.read() == b"\0\1"


def test_what_can_not_be_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tree(tmp_path)
    other = tmp_path / "other"
    other.write_text("x")
    with pytest.raises(ArchiveError, match="both go to a; give one another place"):
        packed(FileMapping(str(other), "a"), FileMapping(str(source / "run.sh"), "a"))
    (source / "out").symlink_to("../other")
    with pytest.raises(ArchiveError, match=r"is a link to \.\./other, outside of what is sent"):
        packed(FileMapping(str(source), "src"))
    (source / "out").unlink()
    os.mkfifo(source / "pipe")
    with pytest.raises(ArchiveError, match="pipe is neither a file nor a folder; only those can be sent; leave it out"):
        packed(FileMapping(str(source), "src"))
    (source / "pipe").unlink()
    monkeypatch.setattr(packing, "MAX_ENTRIES", 2)
    with pytest.raises(ArchiveError, match="more than 2 files; name only what the job needs"):
        packed(FileMapping(str(source), "src"))
    monkeypatch.setattr(packing, "MAX_ENTRIES", 100)
    monkeypatch.setattr(packing, "MAX_BYTES", 100)
    with pytest.raises(ArchiveError, match="and leave data on storage that the hosts share"):
        packed(FileMapping(str(source), "src"))
    with pytest.raises(ArchiveError, match="No such file or directory; check the path and its permissions"):
        packed(FileMapping(str(tmp_path / "gone"), "gone"))
