"""The environment of a node, word for word."""

from __future__ import annotations

from dataclasses import replace

from agent import environ
from agent.core.model import AllocationId, Desired, Group, GroupMember, Spec, Wanted

HOST = environ.Host("h-2", "worker-2", "rack", "eu-north")
DIRTY = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "LC_TIME": "de_DE",
    "VIRTUAL_ENV": "/venv",
    "MASTER_ADDR": "10.9.9.9",
    "MASTER_PORT": "1",
    "DSTACK_MASTER_NODE_IP": "10.9.9.9",
    "DSTACK_NODES_IPS": "10.9.9.9",
    "DSTACK_MPI_HOSTFILE": "/etc/hosts",
    "NCCL_SOCKET_IFNAME": "eth9",
    "GLOO_SOCKET_IFNAME": "eth9",
    "OMPI_MCA_btl": "tcp",
    "RALLYPOINT_AGENT_BACKEND": "x",
    "CUDA_VISIBLE_DEVICES": "7",
}
ANY = Desired(
    AllocationId("j-1.5.2"), "j-1", "search", 5, 2, Wanted.RUNNING, Spec(nodes=24, commands=("true",)), gpu_uuids=()
)


def transcript(env: dict[str, str]) -> str:
    return "\n".join(f"{key}={value!r}" for key, value in sorted(env.items()))


def test_any_carries_nothing_of_the_cluster_nor_of_the_agent() -> None:
    env = environ.node_environment(ANY, HOST, "/work/j-1.5.2", environ.base(DIRTY), None)
    assert transcript(env) == (
        "CUDA_VISIBLE_DEVICES=''\n"
        "DSTACK_GPUS_NUM='0'\n"
        "DSTACK_GPUS_PER_NODE='0'\n"
        "DSTACK_JOB_ID='j-1.5.2'\n"
        "DSTACK_NODES_NUM='24'\n"
        "DSTACK_NODE_RANK='5'\n"
        "DSTACK_RUN_ID='j-1'\n"
        "DSTACK_RUN_NAME='search'\n"
        "DSTACK_WORKING_DIR='/work/j-1.5.2'\n"
        "HOME='/root'\n"
        "LANG='C.UTF-8'\n"
        "LC_TIME='de_DE'\n"
        "PATH='/usr/bin:/bin'\n"
        "RALLYPOINT_ALLOCATION_ID='j-1.5.2'\n"
        "RALLYPOINT_ATTEMPT='2'\n"
        "RALLYPOINT_BACKEND='rack'\n"
        "RALLYPOINT_HOST_NAME='worker-2'\n"
        "RALLYPOINT_PLACEMENT='any'\n"
        "RALLYPOINT_REGION='eu-north'"
    )


GROUP = Group(
    generation=3,
    master_address="10.0.0.1",
    master_port=20007,
    members=(
        GroupMember(0, "h-1", "worker-1", "10.0.0.1", 7433, 2),
        GroupMember(1, "h-2", "worker-2", "10.0.0.2", 7433, 2),
    ),
)
CLUSTER = replace(
    ANY, rank=1, spec=Spec(nodes=2, cluster=True, commands=("true",)), gpu_uuids=("GPU-a", "GPU-b"), group=GROUP
)
FILES = environ.ClusterFiles("/aux/hostfile", "/state/bin/launch", "/aux/ticket", "eth1", "10.0.0.0/24", "/aux/ready")


def test_cluster_adds_group_interface_and_mpi() -> None:
    alone = environ.node_environment(replace(CLUSTER, group=None), HOST, "/w", environ.base(DIRTY), None)
    env = environ.node_environment(CLUSTER, HOST, "/w", environ.base(DIRTY), FILES)
    assert env["CUDA_VISIBLE_DEVICES"] == "GPU-a,GPU-b"
    assert env["PATH"] == "/state/bin:/usr/bin:/bin"
    assert (env["DSTACK_GPUS_PER_NODE"], env["DSTACK_GPUS_NUM"]) == ("2", "4")
    assert transcript({key: env[key] for key in env.keys() - alone.keys()}) == (
        "DSTACK_MASTER_NODE_IP='10.0.0.1'\n"
        "DSTACK_MPI_HOSTFILE='/aux/hostfile'\n"
        "DSTACK_NODES_IPS='10.0.0.1\\n10.0.0.2'\n"
        "GLOO_SOCKET_IFNAME='eth1'\n"
        "MASTER_ADDR='10.0.0.1'\n"
        "MASTER_PORT='20007'\n"
        "NCCL_SOCKET_IFNAME='eth1'\n"
        "OMPI_ALLOW_RUN_AS_ROOT='1'\n"
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM='1'\n"
        "OMPI_MCA_oob_tcp_if_include='10.0.0.0/24'\n"
        "OMPI_MCA_plm_rsh_agent='launch'\n"
        "OMPI_MCA_plm_rsh_no_tree_spawn='1'\n"
        "PWD='/w'\n"
        "RALLYPOINT_LAUNCH_TICKET='/aux/ticket'\n"
        "RALLYPOINT_NODE_ADDRESS='10.0.0.2'\n"
        "RALLYPOINT_READY_FILE='/aux/ready'"
    )


def test_the_users_variables_win() -> None:
    env = {"MASTER_PORT": "9", "PATH": "/mine", "NCCL_SOCKET_IFNAME": "ib0", "RALLYPOINT_ATTEMPT": "no"}
    made = environ.node_environment(
        replace(CLUSTER, spec=replace(CLUSTER.spec, env=env)), HOST, "/w", environ.base(DIRTY), FILES
    )
    # But for MPI's launcher, which is found by its name alone.
    assert {key: made[key] for key in env} == {**env, "PATH": "/state/bin:/mine"}


def test_mpis_daemons_are_told_the_network_unless_the_user_tells_them() -> None:
    told = {"OMPI_MCA_btl_tcp_if_include": "10.0.0.0/24"}
    assert environ.daemon_environment({}, "10.0.0.0/24", "orted -mca btl tcp,self") == told
    assert environ.daemon_environment({}, "", "orted") == {}
    assert environ.daemon_environment({}, "10.0.0.0/24", "orted -mca btl_tcp_if_exclude lo") == {}
    assert environ.daemon_environment({"OMPI_MCA_btl_tcp_if_exclude": "lo"}, "10.0.0.0/24", "orted") == {}
    env = {"OMPI_MCA_oob_tcp_if_exclude": "lo"}
    mine = replace(CLUSTER, spec=replace(CLUSTER.spec, env=env))
    assert "OMPI_MCA_oob_tcp_if_include" not in environ.node_environment(mine, HOST, "/w", environ.base(DIRTY), FILES)


def test_host_file_counts_at_least_one_slot() -> None:
    cpus = replace(GROUP, members=(replace(GROUP.members[0], slots=0), GROUP.members[1]))
    assert environ.hostfile(cpus) == "10.0.0.1 slots=1\n10.0.0.2 slots=2\n"


def test_host_file_has_one_line_for_an_address() -> None:
    first, second = GROUP.members
    here = replace(GROUP, members=(first, replace(second, address=first.address), replace(second, rank=2)))
    assert environ.hostfile(here) == "10.0.0.1 slots=4\n10.0.0.2 slots=2\n"


def test_a_program_is_executed_with_its_arguments() -> None:
    assert environ.command(replace(ANY, spec=Spec(argv=("a b", "c"))), "/bin") == ["a b", "c"]
