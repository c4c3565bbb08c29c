import pytest

from qtool.hub.ranking import FRESH_S, Ranking


@pytest.fixture
def now():
    return [1_000_000.0]


@pytest.fixture
def ranking(tmp_path, now):
    return Ranking(tmp_path / "a" / "mirrors.json", clock=lambda: now[0])


def test_fastest_comes_first_and_strangers_are_left_out(ranking):
    ranking.remember({"https://a": 0.5, "https://b": 0.1, "https://c": 0.2})
    assert ranking.ranked(["https://a", "https://b", "https://x"]) == ["https://b", "https://a"]


@pytest.mark.parametrize(
    ("age_s", "is_known"), [(FRESH_S - 1, True), (FRESH_S, False), (-1, False)]
)
def test_what_is_known_grows_old(ranking, now, age_s, is_known):
    ranking.remember({"https://a": 0.5})
    now[0] += age_s
    assert bool(ranking.seconds()) is is_known


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"version": 1}', b'{"version":1,"saved_at":"x","seconds":{}}',
     b'{"version":9,"saved_at":1000000,"seconds":{"a":1}}', b"\xff", b"[" * 99999],
)  # fmt: skip
def test_damaged_file_is_as_good_as_none(tmp_path, now, content):
    path = tmp_path / "mirrors.json"
    path.write_bytes(content)
    ranking = Ranking(path, clock=lambda: now[0])
    assert ranking.seconds() == {}
    ranking.remember({"https://a": 0.5})
    assert ranking.seconds() == {"https://a": 0.5}


def test_place_that_cannot_be_written_to_is_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    ranking = Ranking(tmp_path / "file" / "mirrors.json")
    ranking.remember({"https://a": 0.5})
    assert ranking.seconds() == {}
    ranking.forget()


def test_forgotten_is_gone_and_may_be_forgotten_twice(ranking):
    ranking.remember({"https://a": 0.5})
    ranking.forget()
    ranking.forget()
    assert ranking.seconds() == {}
