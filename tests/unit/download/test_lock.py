import os

import pytest

from qtool.download.lock import TargetLock
from qtool.errors import ResourceError


def test_second_holder_is_told_who_has_it(tmp_path):
    path = tmp_path / "state" / "lock"
    with (
        TargetLock(path, tmp_path),
        pytest.raises(ResourceError, match=f"process {os.getpid()}"),
        TargetLock(path, tmp_path),
    ):
        pass


def test_lock_can_be_taken_again_after_its_end(tmp_path):
    for _ in range(2):
        with TargetLock(tmp_path / "lock", tmp_path):
            pass
