"""``JobSpec`` as the API carries it, both ways."""

from coordinator.wire.spec import spec_from_pb, spec_to_pb

__all__ = ["spec_from_pb", "spec_to_pb"]
