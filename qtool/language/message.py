"""Texts that can be said in another language: English ones that remember how they were made.

A rule says ``say("torch {version} is a CPU build", version=…)`` and gets that sentence in English,
a ``str`` like any other. The report looks the template up in a catalogue of another language and
fills the same values in; see ``translation``.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, SupportsIndex

_NO_VALUES: Mapping[str, Any] = MappingProxyType({})


class Message(str):
    """An English text, the template it was made from, and the values filled in.

    ``template`` is ``None`` where the text is only its values, one after another. Values may be
    messages themselves.
    """

    __slots__ = ("template", "values")
    template: str | None
    values: Mapping[str, Any]

    def __new__(
        cls, text: str, template: str | None, values: Mapping[str, Any] = _NO_VALUES
    ) -> "Message":
        """Make the message; `say` is the usual way."""
        self = super().__new__(cls, text)
        self.template = template
        self.values = values
        return self

    def __add__(self, other: str) -> "Message":
        """Return both texts, one after the other."""
        return together((self, other))

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        """Copy and pickle with everything that is remembered."""
        return Message, (str(self), self.template, dict(self.values))


def say(template: str, **values: Any) -> Message:
    """Return ``template`` with ``values`` filled in, as ``str.format`` does.

    The template has to be a literal where this is called: a test finds them all, and makes sure
    that each has its translation.
    """
    return Message(template.format_map(values), template, values)


def together(texts: Iterable[str], separator: str = "") -> Message:
    """Return ``texts`` as one, with ``separator`` between them."""
    pieces: list[str] = []
    for text in texts:
        pieces += [separator, text] if pieces and separator else [text]
    return Message("".join(pieces), None, {str(i): piece for i, piece in enumerate(pieces)})
