from pathlib import Path

import pytest

from qtool.cli.download_summary import summary_lines
from qtool.cli.download_view import progress_line
from qtool.cli.starter import short_name
from qtool.download import DownloadRequest, DownloadResult, Progress
from qtool.hub.repo import RepoRef
from qtool.models.starters import load_starters
from qtool.output import Output


@pytest.mark.parametrize(
    ("bytes_transferred", "seconds", "line"),
    [
        (7, 0.03, "7 B fetched"),
        (999_000, 2.0, "999 kB fetched"),
        (5_000_000, 0.04, "5 MB fetched"),
        (5_000_000, 2.0, "5 MB in 2.0 s, 2.5 MB/s"),
    ],
)
def test_rate_is_told_where_it_tells_something(bytes_transferred, seconds, line):
    request = DownloadRequest(RepoRef("org/name"), ())
    result = DownloadResult(
        "org/name", "main", "c0ffee", Path("name"), (), bytes_transferred, seconds
    )
    assert line in summary_lines(result, request, Output(environ={}))


def test_starter_is_called_as_people_know_it():
    assert short_name(load_starters()[0]) == "starter"


@pytest.mark.parametrize(("n_files", "words"), [(1, "0 of 1 file,"), (2, "0 of 2 files,")])
def test_progress_counts_files_in_the_right_number(n_files, words):
    assert words in progress_line(Progress(1, 2, 1.0, 0, n_files, ()))
