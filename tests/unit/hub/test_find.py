import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtool.errors import AuthError, NetworkError, NotFoundError
from qtool.hub.client import HubClient
from qtool.hub.connection import ConnectionPool
from qtool.hub.endpoints import Endpoint, EndpointOrigin, HubApi
from qtool.hub.find import Found, base_name, find_variants, merge
from qtool.hub.unreachable import MIRROR_URL, no_hub_answers
from qtool.hub.variants import FoundBy, VariantFormat
from tests.hub import Fault, FaultKind, Generated, Repo

BASE = "org/Model-7B"
MADE_FROM_BASE = f"base_model:quantized:{BASE}"
ALL = tuple(VariantFormat)


def config(method: str, bits: object) -> dict[str, object]:
    return {"quantization_config": {"quant_method": method, "bits": bits}}


def gptq(repo_id: str = "a/Model-7B-GPTQ", **options: object) -> Repo:
    files = {"model.safetensors": Generated(5000), "config.json": b"{}"}
    return Repo(repo_id, files, **options)


def gguf(repo_id: str = "b/Model-7B-GGUF", **options: object) -> Repo:
    files = {
        "Model-7B-Q2_K.gguf": Generated(2000),
        "Model-7B-Q4_K_M.gguf": Generated(4000),
        "Q8_0/Model-7B-Q8_0-00001-of-00002.gguf": Generated(7000),
        "Q8_0/Model-7B-Q8_0-00002-of-00002.gguf": Generated(1000),
        "F16/Model-7B-F16-00001-of-00002.gguf": Generated(500),  # the second part is missing
        "mmproj-F16.gguf": Generated(300),
        "README.md": b"x" * 999,
    }
    return Repo(repo_id, files, **options)


@pytest.fixture
def find(hub_factory):
    """Ask a hub that holds ``repos`` for variants of ``model``."""
    pool = ConnectionPool()

    def ask(repos, model=BASE, formats=ALL, limit=10, faults=(), n_dead=0) -> Found:
        hub = ask.hub = hub_factory(repos)
        for fault in faults:
            hub.add_fault(fault)
        urls = ["http://127.0.0.1:9"] * n_dead + [hub.url]
        clients = [
            HubClient(pool, Endpoint(url, EndpointOrigin.FLAG), attempts=1, pause=lambda s: None)
            for url in urls
        ]
        return find_variants(clients, model, formats, limit)

    yield ask
    pool.close()


def test_variant_that_names_its_base_is_found_whatever_its_own_name(find):
    found = find([Repo(BASE, {}), gptq("x/tiny", tags=["gptq", MADE_FROM_BASE])])
    (variant,) = found.variants
    assert (variant.repo_id, variant.found_by) == ("x/tiny", FoundBy.BASE_MODEL)


def test_older_variant_is_found_by_name(find):
    (variant,) = find([Repo(BASE, {}), gptq()]).variants
    assert (variant.repo_id, variant.found_by) == ("a/Model-7B-GPTQ", FoundBy.NAME)


def test_namesake_made_from_another_model_is_left_out(find):
    other = gptq("x/Model-7B-Chat-GPTQ", tags=["base_model:quantized:org/Model-7B-Chat"])
    assert [v.repo_id for v in find([Repo(BASE, {}), gptq(), other]).variants] == [
        "a/Model-7B-GPTQ"
    ]


def test_repository_found_twice_is_listed_once_and_most_downloaded_first(find):
    repos = [
        gptq("a/Model-7B-GPTQ", tags=[MADE_FROM_BASE], downloads=5),
        gguf("b/Model-7B-GGUF", tags=[MADE_FROM_BASE], downloads=70),
        gptq("c/Model-7B-AWQ", downloads=6),
    ]
    found = find([Repo(BASE, {}), *repos])
    assert [v.repo_id for v in found.variants] == [
        "b/Model-7B-GGUF",
        "c/Model-7B-AWQ",
        "a/Model-7B-GPTQ",
    ]


def test_size_is_that_of_the_weights_alone(find):
    repo = Repo(
        "a/Model-7B-GPTQ",
        {
            "a-00001-of-00002.safetensors": Generated(3000),
            "a-00002-of-00002.safetensors": Generated(2000),
            "pytorch_model.bin": Generated(9000),
            "original/consolidated.safetensors": Generated(9000),
            "tokenizer.json": b"x" * 500,
        },
    )
    assert find([repo]).variants[0].size_bytes == 5000


def test_gguf_repository_lists_complete_quants_and_its_size_is_q4_k_m(find):
    (variant,) = find([gguf()]).variants
    assert [(q.label, q.size_bytes, q.bits) for q in variant.quants] == [
        ("Q2_K", 2000, 2),
        ("Q4_K_M", 4000, 4),
        ("Q8_0", 8000, 8),
    ]
    assert (variant.quant, variant.size_bytes, variant.bits) == ("Q4_K_M", 4000, 4)


@pytest.mark.parametrize(
    ("name", "tags", "settings", "bits"),
    [
        ("a/Model-7B-GPTQ", ["8-bit"], config("gptq", 3), 3),
        ("a/Model-7B-GPTQ-Int8", ["4-bit"], None, 8),
        ("a/Model-7B-4bit-GPTQ", [], None, 4),
        ("a/Model-7B-AWQ-w4a16", [], None, 4),
        ("a/Model-7B-AWQ", ["4-bit"], None, 4),
        ("a/Model-7B-AWQ", [], config("awq", "four"), None),
    ],
)
def test_bits_come_from_configuration_then_name_then_tags(find, name, tags, settings, bits):
    assert find([gptq(name, tags=tags, config=settings)]).variants[0].bits == bits


