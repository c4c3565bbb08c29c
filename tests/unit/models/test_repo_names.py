"""Names, against huggingface_hub's own rules."""

import pytest
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from hypothesis import example, given
from hypothesis import strategies as st

from qtool.errors import UsageError
from qtool.models.repo_names import check_revision, is_repo_id, parse_repo_name

NAMES = st.text(alphabet="aZ0_-./ é\n", max_size=12)


@given(NAMES)
@example("a" * 96 + "/" + "b" * 96)
@example("a" * 97)
@example("x/" + "b" * 97)
@example("org/name.git")
@example("_/_")
def test_repo_id_is_accepted_exactly_when_huggingface_hub_accepts_it(name: str) -> None:
    try:
        validate_repo_id(name)
    except HFValidationError:
        is_valid = False
    else:
        is_valid = True
    assert is_repo_id(name) == is_valid


@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/1", "a" * 40, "feature/x-y", "版本"])
def test_revision_is_accepted_when_git_could_have_it(revision: str) -> None:
    assert check_revision(revision, "x") == revision


@pytest.mark.parametrize(
    "revision",
    [
        "",
        "../main",
        "a..b",
        "-x",
        "/x",
        "x/",
        "a//b",
        ".x",
        "a/.b",
        "x.",
        "x.lock",
        "a b",
        "a\tb",
        "a~1",
        "a^",
        "a?b",
        "a*",
        "a[0]",
        "a\\b",
        "x" * 251,
    ],
)
def test_revision_is_refused_when_git_could_not_have_it(revision: str) -> None:
    with pytest.raises(UsageError):
        check_revision(revision, "x")


@pytest.mark.parametrize("name", ["a/b:Q4_K_M@v1", "a/b@v1:Q4_K_M"])
def test_modifiers_are_accepted_in_either_order(name: str) -> None:
    assert parse_repo_name(name, name) == ("a/b", "Q4_K_M", "v1")
