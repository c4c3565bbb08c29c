from hypothesis import given
from hypothesis import strategies as st

from qtool.engines.transformers_server.stop_strings import StopScanner

TEXT = st.text("ab#", max_size=30)
STOPS = st.lists(st.text("ab#", min_size=1, max_size=4), max_size=3)


def scan(pieces: list[str], stops: list[str]) -> tuple[list[str], StopScanner]:
    scanner = StopScanner(stops)
    shown = [scanner.push(piece) for piece in pieces]
    return [*shown, scanner.flush()], scanner


@given(st.lists(TEXT, max_size=8), STOPS)
def test_text_ends_before_the_first_stop_string_however_it_is_cut(
    pieces: list[str], stops: list[str]
):
    text = "".join(pieces)
    hits = [text.find(stop) for stop in stops if stop in text]
    shown, scanner = scan(pieces, stops)
    assert "".join(shown) == text[: min(hits)] if hits else "".join(shown) == text
    assert (scanner.found is not None) == bool(hits)


@given(TEXT, STOPS)
def test_nothing_is_held_back_that_cannot_become_a_stop_string(text: str, stops: list[str]):
    scanner = StopScanner(stops)
    shown = scanner.push(text)
    held = text[len(shown) :]
    if scanner.found is None and held:
        assert any(stop.startswith(held) for stop in stops)


def test_rest_is_what_comes_behind_the_stop_string():
    scanner = StopScanner(["END"])
    assert scanner.push("aE") == "a"
    assert scanner.push("NDb") == ""
    assert (scanner.found, scanner.rest) == ("END", "b")
    assert scanner.push("more") == ""
