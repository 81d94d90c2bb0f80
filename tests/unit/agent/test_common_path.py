"""A node's directory by the name that all hosts of its group have, safe in a directory that all users write to."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from agent import common_path
from agent.core.model import AllocationId, Desired, Group, GroupMember, Spec, Wanted
from agent.places import Places
from agent.users import Account

pytestmark = pytest.mark.timeout(30)

KEY = AllocationId("j-1.1.3")
ELSEWHERE = GroupMember(0, "h-0", "zero", "10.0.0.1", 7433, 1)
HERE = GroupMember(1, "h-1", "one", "10.0.0.2", 7433, 1)
GROUP = Group(3, "10.0.0.1", 20007, (ELSEWHERE, HERE))
NODE = Desired(KEY, "j-1", "job", 1, 3, Wanted.RUNNING, Spec(nodes=2, cluster=True), group=GROUP)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    return tmp_path / "tmp"


@pytest.fixture
def places(tmp_path: Path) -> Places:
    places = Places(tmp_path / "state")
    places.make()
    places.make_work(KEY)
    return places


def test_the_name_is_the_same_on_all_hosts() -> None:
    assert common_path.path_of(NODE, GROUP) == "/tmp/rallypoint-j-1.3-20007"
    assert (
        common_path.path_of(replace(NODE, rank=0, id=AllocationId("j-1.0.3")), GROUP) == "/tmp/rallypoint-j-1.3-20007"
    )


def test_of_nodes_on_one_address_the_first_has_it() -> None:
    both = replace(GROUP, members=(replace(ELSEWHERE, address=HERE.address), HERE))
    assert common_path.path_of(NODE, both) == ""
    assert common_path.path_of(replace(NODE, rank=0), both)


def test_it_leads_to_the_working_directory_until_the_node_is_dropped(places: Places, shared: Path) -> None:
    path = str(shared / "name")
    assert places.common_work(KEY, path) == path
    assert os.readlink(path) == places.work_of(KEY)
    # Again, as after a restart of the agent, and after someone has tidied up.
    assert Places(places.state).common_work(KEY, path) == path
    os.unlink(path)
    assert places.common_work(KEY, path) == path
    places.drop_work(KEY)
    assert not os.path.lexists(path)


def test_what_is_in_its_place_is_left_alone(places: Places, shared: Path, tmp_path: Path) -> None:
    path = shared / "name"
    path.symlink_to(tmp_path)
    assert places.common_work(KEY, str(path)) == places.work_of(KEY)
    path.unlink()
    # What the node was told holds.
    assert places.common_work(KEY, str(path)) == places.work_of(KEY)
    path.mkdir()
    places.drop_work(KEY)
    assert path.is_dir()


def test_not_where_others_could_replace_it(places: Places, shared: Path) -> None:
    shared.chmod(0o777)
    assert places.common_work(KEY, str(shared / "name")) == places.work_of(KEY)
    assert list(shared.iterdir()) == []


def test_the_link_is_its_users_where_kernels_let_nobody_else_follow_it(places: Places, shared: Path) -> None:
    """An agent that is not root, in the directory of root's that all users write to."""
    if os.geteuid() != 0:
        pytest.skip("only root can give links away")
    path, owner = str(shared / "name"), Account("task", 54_321, 54_321)
    assert places.common_work(KEY, path, owner) == path
    assert os.lstat(path).st_uid == 0
    places.drop_work(KEY)
    os.chown(shared, 54_322, 54_322)
    places.make_work(KEY, owner)
    assert places.common_work(KEY, path, owner) == path
    assert os.lstat(path).st_uid == 54_321
    assert Places(places.state).common_work(KEY, path, owner) == path
    places.drop_work(KEY)
    assert not os.path.lexists(path)


def test_another_users_link_is_not_taken(places: Places, shared: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make another user's link")
    path = shared / "name"
    path.symlink_to(places.work_of(KEY))
    os.chown(path, 1234, 1234, follow_symlinks=False)
    assert places.common_work(KEY, str(path)) == places.work_of(KEY)
