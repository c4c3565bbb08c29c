import pytest

from qtool.chat.loops import LoopWatch

STORY = "Once upon a time there was a cat named Luna, who liked to sleep in the sun. "


def is_seen(text: str, *, size: int = 4) -> bool:
    watch = LoopWatch()
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    return any(watch.is_loop(piece) for piece in pieces)


@pytest.mark.parametrize(
    "round_", ["special ", "I'm sure you're safe.\n", "你好，", "a", STORY[:60]]
)
@pytest.mark.parametrize("size", [1, 4, 1000])
def test_passage_that_comes_over_and_over_is_seen(round_: str, size: int):
    assert is_seen(STORY + round_ * (720 // len(round_)), size=size)


@pytest.mark.parametrize(
    "text",
    [
        STORY * 7,  # too few rounds
        "special " * 60,  # too short
        "[0, 0, 0, 0, 0, 0],\n" * 100,
        "-" * 5000,
        "".join(f"{n}. special\n" for n in range(300)),
        "special " * 74 + "ends",
        "",
    ],
)
def test_what_may_be_meant_is_left_alone(text: str):
    assert not is_seen(text)
