"""The gRPC services: identity and authorisation, conversion, one error map, and the hub of agents' sessions."""
