"""A reply that goes round in circles: seen while it streams, so that it comes to an end."""

MIN_CHARACTERS = 600
MIN_ROUNDS = 10
"""What is said as often in a row as this, and fills as much, is not meant."""

CHECK_EVERY = 64
"""Characters between two looks."""

_SEED_CHARACTERS = 48
"""How much of the end is looked for before it, to find how long a round is."""


class LoopWatch:
    """Looks at the end of a text as it grows.

    Only rounds with letters in them count: rows of zeros, dashes and blanks are asked for.
    """

    def __init__(self) -> None:
        self._tail = ""
        self._n_unseen = 0

    def is_loop(self, text: str) -> bool:
        """Take ``text`` and tell whether what has come ends in a circle."""
        self._tail += text
        self._n_unseen += len(text)
        if self._n_unseen < CHECK_EVERY:
            return False
        self._n_unseen = 0
        self._tail = self._tail[-MIN_CHARACTERS:]
        return len(self._tail) == MIN_CHARACTERS and _goes_round(self._tail)


def _goes_round(text: str) -> bool:
    """Tell whether ``text`` is one passage over and over, from wherever in it to its end."""
    before = text.rfind(text[-_SEED_CHARACTERS:], 0, -1)
    length = len(text) - _SEED_CHARACTERS - before
    is_often = before >= 0 and length * MIN_ROUNDS <= len(text)
    return is_often and text[length:] == text[:-length] and any(map(str.isalpha, text[-length:]))
