"""Engines that stay for a while after their conversation (``qtool chat --keep-alive 10m``).

A ``holder`` process owns such an engine: it starts it, writes a ``record`` of where it listens,
and ends it once nobody has held the ``lease`` for as long as was asked. A later ``qtool chat`` on
the same model finds the record, makes sure that it is the same engine still, and takes the lease.
"""
