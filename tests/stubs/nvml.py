"""The stub NVML, compiled once a run, and the environment in which a child process finds it."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("nvml.c")
T4 = "Tesla T4,7,5,15360"
V100 = "Tesla V100-SXM2-16GB,7,0,16384"
RTX_4090 = "NVIDIA GeForce RTX 4090,8,9,24564"
B200 = "NVIDIA B200,10,0,183359"

NvmlEnviron = Callable[..., dict[str, str]]


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the stub and return the folder that holds ``libnvidia-ml.so.1``."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("nvml")
    library = folder / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE], check=True)
    return folder


@pytest.fixture
def nvml_environ(nvml_library: Path) -> NvmlEnviron:
    """Return a function from what the stub shall report to a child's environment."""

    def environ(driver: str, *gpus: str) -> dict[str, str]:
        return {
            **os.environ,
            "LD_LIBRARY_PATH": str(nvml_library),
            "STUB_NVML": ";".join([driver, *gpus]),
        }

    return environ
