"""What it costs to ask, learned from a download's requests, and how long they should be for it.

A mirror that fetches what it is asked for itself (olah) or is far away takes seconds to answer. Cut
as for a near one, a file would be a hundred requests that mostly wait.
"""

SMOOTHING = 0.3
# A request brings bytes for so many times as long as it waits for the first.
WORTH = 4
# What brought less tells nothing of the line: it waited in the sockets' buffers.
TELLING_BYTES = 256 * 1024


class AskingCost:
    """Waits and rates, smoothed. Not thread-safe.

    ``bytes_per_s`` is what a connection brings once it is answered, None while that is not known.
    """

    def __init__(self) -> None:
        self.wait_s = 0.0
        self.bytes_per_s: float | None = None

    @property
    def least_bytes(self) -> int:
        """Return how much to ask for at least, 0 while nothing is known."""
        return int(WORTH * self.wait_s * (self.bytes_per_s or 0.0))

    def note_answer(self, wait_s: float) -> None:
        """Note how long a request waited for its answer, connecting included."""
        self.wait_s += SMOOTHING * (wait_s - self.wait_s)

    def note_body(self, n_bytes: int, body_s: float) -> None:
        """Note what a connection brought once it was answered."""
        if n_bytes < TELLING_BYTES or body_s <= 0:
            return
        rate, known = n_bytes / body_s, self.bytes_per_s
        self.bytes_per_s = rate if known is None else known + SMOOTHING * (rate - known)
