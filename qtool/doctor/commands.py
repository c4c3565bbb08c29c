"""Commands for the machine at hand: its installer, its interpreter, its shell, its torch index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qtool.doctor import facts
from qtool.doctor.case import Case
from qtool.doctor.facts import TorchIndex
from qtool.doctor.snapshot import UNKNOWN
from qtool.doctor.versions import Capability, is_within, parse_version

TORCH_INDEX_URL = "https://download.pytorch.org/whl/"
TORCH_INDEX_VARIABLE = "QTOOL_TORCH_INDEX"
COMPANIONS = ("torchvision", "torchaudio")
_NEEDS_QUOTES = set("<>[]!*;&| ")


@dataclass(frozen=True, slots=True)
class Commands:
    """Spells commands for one machine."""

    case: Case

    def install(self, *arguments: str) -> str:
        """Return the command that installs requirements into the examined interpreter."""
        return f"{self._installer('install')} {' '.join(map(quoted, arguments))}"

    def uninstall(self, *names: str) -> str:
        """Return the command that removes distributions."""
        yes = "" if self._is_uv else " -y"
        return f"{self._installer('uninstall')}{yes} {' '.join(names)}"

    @property
    def python(self) -> str:
        """The interpreter to install into, as a word of a command: the examined one.

        Into one that its distribution manages nothing can be installed; see ``new_environment``.
        """
        if self.case.is_externally_managed:
            return ".venv\\Scripts\\python.exe" if self.case.is_windows else ".venv/bin/python"
        return self.examined

    @property
    def examined(self) -> str:
        """The examined interpreter as a word of a command."""
        interpreter = self.case.snapshot.interpreter
        return "python" if interpreter is UNKNOWN else quoted(interpreter.path)

    def make_environment(self) -> tuple[str, ...]:
        """Return the commands that make the environment ``.venv`` with the examined Python."""
        if self._is_uv:
            return (f"uv venv --allow-existing --python {self.examined} .venv",)
        interpreter = self.case.snapshot.interpreter
        needs_package = interpreter is not UNKNOWN and not interpreter.has_venv
        package = ("sudo apt-get install -y python3-venv",) if needs_package else ()
        return (*package, f"{self.examined} -m venv .venv")

    def with_variables(self, variables: Mapping[str, str], command: str) -> str:
        """Return ``command`` with environment variables set, for sh or PowerShell."""
        if self.case.is_windows:
            settings = "; ".join(f'$Env:{name}="{value}"' for name, value in variables.items())
            return f"{settings}; {command}"
        settings = " ".join(f"{name}={quoted(value)}" for name, value in variables.items())
        return f"{settings} {command}"

    def export(self, name: str, value: str) -> str:
        """Return the command that sets an environment variable for the shell."""
        if self.case.is_windows:
            return f'$Env:{name}="{value}"'
        return f"export {name}={quoted(value)}"

    def install_torch(self, version: str, tag: str | None) -> tuple[str, ...]:
        """Return the commands that install ``version`` of torch from the index ``tag``.

        torchvision and torchaudio follow where they are installed, and numpy goes below 2 for a
        torch that knows nothing of numpy 2. ``tag`` ``None`` is the default package index.
        ``version`` is exact (``2.6.0``) or a range (``>=2.8,<2.11``).
        """
        is_exact = parse_version(version) is not None
        specs = [f"torch=={version}" if is_exact else f"torch{version}"]
        for name in COMPANIONS:
            if self.case.has(name):
                wanted = companion(name, version) if is_exact else None
                specs.append(f"{name}=={wanted}" if wanted else name)
        index = () if tag is None else ("--index-url", f"{torch_index_url(self.case)}{tag}")
        present = [name for name in ("torch", *COMPANIONS) if self.case.has(name)]
        # pip takes 2.9.0+cu130 for a newer 2.9.0+cu126 and would keep it: remove it first.
        commands = [self.uninstall(*present)] if present else []
        commands.append(self.install(*specs, *index))
        if is_exact and is_within(version, facts.fact("torch", "numpy1_only")):
            commands.append(self.install("numpy<2"))
        return tuple(commands)

    @property
    def _is_uv(self) -> bool:
        interpreter = self.case.snapshot.interpreter
        return interpreter is not UNKNOWN and interpreter.installer == "uv"

    def _installer(self, verb: str) -> str:
        if self._is_uv:
            return f"uv pip {verb} --python {self.python}"
        return f"{self.python} -m pip {verb}"


def torch_index_url(case: Case) -> str:
    """Return the address of PyTorch's wheel indexes, or of the mirror of it that the user names."""
    own = case.snapshot.env_vars.get(TORCH_INDEX_VARIABLE)
    return f"{own.rstrip('/')}/" if own else TORCH_INDEX_URL


def quoted(word: str) -> str:
    """Quote a word where a shell would take it apart; good for sh and PowerShell."""
    return f'"{word}"' if _NEEDS_QUOTES & set(word) else word


def companion(name: str, torch_version: str) -> str | None:
    """Return the torchvision or torchaudio version that goes with an exact torch version."""
    parsed = parse_version(torch_version)
    if parsed is None or parsed.major != 2:
        return None
    if name == "torchaudio":
        last = parse_version(facts.fact("torch", "companion_offset")["last_torchaudio"])
        return parsed.base_version if last is None or parsed.release[:2] <= last.release else None
    minor = parsed.minor + facts.fact("torch", "companion_offset")["torchvision"]
    if minor == 15:  # 0.15.1 goes with 2.0.0, 0.15.2 with 2.0.1
        return f"0.15.{parsed.micro + 1}"
    highest = facts.fact("torch", "torchvision_patches").get(str(minor), 0)
    return f"0.{minor}.{min(parsed.micro, highest)}"


def serving_indexes(case: Case, torch_range: str = ">=2.0") -> tuple[TorchIndex, ...]:
    """Return the wheel indexes that serve every GPU and the driver, newest CUDA first.

    Only releases inside ``torch_range`` count; a GPU of unknown capability rules nothing out.
    """
    return _serving(case, facts.torch_indexes(), torch_range)


def serving_pypi(case: Case, torch_range: str = ">=2.0") -> tuple[TorchIndex, ...]:
    """Return PyPI's wheels that serve every GPU and the driver, newest first.

    Only on Linux on x86-64 are they built with CUDA.
    """
    return _serving(case, facts.pypi_torch(), torch_range) if case.is_linux_x86 else ()


def _serving(case: Case, indexes: Sequence[TorchIndex], torch_range: str) -> tuple[TorchIndex, ...]:
    capabilities = case.capabilities
    return tuple(
        index
        for index in reversed(indexes)
        if _serves(index, capabilities)
        and case.driver_runs(index.cuda_major) is not False
        and overlap(index.torch, torch_range)
    )


def _serves(index: TorchIndex, capabilities: tuple[Capability, ...]) -> bool:
    return all(index.lowest <= one <= index.highest for one in capabilities)


def overlap(one: str, other: str) -> bool:
    """Tell whether two ranges of torch have a release in common."""
    releases = [f"2.{minor}.{patch}" for minor in range(16) for patch in (0, 1, 2)]
    return any(is_within(r, one) and is_within(r, other) for r in releases)
