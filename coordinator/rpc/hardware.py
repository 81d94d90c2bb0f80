"""What agents see of their hosts, as protobuf and back."""

from __future__ import annotations

from rallypoint.v1 import types_pb2 as pb

from coordinator.core.hardware import Disk, Gpu, Hardware, Interface, RdmaPort
from coordinator.rpc.convert_policy import limits_from_proto, limits_to_proto, users_from_proto, users_to_proto
from coordinator.rpc.health import conditions_from_proto, conditions_to_proto
from coordinator.rpc.runtimes import containers_from_proto, containers_to_proto


def hardware_to_proto(hardware: Hardware) -> pb.Hardware:
    """What an agent saw on its host."""
    return pb.Hardware(
        hostname=hardware.hostname,
        arch=hardware.arch,
        os=hardware.os,
        kernel=hardware.kernel,
        boot_id=hardware.boot_id,
        machine_id=hardware.machine_id,
        cpu_model=hardware.cpu_model,
        cpus=hardware.cpus,
        memory_bytes=hardware.memory_bytes,
        memory_available_bytes=hardware.memory_available_bytes,
        disks=[pb.Disk(path=d.path, total_bytes=d.total_bytes, free_bytes=d.free_bytes) for d in hardware.disks],
        interfaces=[_interface_to_proto(interface) for interface in hardware.interfaces],
        gpus=[_gpu_to_proto(gpu) for gpu in hardware.gpus],
        driver_version=hardware.driver_version or "",
        cuda_version=hardware.cuda_version or "",
        gpu_problem=hardware.gpu_problem or "",
        isolation=hardware.isolation,
        warnings=hardware.warnings,
        disk_problem=hardware.disk_problem or "",
        rdma=[_rdma_to_proto(port) for port in hardware.rdma],
        conditions=conditions_to_proto(hardware.conditions),
        containers=containers_to_proto(hardware.containers),
        uv=hardware.uv,
        looking=hardware.looking,
        limits=None if hardware.limits is None else limits_to_proto(hardware.limits),
        users=None if hardware.users is None else users_to_proto(hardware.users),
    )


def hardware_from_proto(message: pb.Hardware) -> Hardware:
    """What an agent saw on its host."""
    return Hardware(
        hostname=message.hostname,
        arch=message.arch,
        os=message.os,
        kernel=message.kernel,
        boot_id=message.boot_id,
        machine_id=message.machine_id,
        cpu_model=message.cpu_model,
        cpus=message.cpus,
        memory_bytes=message.memory_bytes,
        memory_available_bytes=message.memory_available_bytes if message.HasField("memory_available_bytes") else None,
        disks=tuple(Disk(d.path, d.total_bytes, d.free_bytes) for d in message.disks),
        interfaces=tuple(_interface_from_proto(interface) for interface in message.interfaces),
        gpus=tuple(_gpu_from_proto(gpu) for gpu in message.gpus),
        driver_version=message.driver_version or None,
        cuda_version=message.cuda_version or None,
        gpu_problem=message.gpu_problem or None,
        isolation=message.isolation,
        warnings=tuple(message.warnings),
        disk_problem=message.disk_problem or None,
        rdma=tuple(_rdma_from_proto(port) for port in message.rdma),
        conditions=conditions_from_proto(message.conditions),
        containers=containers_from_proto(message.containers),
        uv=message.uv,
        looking=message.looking,
        limits=limits_from_proto(message.limits) if message.HasField("limits") else None,
        users=users_from_proto(message.users) if message.HasField("users") else None,
    )


def _interface_to_proto(interface: Interface) -> pb.NetworkInterface:
    addresses = []
    for text in interface.addresses:
        ip, _, prefix = text.partition("/")
        addresses.append(pb.InterfaceAddress(ip=ip, prefix_length=int(prefix or 0)))
    return pb.NetworkInterface(
        name=interface.name, addresses=addresses, speed_mbps=interface.speed_mbps, loopback=interface.loopback
    )


def _interface_from_proto(message: pb.NetworkInterface) -> Interface:
    return Interface(
        name=message.name,
        addresses=tuple(f"{a.ip}/{a.prefix_length}" for a in message.addresses),
        speed_mbps=message.speed_mbps if message.HasField("speed_mbps") else None,
        loopback=message.loopback,
    )


def _rdma_to_proto(port: RdmaPort) -> pb.RdmaPort:
    return pb.RdmaPort(
        device=port.device, port=port.port, state=port.state, link_layer=port.link_layer, rate_gbps=port.rate_gbps
    )


def _rdma_from_proto(message: pb.RdmaPort) -> RdmaPort:
    rate = message.rate_gbps if message.HasField("rate_gbps") else None
    return RdmaPort(message.device, message.port, message.state, message.link_layer, rate)


def _gpu_to_proto(gpu: Gpu) -> pb.Gpu:
    capability = gpu.compute_capability
    return pb.Gpu(
        uuid=gpu.uuid,
        index=gpu.index,
        name=gpu.name,
        vendor=gpu.vendor,
        memory_bytes=gpu.memory_bytes,
        compute_capability=None if capability is None else capability[0] * 10 + capability[1],
        pci_bus=gpu.pci_bus or "",
        power_limit_watts=gpu.power_limit_watts,
        utilization_percent=gpu.utilization_percent,
        memory_used_bytes=gpu.memory_used_bytes,
        temperature_celsius=gpu.temperature_celsius,
        power_watts=gpu.power_watts,
        problem=gpu.problem or "",
        parent=gpu.parent or "",
        nvlinks=gpu.nvlinks,
        conditions=conditions_to_proto(gpu.conditions),
        health_watched=gpu.watched,
    )


def _gpu_from_proto(message: pb.Gpu) -> Gpu:
    def known(field: str) -> bool:
        return message.HasField(field)  # type: ignore[arg-type]

    capability = divmod(message.compute_capability, 10) if known("compute_capability") else None
    return Gpu(
        uuid=message.uuid,
        index=message.index,
        name=message.name,
        vendor=message.vendor or "nvidia",
        memory_bytes=message.memory_bytes if known("memory_bytes") else None,
        compute_capability=capability,
        pci_bus=message.pci_bus or None,
        power_limit_watts=message.power_limit_watts if known("power_limit_watts") else None,
        utilization_percent=message.utilization_percent if known("utilization_percent") else None,
        memory_used_bytes=message.memory_used_bytes if known("memory_used_bytes") else None,
        temperature_celsius=message.temperature_celsius if known("temperature_celsius") else None,
        power_watts=message.power_watts if known("power_watts") else None,
        problem=message.problem or None,
        parent=message.parent or None,
        nvlinks=message.nvlinks if known("nvlinks") else None,
        conditions=conditions_from_proto(message.conditions),
        watched=message.health_watched,
    )
