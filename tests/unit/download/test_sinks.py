import pytest

from qtool.download.journal import Identity
from qtool.download.sinks import MemorySink, PartialFile
from qtool.hub.repo import RemoteFile

FILE = RemoteFile("m.gguf", 10)
IDENTITY = Identity("model:org/name", "m.gguf", 10, "key")


@pytest.fixture
def partial(tmp_path):
    sink = PartialFile(tmp_path, FILE, IDENTITY)
    yield sink
    sink.close()


def content_of(sink):
    if isinstance(sink, MemorySink):
        return bytes(sink.content)
    buffer = bytearray(10)
    sink.read_into(memoryview(buffer), 0)
    return bytes(buffer)


@pytest.mark.parametrize("kind", ["memory", "partial"])
def test_bytes_that_are_there_are_never_overwritten(partial, kind):
    sink = partial if kind == "partial" else MemorySink(FILE)
    sink.write(2, memoryview(b"CD"))
    sink.write(6, memoryview(b"GH"))
    assert sink.write(0, memoryview(b"abxxefxxij")) == [(0, 2), (4, 6), (8, 10)]
    assert content_of(sink) == b"abCDefGHij"
    assert sink.write(0, memoryview(b"xxxxxxxxxx")) == []
    assert content_of(sink) == b"abCDefGHij"


def test_journal_knows_what_was_written_and_no_more(partial, tmp_path):
    partial.write(2, memoryview(b"CD"))
    partial.write(1, memoryview(b"bxxe"))
    partial.close()
    assert PartialFile(tmp_path, FILE, IDENTITY).present() == [(1, 5)]


def test_late_copy_does_not_open_a_finished_file_again(partial, tmp_path):
    partial.write(0, memoryview(b"0123456789"))
    partial.path.rename(tmp_path / "final")
    partial.forget()
    assert partial.write(0, memoryview(b"xxxxxxxxxx")) == []
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_range_that_was_removed_is_written_again(partial):
    partial.write(0, memoryview(b"01wrong789"))
    partial.remove([(2, 7)])
    assert partial.write(0, memoryview(b"xx23456xxx")) == [(2, 7)]
    assert content_of(partial) == b"0123456789"
