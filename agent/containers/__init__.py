"""Nodes in containers, by podman or docker.

A *runtime* is the one of the two that this host uses. An *attendant* is the process that stands for a container in the
spawner's eyes: it makes and starts it, passes signals on, and ends with its exit code (ADR 0021).
"""
