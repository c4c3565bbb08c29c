"""The KV cache that lives across turns: fast, and never seen in what is said."""

import json
import random
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtool.engines.interpreters import EnginePython
from qtool.engines.transformers import PROGRAM
from tests.engines.conftest import HERE, Serve, Server, run_script

pytestmark = [pytest.mark.network, pytest.mark.slow, pytest.mark.timeout(900)]

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["say", "say", "regenerate", "undo", "edit", "system", "switch"]),
        st.text("abc é中🙂", min_size=1, max_size=30),
    ),
    min_size=1,
    max_size=8,
)


def cached_tokens(answer: dict) -> int:
    return answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def reply(answer: dict) -> str:
    return answer["choices"][0]["message"]["content"]


@pytest.fixture(scope="module", params=["plain", "sliding", "linear"])
def server(request: pytest.FixtureRequest, serve: Serve, tiny_models: Path) -> Server:
    return serve(tiny_models / request.param)


@settings(max_examples=20)
@given(actions=ACTIONS)
def test_greedy_replies_are_the_same_with_and_without_the_cache(
    server: Server, actions: list[tuple[str, str]]
):
    """A random walk over turns, edits, undos, regenerations and two conversations."""
    talk: list[tuple[str, str]] = []
    other: list[tuple[str, str]] = []
    for action, text in actions:
        match action:
            case "say":
                talk.append(("user", text))
            case "regenerate" | "undo":
                del talk[-1 if action == "regenerate" else -2 :]
            case "edit" if talk:
                place = random.Random(text).randrange(len(talk))
                talk[place] = (talk[place][0], text)
            case "system":
                talk.insert(0, ("system", text))
            case "switch":
                talk, other = other, talk
        if not talk or talk[-1][0] != "user":
            talk.append(("user", text))
        kept, fresh = server.chat(talk), server.chat(talk, cache_prompt=False)
        assert reply(kept) == reply(fresh)
        assert cached_tokens(fresh) == 0
        talk.append(("assistant", reply(kept)))


@pytest.mark.parametrize(("name", "is_kept"), [("plain", 1), ("sliding", 1), ("linear", 0)])
def test_next_turn_reads_only_what_is_new_where_the_cache_can_be_cut(
    serve: Serve, tiny_models: Path, name: str, is_kept: int
):
    server = serve(tiny_models / name)
    talk = [("user", "a question of its own " * 3)]
    first = server.chat(talk)
    second = server.chat([*talk, ("assistant", "an answer"), ("user", "another")])
    assert (cached_tokens(second) >= first["usage"]["prompt_tokens"] - 12) == bool(is_kept)
    assert cached_tokens(second) < second["usage"]["prompt_tokens"]


def test_conversations_keep_their_places(serve: Serve, tiny_models: Path):
    server = serve(tiny_models / "plain", n_slots=3)
    system = ("system", "the same for all")
    talks = [[system, ("user", f"{name} " * 20)] for name in ("one", "two", "three")]
    for talk in talks:
        server.chat(talk)
    for talk in talks:
        answer = server.chat(talk)
        assert cached_tokens(answer) == answer["usage"]["prompt_tokens"] - 1


def test_beginning_in_common_is_taken_over_and_left_whole(serve: Serve, tiny_models: Path):
    server = serve(tiny_models / "plain", n_slots=2)
    first = [("system", "a rule " * 10), ("user", "one " * 30)]
    second = [first[0], ("user", "two " * 30)]
    server.chat(first)
    assert cached_tokens(server.chat(second)) > 70
    again = server.chat(first)
    assert cached_tokens(again) == again["usage"]["prompt_tokens"] - 1


def test_memory_of_kept_conversations_is_bounded(serve: Serve, tiny_models: Path):
    server = serve(tiny_models / "plain", cache_bytes=1)
    one, two = [("user", "one " * 20)], [("user", "two " * 20)]
    server.chat(one)
    server.chat(two)
    assert cached_tokens(server.chat(one)) < 20, "it was forgotten but for what the two share"


def test_clients_at_the_same_time_get_what_they_would_get_alone(serve: Serve, tiny_models: Path):
    server = serve(tiny_models / "plain")
    talks = [[("user", f"{letter} " * 9)] for letter in "pqrst"]
    alone = [reply(server.chat(talk, cache_prompt=False)) for talk in talks]
    together: dict[int, str] = {}

    def ask(place: int) -> None:
        together[place] = reply(server.chat(talks[place]))

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(talks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [together[place] for place in range(len(talks))] == alone


def test_cache_grows_in_place_and_holds_what_concatenation_would(engine_python: EnginePython):
    script = str(HERE / "check_kv_cache.py")
    found = json.loads(run_script(engine_python, script, str(PROGRAM)))
    assert found["agrees"]
    assert found["moves"] < found["steps"] / 10
    assert found["attention_error"] < 1e-5
