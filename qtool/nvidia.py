"""Whether programs on this machine see an NVIDIA GPU, told by the driver's files.

No library is loaded and no program asked: this decides at every start of an engine. What the GPU
is, and whether it works, ``qtool doctor`` finds out.
"""

from collections.abc import Mapping
from pathlib import Path

ROOT = Path("/")
DRIVER = "proc/driver/nvidia"
"""Of the kernel module: ``version``, and a folder a GPU in ``gpus``."""
WSL_DEVICE, WSL_LIBRARY = "dev/dxg", "usr/lib/wsl/lib/libcuda.so.1"
"""How WSL 2 lends the GPU of Windows: a device, and the driver's libraries beside it."""
JETSON_RELEASE = "etc/nv_tegra_release"
"""NVIDIA's Linux for Jetson, whose older releases have no ``proc/driver/nvidia``."""
WINDOWS_LIBRARY = "System32/nvcuda.dll"


def has_nvidia_gpu(environ: Mapping[str, str], root: Path = ROOT) -> bool:
    """Tell whether there is a GPU and CUDA_VISIBLE_DEVICES leaves one to programs.

    ``root`` stands for ``/``.
    """
    return not _hides_all(environ.get("CUDA_VISIBLE_DEVICES")) and (
        _is_loaded(root / DRIVER)
        or ((root / WSL_DEVICE).exists() and (root / WSL_LIBRARY).exists())
        or (root / JETSON_RELEASE).exists()
        or ("SystemRoot" in environ and Path(environ["SystemRoot"], WINDOWS_LIBRARY).exists())
    )


def _hides_all(visible: str | None) -> bool:
    """CUDA counts GPUs up to the first that is none: ``""`` and ``-1`` leave nothing."""
    first = visible.partition(",")[0].strip() if visible is not None else "0"
    return not (first.isdecimal() or first[:1].isalpha())


def _is_loaded(driver: Path) -> bool:
    """A loaded module may have no GPU to drive; where its list of them is missing, it counts."""
    gpus = driver / "gpus"
    if gpus.is_dir():
        return any(gpus.iterdir())
    return (driver / "version").exists()
