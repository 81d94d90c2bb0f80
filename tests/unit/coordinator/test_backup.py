"""Backups of data directories: complete, private, whole or not at all; put back only where nothing is lost by it."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import stat
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from coordinator.access import ca
from coordinator.access.ca import load_or_create
from coordinator.backup import BackupError, Mark
from coordinator.backup.put_back import put_back
from coordinator.backup.take import Taken, default_name, take
from coordinator.core.changes import JobCreated
from coordinator.core.ids import AllocationId, job_id
from coordinator.core.model import Job
from coordinator.core.spec import JobSpec
from coordinator.disk import DiskFull
from coordinator.logfiles import Chunk, LogFiles, Run
from coordinator.store import StoreBusy
from coordinator.store.schema import HEAD
from coordinator.store.sql import SqlStore
from tests.fakes.small_disk import mounted

NOW = 1_800_000_000.0
ARCHIVE = "ab" * 32


def job(number: int) -> Job:
    return Job(job_id(number), number, f"job-{number}", "ann", "", JobSpec(argv=("x",)), submitted_at=1.0)


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data directory in use: its store is open, as that of a coordinator that runs."""
    directory = tmp_path / "data"
    directory.mkdir()
    load_or_create(directory / "ca", time.time())
    put(directory / "logs" / "j-1" / "0" / "0.1.log", b"said so far")
    put(directory / "logs" / "j-77" / "0" / "0.1.log", b"of a job that came after the database was copied")
    put(directory / "archives" / "ab" / ARCHIVE, b"a job's files")
    put(directory / "archives" / "incoming" / "tmp", b"half an upload")
    put(directory / "coordinator.toml", b'heartbeat = "5s"\n')
    put(directory / "admin.toml", b"a secret")
    store = SqlStore(directory)
    store.commit([JobCreated(job(1))])
    yield directory
    store.close()


def backup(data_dir: Path, *, logs: bool = True, database: bool = True) -> Taken:
    return take(data_dir, data_dir.parent / "backup.tar", logs=logs, database=database, now=NOW)


def files(directory: Path) -> dict[str, bytes]:
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_what_is_put_back_is_what_was_taken(data_dir: Path, tmp_path: Path) -> None:
    taken = backup(data_dir)
    manifest = put_back(taken.path, tmp_path / "new", force=False)
    assert (manifest.schema, manifest.created_at, manifest.logs) == (HEAD, NOW, True)
    there = files(tmp_path / "new")
    assert set(there) == {
        *("ca/ca.key.pem", "ca/ca.pem", "coordinator.toml", "admin.toml", "coordinator.db", "restored.json"),
        *("logs/j-1/0/0.1.log", f"archives/ab/{ARCHIVE}", "coordinator.lock"),
    }
    was = files(data_dir)
    same = set(there) - {"coordinator.db", "coordinator.lock", "restored.json"}
    assert {name: there[name] for name in same} == {name: was[name] for name in same}
    store = SqlStore(tmp_path / "new")
    assert store.load().jobs == (job(1),)
    store.close()
    assert ca.load_or_create(tmp_path / "new" / "ca", 0.0).pin == ca.load_or_create(data_dir / "ca", 0.0).pin
    assert Mark.find(tmp_path / "new") == Mark(NOW)


