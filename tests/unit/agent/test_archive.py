"""A job's files: fetched once, checked, and unpacked where they can do no harm."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import stat
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.archive import ArchiveCache, ArchiveError


def tar(*members: tarfile.TarInfo | tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for member in members:
            if isinstance(member, tuple):
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
            else:
                archive.addfile(member)
    return buffer.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


KEEP = 1 << 30


class Source:
    """What the coordinator has; counts what is fetched."""

    def __init__(self, *archives: bytes) -> None:
        self.archives = {hashlib.sha256(data).hexdigest(): data for data in archives}
        self.fetched: list[str] = []

    async def fetch(self, sha256: str) -> AsyncIterator[bytes]:
        self.fetched.append(sha256)
        data = self.archives[sha256]
        for start in range(0, len(data), 100):
            yield data[start : start + 100]


def unpack(tmp_path: Path, data: bytes) -> Path:
    source = Source(data)
    target = tmp_path / "target"
    (tmp_path / "cache").mkdir()
    target.mkdir()
    asyncio.run(ArchiveCache(tmp_path / "cache", source.fetch, KEEP).unpack(next(iter(source.archives)), str(target)))
    return target


def test_files_come_as_they_were(tmp_path: Path) -> None:
    target = unpack(tmp_path, tar(("train.py", b"print(1)"), ("data/x", b"\0\1"), link("alias", "train.py")))
    assert (target / "alias").read_bytes() == b"print(1)"
    assert (target / "data/x").read_bytes() == b"\0\1"


@pytest.mark.parametrize(
    "member",
    [
        ("../outside", b"x"),
        link("out", "/etc/passwd"),
        link("out", "../../outside"),
        link("out", "../outside", tarfile.LNKTYPE),
        link("pipe", "", tarfile.FIFOTYPE),
    ],
)
def test_nothing_leaves_the_directory(tmp_path: Path, member: tarfile.TarInfo | tuple[str, bytes]) -> None:
    with pytest.raises(ArchiveError, match="could not be unpacked"):
        unpack(tmp_path, tar(member))
    assert not (tmp_path / "outside").exists()


def test_an_absolute_name_stays_inside(tmp_path: Path) -> None:
    target = unpack(tmp_path, tar((f"{tmp_path}/outside", b"x")))
    assert not (tmp_path / "outside").exists()
    assert [path.name for path in target.rglob("outside")] == ["outside"]


def test_a_link_that_was_unpacked_leads_no_later_name_outside(tmp_path: Path) -> None:
    inside = link("here", ".")
    with pytest.raises(ArchiveError, match="'here/up' lies or leads outside of the job's folder"):
        unpack(tmp_path, tar(inside, link("here/up", ".."), ("here/up/outside", b"x")))
    assert not (tmp_path / "outside").exists()


def test_files_belong_to_this_user_alone(tmp_path: Path) -> None:
    strange = tarfile.TarInfo("run.sh")
    strange.mode, strange.uid, strange.gid, strange.uname = 0o4777, 12345, 12345, "somebody"
    status = (unpack(tmp_path, tar(strange)) / "run.sh").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o755, os.getuid(), os.getgid())


def test_it_is_fetched_once_for_many_nodes(tmp_path: Path) -> None:
    source = Source(tar(("a", b"1")))
    key = next(iter(source.archives))

    async def scenario() -> None:
        cache = ArchiveCache(tmp_path, source.fetch, KEEP)
        targets = [tmp_path / str(i) for i in range(5)]
        for target in targets:
            target.mkdir()
        await asyncio.gather(*(cache.unpack(key, str(target)) for target in targets))
        assert all((target / "a").read_bytes() == b"1" for target in targets)

    asyncio.run(scenario())
    assert source.fetched == [key]


def test_wrong_bytes_are_not_kept(tmp_path: Path) -> None:
    source = Source()
    key = hashlib.sha256(b"right").hexdigest()
    source.archives[key] = b"wrong"
    with pytest.raises(ArchiveError, match="has another hash; submit the job again"):
        asyncio.run(ArchiveCache(tmp_path, source.fetch, KEEP).unpack(key, str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_a_hash_that_is_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="not a SHA-256"):
        asyncio.run(ArchiveCache(tmp_path, Source().fetch, KEEP).unpack("../../etc/passwd", str(tmp_path)))


def test_what_is_no_archive_says_so(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="could not be unpacked"):
        unpack(tmp_path, b"not a tar at all")


def test_the_archives_that_were_used_last_are_kept_within_a_bound(tmp_path: Path) -> None:
    source = Source(*(tar((f"f{i}", os.urandom(10_000))) for i in range(5)))
    (tmp_path / "out").mkdir()
    (tmp_path / ("0" * 64 + ".part")).write_bytes(b"half of one")

    async def scenario() -> None:
        cache = ArchiveCache(tmp_path, source.fetch, 35_000)
        first, *others = source.archives
        for key in [first, *others[:2], first, *others[2:]]:
            await cache.unpack(key, str(tmp_path / "out"))
        assert {path.stem for path in tmp_path.iterdir() if path.is_file()} == {first, *others[2:]}
        assert len(source.fetched) == 5
        small = ArchiveCache(tmp_path, source.fetch, 1000)
        await small.unpack(first, str(tmp_path / "out"))
        assert not list(tmp_path.glob("*.tar")), "one that is larger than the bound is there while it is used"

    asyncio.run(scenario())