def test_format_of_a_silent_name_comes_from_its_configuration(find):
    repo = gptq("x/tiny", tags=[MADE_FROM_BASE], config=config("awq", 4))
    assert find([repo]).variants[0].format is VariantFormat.AWQ


def test_only_the_wanted_format_is_asked_for(find):
    found = find([gptq(), gguf()], formats=[VariantFormat.GPTQ])
    assert [v.repo_id for v in found.variants] == ["a/Model-7B-GPTQ"]
    assert not any("gguf" in request.target for request in find.hub.requests)


def test_sizes_are_asked_for_what_is_returned_alone(find):
    repos = [gptq(f"a{number}/Model-7B-GPTQ", downloads=number) for number in range(20)]
    found = find([Repo(BASE, {}), *repos], limit=3)
    assert [v.downloads for v in found.variants] == [19, 18, 17]
    assert found.n_found == 20
    assert len(find.hub.requests) == 1 + 4 + 3


def test_variants_of_a_variant_are_those_of_its_base(find):
    repos = [gptq(tags=[MADE_FROM_BASE]), gguf(tags=[MADE_FROM_BASE])]
    found = find(repos, "b/Model-7B-GGUF")
    assert found.base == BASE
    assert {v.repo_id for v in found.variants} == {"a/Model-7B-GPTQ", "b/Model-7B-GGUF"}


@pytest.mark.parametrize("name", ["Model-7B-GPTQ", "Model-7B-AWQ", "Model-7B-GPTQ-Int4"])
def test_base_is_guessed_from_a_name_that_does_not_say(name):
    assert base_name(f"some/{name}") == "Model-7B"


def test_name_without_owner_is_searched_by_name(find):
    assert find([gptq()], "Model-7B").variants[0].repo_id == "a/Model-7B-GPTQ"


def test_variants_are_found_where_the_model_itself_is_not_seen(find):
    assert find([Repo(BASE, {}, private=True), gptq()]).variants


def test_nothing_found_says_what_was_looked_for(find):
    with pytest.raises(
        NotFoundError, match="has org/Model-7B, but no gptq, awq or gguf variant of it"
    ):
        find([Repo(BASE, {})])


def test_a_model_that_does_not_exist_is_not_one_without_variants(find):
    with pytest.raises(NotFoundError, match="has no model org/Nope-7B, and no gguf variant of it"):
        find([Repo(BASE, {})], "org/Nope-7B", [VariantFormat.GGUF])


def test_wrong_token_is_no_missing_model(hub_factory):
    hub, pool = hub_factory([Repo(BASE, {})]), ConnectionPool()
    client = HubClient(pool, Endpoint(hub.url, EndpointOrigin.FLAG), "hf_wrong", attempts=1)
    with pytest.raises(AuthError):
        find_variants([client], BASE, ALL, 10)
    pool.close()


def test_next_endpoint_is_asked_when_the_first_is_dead(find):
    assert find([gptq()], n_dead=1).variants


def test_hubs_that_do_not_answer_are_all_named():
    modelscope = Endpoint("https://modelscope.cn", api=HubApi.MODELSCOPE)
    dead = [Endpoint(f"http://127.0.0.1:{port}") for port in (1, 2)]
    pool = ConnectionPool()
    clients = [HubClient(pool, one, attempts=1) for one in [*dead, modelscope]]
    try:
        with pytest.raises(NetworkError) as caught:
            find_variants(clients, BASE, ALL, 10)
    finally:
        pool.close()
    lines = caught.value.message.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [f"{one.url}:" for one in [*dead, modelscope]]


def test_hub_that_has_failed_is_not_recommended():
    assert MIRROR_URL in (no_hub_answers("gives a", {"https://a": "no"}).hint or "")
    assert MIRROR_URL not in (no_hub_answers("gives a", {MIRROR_URL: "no"}).hint or "")


def test_variant_whose_sizes_cannot_be_had_is_still_listed(find):
    fault = Fault(FaultKind.STATUS, path="/api/models/a/*", status=500, times=None)
    (variant,) = find([gptq()], faults=[fault]).variants
    assert variant.size_bytes is None


@pytest.mark.parametrize("kind", [FaultKind.LOGIN_PAGE, FaultKind.UNAVAILABLE, FaultKind.NO_REPLY])
def test_hub_that_does_not_answer_its_search_is_a_network_error(find, kind):
    with pytest.raises(NetworkError):
        find([gptq()], faults=[Fault(kind, path="/api/models", times=None)])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
ENTRY = st.fixed_dictionaries(
    {"id": JSON | st.just("a/b-GPTQ")},
    optional={
        "tags": JSON | st.lists(st.sampled_from(["gptq", "gguf", "4-bit", MADE_FROM_BASE]) | JSON),
        "config": JSON | st.fixed_dictionaries({"quantization_config": JSON}),
        "downloads": JSON,
        "lastModified": JSON,
        "gated": JSON,
    },
)


@given(st.lists(ENTRY | JSON, max_size=5))
def test_no_answer_of_a_hub_breaks_the_reading_of_it(entries):
    for variant in merge([(FoundBy.NAME, entries)], BASE, ALL):
        assert variant.repo_id.isprintable()
        assert variant.downloads >= 0
        json.dumps(variant.last_modified)
