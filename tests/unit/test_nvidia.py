from pathlib import Path

import pytest

from qtool.nvidia import has_nvidia_gpu


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ((), False),
        (("proc/driver/nvidia/version",), True),
        (("proc/driver/nvidia/version", "proc/driver/nvidia/gpus/0000:01:00.0/information"), True),
        (("dev/dxg",), False),
        (("dev/dxg", "usr/lib/wsl/lib/libcuda.so.1"), True),
        (("etc/nv_tegra_release",), True),
    ],
)
def test_the_drivers_files_tell(tmp_path: Path, files: tuple[str, ...], expected: bool):
    assert has_nvidia_gpu({}, touch(tmp_path, *files)) is expected


def test_driver_without_a_gpu_is_none(tmp_path: Path):
    (touch(tmp_path, "proc/driver/nvidia/version") / "proc/driver/nvidia/gpus").mkdir()
    assert not has_nvidia_gpu({}, tmp_path)


@pytest.mark.parametrize(
    ("visible", "expected"),
    [("0", True), ("1,0", True), ("GPU-5c", True), ("", False), ("-1", False), (" ", False)],
)
def test_variable_may_hide_it(tmp_path: Path, visible: str, expected: bool):
    root = touch(tmp_path, "proc/driver/nvidia/version")
    assert has_nvidia_gpu({"CUDA_VISIBLE_DEVICES": visible}, root) is expected


def test_windows_has_the_drivers_library(tmp_path: Path):
    touch(tmp_path, "Windows/System32/nvcuda.dll")
    assert has_nvidia_gpu({"SystemRoot": str(tmp_path / "Windows")}, tmp_path / "none")
