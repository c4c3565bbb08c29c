import pytest

from qtool.download.faults import FaultKind as Kind
from qtool.download.faults import TransferFault, check_response
from qtool.hub.repo import RemoteFile

FILE = RemoteFile("m.gguf", 1000, sha256="ab" * 32)
RANGE = {"Content-Range": "bytes 100-199/1000"}


def check(status, headers, length, *, start=100, end=200, accepts_whole=False):
    return check_response(status, headers, length, FILE, start, end, accepts_whole=accepts_whole)


def test_right_range_is_accepted():
    assert check(206, RANGE, 100) == 0


def test_shorter_range_than_asked_for_is_accepted():
    assert check(206, {"Content-Range": "bytes 100-149/*"}, 50) == 0


def test_whole_file_is_accepted_where_it_is_expected():
    assert check(200, {}, 1000, accepts_whole=True) == 100
    assert check(200, {}, None, start=0) == 0


@pytest.mark.parametrize(
    ("status", "headers", "length", "kind"),
    [
        (206, {}, 100, Kind.WRONG),
        (206, {"Content-Range": "bytes 100-199"}, 100, Kind.WRONG),
        (206, {"Content-Range": "bytes 0-99/1000"}, 100, Kind.WRONG),
        (206, {"Content-Range": "bytes 100-200/1000"}, 101, Kind.WRONG),
        (206, {"Content-Range": "bytes 100-99/1000"}, 0, Kind.WRONG),
        (206, {"Content-Range": "bytes 100-199/1001"}, 100, Kind.WRONG),
        (206, RANGE, 99, Kind.WRONG),
        (206, {**RANGE, "Content-Type": "Text/HTML; charset=utf-8"}, 100, Kind.WRONG),
        (200, {}, 999, Kind.WRONG),
        (200, {}, 1000, Kind.UNRANGED),
        (204, {}, 0, Kind.WRONG),
        (302, {}, 0, Kind.WRONG),
        (416, {}, 0, Kind.WRONG),
        (403, {}, 0, Kind.REFUSED),
        (503, {}, 0, Kind.BUSY),
        (429, {"Retry-After": "3"}, 0, Kind.BUSY),
    ],
)
def test_response_that_is_not_the_range_is_refused(status, headers, length, kind):
    with pytest.raises(TransferFault) as caught:
        check(status, headers, length)
    assert caught.value.kind is kind
    assert caught.value.retry_after_s == (3 if status == 429 else None)


def test_range_beyond_the_end_tells_of_a_file_that_is_shorter_than_listed():
    with pytest.raises(TransferFault, match="has 150 bytes, the listing says 1000") as caught:
        check(416, {"Content-Range": "bytes */150"}, 0)
    assert (caught.value.kind, caught.value.status) == (Kind.WRONG, None)


def test_refused_range_of_a_file_of_the_right_size_is_the_servers_failure():
    with pytest.raises(TransferFault, match="answered 416") as caught:
        check(416, {"Content-Range": "bytes */1000"}, 0)
    assert caught.value.status == 416


def test_page_is_accepted_where_the_file_is_one():
    page = RemoteFile("index.html", 10, git_sha1="ab" * 20)
    headers = {"Content-Type": "text/html"}
    assert check_response(200, headers, 10, page, 0, 10, accepts_whole=False) == 0
