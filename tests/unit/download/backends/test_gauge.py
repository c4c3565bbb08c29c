from pathlib import Path

import pytest

from qtool.download.backends.gauge import Gauge
from qtool.download.events import DownloadResult, FileProgress, FileResult, FileStatus
from qtool.hub.repo import RemoteFile

LARGE, SMALL, THERE = (RemoteFile(name, size) for name, size in (("l", 100), ("s", 7), ("t", 3)))


@pytest.fixture
def clock():
    return iter(range(100)).__next__


@pytest.fixture
def gauge(clock):
    known = DownloadResult("o/n", "main", "c", Path(), (FileResult.of(THERE, FileStatus.SKIPPED),))
    return Gauge({LARGE: 40}, [SMALL], known, clock)


def test_what_is_there_counts_from_the_start(gauge):
    assert (gauge.bytes_total, gauge.bytes_done, gauge.received) == (110, 43, 0)
    progress = gauge.read()
    assert (progress.n_files_done, progress.n_files) == (1, 3)
    assert progress.active == ()


def test_bytes_that_come_are_counted_and_give_the_rate(gauge):
    gauge.note(LARGE, 60)
    progress = gauge.read()  # one second later
    assert (progress.bytes_done, progress.rate_bytes_per_s) == (63, 20.0)
    assert progress.active == (FileProgress("l", 60, 100),)


def test_beginning_anew_loses_progress_but_not_what_was_received(gauge):
    for size in (60, 0, 100):
        gauge.note(LARGE, size)
    assert (gauge.bytes_done, gauge.received) == (103, 120)


def test_settled_file_is_done(gauge):
    gauge.note(LARGE, 100)
    gauge.settle(LARGE)
    progress = gauge.read()
    assert (progress.n_files_done, progress.active) == (2, ())
