"""The script that measures kernels against torch, on an index with small wheels of our own."""

import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")

OLD, NEW, OTHER = "_ZN3c104cuda9SetDeviceEi", "_ZN3c104cuda9SetDeviceEa", "_ZN3c1010DispatcherX"
FILES = {
    "torch-2.2.2-cp310-cp310-manylinux1_x86_64.whl": OLD,
    "torch-2.3.1-cp310-cp310-manylinux1_x86_64.whl": NEW,
    "kern_els-0.1-cp39-cp39-manylinux2014_x86_64.whl": OLD,
    "kern_els-0.2-cp310-cp310-manylinux2014_x86_64.whl": NEW,
    "kern_els-0.2-cp310-cp310-win_amd64.whl": "not read",
    "kern_els-0.2.tar.gz": "not read",
}


def shared_object(folder: Path, source: str) -> bytes:
    path = folder / "x.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-nostdlib", "-x", "c", "-o", path, "-"],
        input=source.encode(), check=True,
    )  # fmt: skip
    return path.read_bytes()


def wheel(folder: Path, name: str, symbol: str) -> bytes:
    """A torch that exports ``symbol``, or kernels that need it (and one that libtorch has)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("big", bytes(2_000_000))
        if name.startswith("torch"):
            source = f"int {symbol}(void) {{ return 0; }}"
            archive.writestr("torch/lib/libc10.so", shared_object(folder, "int nothing;"))
            archive.writestr("torch/lib/libc10_cuda.so", shared_object(folder, source))
        else:
            source = f"int {symbol}(void), {OTHER}(void);"
            source += f"int go(void) {{ return {symbol}() + {OTHER}(); }}"
            built = shared_object(folder, source)
            archive.writestr("kernels.cpython-310-x86_64-linux-gnu.so", built)
            archive.writestr("broken.cpython-310-x86_64-linux-gnu.so", b"no library")
    return buffer.getvalue()


class Index(BaseHTTPRequestHandler):
    """PEP 691 below /simple/, and files by ranges."""

    def __init__(self, files: dict[str, bytes], *arguments: object) -> None:
        self._files = files
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        name = self.path.strip("/").rpartition("/")[2]
        if self.path.startswith("/simple/"):
            files = [
                {"filename": one, "url": f"../../files/{one}"}
                for one in self._files
                if one.startswith(name.replace("-", "_"))
            ]
            self._answer(200, json.dumps({"files": files}).encode())
            return
        content = self._files[name]
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
        assert match is not None
        first, last = int(match[1]), min(int(match[2]), len(content) - 1)
        where = f"bytes {first}-{last}/{len(content)}"
        self._answer(206, content[first : last + 1], {"Content-Range": where})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    files = {name: wheel(tmp_path, name, symbol) for name, symbol in FILES.items()
             if symbol != "not read"}  # fmt: skip
    files |= {name: b"" for name in FILES if name not in files}
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Index, files))  # type: ignore[arg-type]
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/simple"
    server.shutdown()
    server.server_close()


def test_the_symbols_tell_which_kernels_load_on_which_torch(index: str, tmp_path: Path) -> None:
    matrix = tmp_path / "matrix.json"
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "facts" / "abi_matrix.py", "kern-els",
         "--index", index, "--torch", "2.2.2", "2.3.1", "--write", matrix,
         "--cache", tmp_path / "cache"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    # What no libc10 exports is libtorch's: the other symbol counts for nothing.
    assert json.loads(matrix.read_text()) == {
        "kern_els-0.1|kernels": {"2.2.2": 0, "2.3.1": 1},
        "kern_els-0.2|kernels": {"2.2.2": 1, "2.3.1": 0},
    }
    rows = json.loads(done.stdout[done.stdout.index("\n{") :])["kern-els"]
    assert rows == [
        {"versions": "==0.1", "torch": "<2.3"},
        {"versions": "==0.2", "torch": ">=2.3"},
    ]
    assert "broken" in done.stderr
