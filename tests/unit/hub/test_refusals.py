from email.utils import formatdate
from time import time

import pytest

from qtool.errors import AuthError, NetworkError, NotFoundError
from qtool.hub.endpoints import Endpoint
from qtool.hub.refusals import refusal, retry_after_s
from qtool.hub.repo import RepoRef

HUB = Endpoint("https://hub.example")
REPO = RepoRef("org/name", "v1")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "GatedRepo", AuthError),
        (401, "GatedRepo", AuthError),
        (404, "RevisionNotFound", NotFoundError),
        (404, "EntryNotFound", NotFoundError),
        (401, "RepoNotFound", NotFoundError),
        (404, "", NotFoundError),
        (401, "", AuthError),
        (403, "", AuthError),
        (418, "", NetworkError),
        (503, "", NetworkError),
    ],
)
def test_refusal_becomes_the_right_kind_of_failure(status, code, kind):
    error = refusal(status, {"X-Error-Code": code}, HUB, REPO, has_token=False)
    assert type(error) is kind
    assert error.hint


def test_gated_repository_says_where_to_accept_and_how_to_give_a_token():
    error = refusal(401, {"X-Error-Code": "GatedRepo"}, HUB, REPO, has_token=False)
    assert "https://hub.example/org/name" in (error.hint or "")
    assert "HF_TOKEN" in (error.hint or "")


def test_name_without_an_owner_is_answered_with_a_search():
    error = refusal(404, {}, HUB, RepoRef("tiny"), has_token=False)
    assert (error.hint or "").endswith("qtool find tiny")


def test_hub_message_with_control_characters_is_not_repeated():
    headers = {"X-Error-Message": "\x1b[2Jgone"}
    assert "\x1b" not in refusal(500, headers, HUB, REPO, has_token=False).message


def test_retry_after_in_seconds():
    assert retry_after_s({"Retry-After": "7"}) == 7


def test_retry_after_as_a_date():
    wait_s = retry_after_s({"Retry-After": formatdate(time() + 30, usegmt=True)})
    assert wait_s is not None and 25 < wait_s <= 31


@pytest.mark.parametrize(
    "text",
    [
        *("", "soon", "-1", "1e9", "1.2.3", "²"),
        "Fri, 01 Jan 99999999 00:00:00 GMT",
    ],
)
def test_unreadable_retry_after_is_none(text):
    assert retry_after_s({"Retry-After": text}) is None
