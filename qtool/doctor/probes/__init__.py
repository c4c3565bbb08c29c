"""Probes take a picture of a machine without importing anything of what they look at.

A probe never raises and has its own time limit; what it cannot read stays ``UNKNOWN``, with the
reason in ``Snapshot.reasons``.
"""
