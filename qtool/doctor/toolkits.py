"""What compiles CUDA code and Python's modules, and how to get it on the machine at hand."""

import re

from qtool.doctor import facts
from qtool.doctor.case import Case
from qtool.doctor.commands import Commands
from qtool.doctor.snapshot import UNKNOWN
from qtool.doctor.versions import number_tuple


def toolkit_commands(case: Case) -> tuple[str, ...]:
    """Return the commands that bring nvcc of torch's CUDA version; empty if it is there."""
    wanted = case.torch_cuda
    present = number_tuple(case.snapshot.nvcc) if case.snapshot.nvcc else None
    if wanted is None or case.snapshot.nvcc is UNKNOWN or (present and present[0] == wanted[0]):
        return ()
    return install_toolkit(case, wanted)


def install_toolkit(case: Case, version: tuple[int, ...]) -> tuple[str, ...]:
    """Return the commands that install a CUDA toolkit, by the system's package manager."""
    dotted, dashed = (mark.join(map(str, version[:2])) for mark in (".", "-"))
    commands = Commands(case)
    if case.is_windows:
        home = f"C:\\Program Files\\NVIDIA GPU Computing Toolkit\\CUDA\\v{dotted}"
        return (
            f"winget install Nvidia.CUDA --version {dotted}",
            commands.export("CUDA_HOME", home),
        )
    home = f"/usr/local/cuda-{dotted}"
    repository = _cuda_repository(case, version)
    if case.snapshot.os.is_jetson:
        home = "/usr/local/cuda"
        install: tuple[str, ...] = ("sudo apt-get install -y nvidia-jetpack g++ ninja-build",)
    elif repository is None:
        install = (f"conda install -y -c nvidia cuda-toolkit={dotted} gxx ninja",)
        home = "$CONDA_PREFIX"
    elif repository["installer"] == "apt":
        install = (
            f"wget {repository['url']}/cuda-keyring_1.1-1_all.deb",
            "sudo dpkg -i cuda-keyring_1.1-1_all.deb",
            "sudo apt-get update",
            f"sudo apt-get install -y cuda-toolkit-{dashed} g++ ninja-build",
        )
    else:
        repo_file = f"{repository['url']}/cuda-{repository['name']}.repo"
        install = (
            f"sudo dnf config-manager --add-repo {repo_file}",
            f"sudo dnf install -y cuda-toolkit-{dashed} gcc-c++ ninja-build",
        )
    return (*install, commands.export("CUDA_HOME", home), 'export PATH="$CUDA_HOME/bin:$PATH"')


def _cuda_repository(case: Case, version: tuple[int, ...]) -> dict[str, str] | None:
    """Return NVIDIA's repository of packages for the system, if it has this CUDA."""
    distro = (case.snapshot.os.distro or "").lower()
    arch = "sbsa" if case.snapshot.os.arch in ("aarch64", "arm64") else "x86_64"
    for row in facts.fact("torch", "cuda_repositories"):
        is_meant = all(re.search(rf"(?<![\w.]){word}\b", distro) for word in row["distro"].split())
        if is_meant and (number_tuple(row["lowest"]) or ()) <= version[:2]:
            name = "wsl-ubuntu" if case.snapshot.os.is_wsl and "ubuntu" in distro else row["name"]
            url = f"https://developer.download.nvidia.com/compute/cuda/repos/{name}/{arch}"
            return {**row, "name": name, "url": url}
    return None


def install_compiler(case: Case) -> str:
    """Return the command that brings a C++ compiler and Python's headers."""
    distro = (case.snapshot.os.distro or "").lower()
    if case.snapshot.os.system == "Darwin":
        return "xcode-select --install"
    if any(name in distro for name in ("fedora", "rhel", "red hat", "rocky", "alma", "centos")):
        return "sudo dnf install -y gcc gcc-c++ python3-devel"
    if "arch" in distro:
        return "sudo pacman -S --needed base-devel"
    return "sudo apt-get install -y build-essential python3-dev"