def test_backup_and_restored_directory_are_their_owners_alone(data_dir: Path, tmp_path: Path) -> None:
    taken = backup(data_dir)
    put_back(taken.path, tmp_path / "new", force=False)
    paths = [taken.path, tmp_path / "new", *(tmp_path / "new").rglob("*")]
    assert [path for path in paths if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


def test_output_is_left_out_on_request_and_a_database_elsewhere_is_not_missed(data_dir: Path, tmp_path: Path) -> None:
    (data_dir / "coordinator.db").rename(data_dir / "elsewhere")
    taken = backup(data_dir, logs=False, database=False)
    manifest = put_back(taken.path, tmp_path / "new", force=False)
    assert (manifest.schema, manifest.logs) == ("", False)
    assert not {name for name in files(tmp_path / "new") if name.startswith(("logs/", "coordinator.db"))}


@pytest.mark.parametrize("output", ["pipe", "folder", "link", "missing/backup.tar"])
def test_a_backup_takes_the_place_of_no_device_and_of_no_directory(data_dir: Path, tmp_path: Path, output: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("pipe")
    before = sorted(tmp_path.iterdir())
    path = tmp_path / output
    with pytest.raises(BackupError, match=rf"{path} is no file, .*; name a file|there is no directory {path.parent}"):
        take(data_dir, path, logs=True, database=True, now=NOW)
    assert sorted(tmp_path.iterdir()) == before
    assert stat.S_ISFIFO((tmp_path / "link").stat().st_mode)


def test_a_backup_replaces_an_older_one_and_a_failed_one_leaves_it_alone(data_dir: Path) -> None:
    backup(data_dir)
    first = (data_dir.parent / "backup.tar").read_bytes()
    (data_dir / "coordinator.db").rename(data_dir / "gone")
    with pytest.raises(BackupError, match=r"there is no database .*; where it is PostgreSQL, give --database-url"):
        backup(data_dir)
    assert (data_dir.parent / "backup.tar").read_bytes() == first
    assert sorted(path.name for path in data_dir.parent.iterdir()) == ["backup.tar", "data"]


def test_what_is_no_data_directory_is_not_backed_up(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="is no coordinator's data directory; name it with --data-dir"):
        take(tmp_path, tmp_path / "b.tar", logs=True, database=True, now=NOW)
    assert default_name(0.0) == "rallypoint-19700101-000000.tar"


# ---------------------------------------------------------------- refused


def rewritten(path: Path, change: Callable[[dict[str, Any]], None], extra: dict[str, bytes] | None = None) -> None:
    """Write the backup again with a changed manifest, and more members."""
    with tarfile.open(path) as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}  # type: ignore[union-attr]
    document = json.loads(members["manifest.json"])
    change(document)
    members = {**members, **(extra or {}), "manifest.json": json.dumps(document).encode()}
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def newer_schema(document: dict[str, Any]) -> None:
    document["schema"] = "9999"


def newer_format(document: dict[str, Any]) -> None:
    document["format"] = 2


def evil_name(document: dict[str, Any]) -> None:
    document["members"]["../../evil"] = {"size": 1, "sha256": "x"}


def lost_member(document: dict[str, Any]) -> None:
    document["members"]["ca/more.pem"] = {"size": 1, "sha256": "x"}


def no_members(document: dict[str, Any]) -> None:
    del document["members"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (newer_schema, f"has schema 9999 .* this release knows up to {HEAD}; restore with the newer release"),
        (newer_format, "which this one is too old for; install that"),
        (evil_name, "which leads out of the data directory; don't use it"),
        (lost_member, "cut off or damaged: ca/more.pem can't be read; use another backup"),
        (no_members, "the backup's manifest is not complete: the file is damaged"),
    ],
)
def test_a_backup_that_can_not_be_right_is_refused(
    data_dir: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    taken = backup(data_dir)
    rewritten(taken.path, change)
    with pytest.raises(BackupError, match=said):
        put_back(taken.path, tmp_path / "new", force=False)
    assert set(files(tmp_path / "new")) <= {"coordinator.lock"}


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_backup_that_was_cut_off_is_refused(data_dir: Path, tmp_path: Path, share: float) -> None:
    taken = backup(data_dir)
    content = taken.path.read_bytes()
    # The manifest is followed by padding alone.
    end = content.rindex(b"}") + 1
    taken.path.write_bytes(content[: int(end * share)])
    with pytest.raises(BackupError, match=r"(use|take) another backup"):
        put_back(taken.path, tmp_path / "new", force=False)
    assert set(files(tmp_path / "new")) <= {"coordinator.lock"}


def test_a_flipped_bit_is_noticed(data_dir: Path, tmp_path: Path) -> None:
    taken = backup(data_dir)
    content = taken.path.read_bytes()
    taken.path.write_bytes(content.replace(b"said so far", b"said so fat"))
    with pytest.raises(BackupError, match=r"logs/j-1/0/0\.1\.log is not what was put in"):
        put_back(taken.path, tmp_path / "new", force=False)
    assert set(files(tmp_path / "new")) == {"coordinator.lock"}


def test_a_directory_in_use_or_with_anything_in_it_is_not_overwritten(data_dir: Path, tmp_path: Path) -> None:
    taken = backup(data_dir)
    was = files(data_dir)
    with pytest.raises(StoreBusy, match="in use by another coordinator"):
        put_back(taken.path, data_dir, force=True)
    put_back(taken.path, tmp_path / "new", force=False)
    with pytest.raises(BackupError, match=r"is not empty; choose another --data-dir, or give --force"):
        put_back(taken.path, tmp_path / "new", force=False)
    assert files(data_dir) == was


def test_force_moves_what_is_there_aside(data_dir: Path, tmp_path: Path) -> None:
    taken = backup(data_dir)
    new = tmp_path / "new"
    put(new / "coordinator.db", b"precious")
    put(new / "logs" / "j-5" / "0" / "0.1.log", b"old")
    put_back(taken.path, new, force=True)
    (aside,) = new.glob("before-restore-*")
    assert files(aside) == {"coordinator.db": b"precious", "logs/j-5/0/0.1.log": b"old"}
    with closing(sqlite3.connect(new / "coordinator.db")) as database:
        assert database.execute("SELECT id FROM jobs").fetchall() == [("j-1",)]


def test_after_a_restore_that_was_cut_off_nobody_starts_until_it_is_repeated(data_dir: Path, tmp_path: Path) -> None:
    taken = backup(data_dir)
    new = tmp_path / "new"
    put(new / "restore.partial" / "ca" / "ca.pem", b"half")
    with pytest.raises(BackupError, match="is under way, or was cut off: wait for it, or repeat it with --force"):
        Mark.find(new)
    with pytest.raises(BackupError, match="is not empty"):
        put_back(taken.path, new, force=False)
    put_back(taken.path, new, force=True)
    assert Mark.find(new) == Mark(NOW)
    assert not (new / "restore.partial").exists()
    Mark.clear(new)
    Mark.clear(new)
    assert Mark.find(new) is None


def test_a_full_disk_refuses_the_restore_and_leaves_nothing(data_dir: Path, tmp_path: Path) -> None:
    put(data_dir / "archives" / "ab" / ("cd" * 32), bytes(3 << 20))
    taken = backup(data_dir)
    new = tmp_path / "new"
    new.mkdir()
    with mounted(new, "2m"):
        with pytest.raises(DiskFull, match=r"no space is left for the backup's content in .*new; free some"):
            put_back(taken.path, new, force=False)
        assert set(files(new)) == {"coordinator.lock"}


def test_a_log_with_gaps_comes_back_with_them_and_its_holes_take_no_room(data_dir: Path, tmp_path: Path) -> None:
    log, far = AllocationId("j-1.5.1"), 50 << 30
    files = LogFiles(data_dir / "logs")
    files.append([Chunk(log, 0, b"head\0"), Chunk(log, far, b"tail\0", dropped=far - 5, reason="the limit")])
    files.close()
    assert backup(data_dir).size < 1 << 20
    put_back(data_dir.parent / "backup.tar", tmp_path / "new", force=False)
    restored = LogFiles(tmp_path / "new" / "logs")
    assert restored.read(log, 0, 100) == Run(0, b"head\0")
    assert restored.read(log, 5, 100) == Run(far, b"", far - 5, "the limit")
    assert restored.read(log, far, 100) == Run(far, b"tail\0")
    assert restored.path(log).stat().st_blocks * 512 < 1 << 20
    assert restored.append([Chunk(log, far + 5, b"more")]) == {log: far + 9}


@pytest.mark.parametrize("kilobytes", [40, 150])
def test_a_backup_to_a_full_place_names_the_place(data_dir: Path, tmp_path: Path, kilobytes: int) -> None:
    put(data_dir / "logs" / "j-1" / "0" / "0.1.log", b"x" * 200_000)
    place = tmp_path / "small"
    place.mkdir()
    with mounted(place, f"{kilobytes}k"):
        with pytest.raises(DiskFull, match=rf"no space is left for the backup in {place}; free some"):
            take(data_dir, place / "backup.tar", logs=True, database=True, now=NOW)
        assert list(place.iterdir()) == []
