import pytest

from qtool.download.collisions import check_case, find_collision
from qtool.errors import IntegrityError
from qtool.hub.repo import RemoteFile


@pytest.mark.parametrize(
    ("paths", "collision"),
    [
        (["A.txt", "b", "a.txt"], ("A.txt", "a.txt")),
        (["Sub/x", "sub/x"], ("Sub/x", "sub/x")),
        (["STRASSE", "straße"], ("STRASSE", "straße")),
        (["e\u0301", "\u00e9"], ("e\u0301", "\u00e9")),
        (["A", "a/b/c"], ("A", "a/b/c")),
        (["Sub/x", "sub/y"], None),
        (["a", "b", "c/a"], None),
    ],
)
def test_names_that_are_one_where_case_does_not_matter_are_found(paths, collision):
    assert find_collision(paths) == collision


def test_collision_matters_only_where_case_does_not(tmp_path):
    files = [RemoteFile("A.txt", 1), RemoteFile("a.txt", 1)]
    (tmp_path / "lock").touch()
    check_case(files, tmp_path)
    (tmp_path / "LOCK").touch()  # as such a file system would say
    with pytest.raises(IntegrityError, match=r"'A\.txt' and 'a\.txt'"):
        check_case(files, tmp_path)
