import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtool.engines.transformers_server.refusal import Refusal
from qtool.engines.transformers_server.request import Request, Sampling, parse_request

HELLO = [{"role": "user", "content": "hello"}]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
NAMES = [
    *("messages", "prompt", "n", "stop", "seed", "temperature", "top_p", "top_k", "min_p"),
    *("logit_bias", "max_tokens", "stream", "stream_options", "repeat_penalty", "tools"),
    *("chat_template_kwargs", "continue_final_message", "ignore_eos", "presence_penalty"),
]


def parse(**fields: object) -> Request:
    return parse_request({"messages": HELLO, **fields}, Sampling(), is_chat=True)


def test_what_is_not_said_is_as_by_default():
    request = parse_request({"messages": HELLO}, Sampling(temperature=0.3, top_k=7), is_chat=True)
    assert (request.sampling.temperature, request.sampling.top_k) == (0.3, 7)
    assert request.max_tokens is None
    assert not request.is_streaming


def test_null_is_the_same_as_nothing():
    assert parse(temperature=None, stop=None, seed=None, max_tokens=None, stream=None) == parse()


@pytest.mark.parametrize("name", ["repeat_penalty", "repetition_penalty"])
def test_both_names_of_the_repetition_penalty_are_known(name: str):
    assert parse(**{name: 1.2}).sampling.repetition_penalty == 1.2


def test_newer_name_of_the_length_goes_first():
    assert parse(max_completion_tokens=3, max_tokens=9).max_tokens == 3
    assert parse(max_tokens=-1).max_tokens is None


def test_parts_of_text_are_joined():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    request = parse(messages=[{"role": "user", "content": parts}])
    assert request.messages == ({"role": "user", "content": "ab"},)


def test_negative_seed_is_a_random_one():
    assert parse(seed=-1).sampling.seed is None
    assert parse(seed=7).sampling.seed == 7


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", "hot"),
        ("temperature", float("nan")),
        ("temperature", -1),
        ("top_p", 1.1),
        ("top_k", 1.5),
        ("stop", [""]),
        ("stop", ["a"] * 33),
        ("max_tokens", True),
        ("n", 2),
        ("logit_bias", {"x": 1}),
        ("logit_bias", {"1": 1000}),
        ("messages", []),
        ("messages", [{"content": "who says that?"}]),
        ("messages", [{"role": "user", "content": [{"type": "image_url"}]}]),
        ("chat_template_kwargs", [1]),
        ("continue_final_message", True),
    ],
)
def test_wrong_field_is_refused_by_its_name(field: str, value: object):
    with pytest.raises(Refusal) as caught:
        parse(**{field: value})
    assert caught.value.status == 400
    assert field in str(caught.value.to_object()["error"])


@given(st.dictionaries(st.sampled_from(NAMES), JSON), st.booleans())
def test_anything_is_parsed_or_refused(body: dict[str, object], is_chat: bool):
    try:
        request = parse_request(body, Sampling(), is_chat=is_chat)
    except Refusal as refusal:
        assert refusal.to_object()["error"]["message"]
    else:
        assert request.is_chat == is_chat
