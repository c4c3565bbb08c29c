"""Making an environment: built where it stays, proven, then registered. See ``store``."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from qtool.envs import failure
from qtool.envs.environment import Environment
from qtool.envs.events import Noticed, OnEvent, StepStarted, ToolSaid, ignore
from qtool.envs.indexes import Indexes, first_reachable, only_the_users
from qtool.envs.installers import for_children, python_of
from qtool.envs.order import Plan, check_space
from qtool.envs.store import Store
from qtool.envs.task import run
from qtool.errors import EnvironmentFault, NetworkError
from qtool.language.message import say
from qtool.locks import ProcessLock

PROBES = Path(__file__).with_name("probes")
PROBE_TIMEOUT_S = 1800.0
"""A probe may compile CUDA kernels at their first use."""
PROVEN = "proven: "


def create(
    wanted: Plan,
    store: Store,
    *,
    environ: Mapping[str, str],
    logs: Path,
    indexes: Indexes = only_the_users,
    on_event: OnEvent = ignore,
) -> tuple[Environment, bool]:
    """Make an environment; return it and whether it is new. An existing one is left as it is.

    Interrupted, also by ``kill -9``, it leaves nothing that is ever used. What the installers said
    stays in ``logs`` where it fails.

    Raises:
        ResourceError: the disk has no room, or another qtool is making it.
        NetworkError: an index did not answer.
        EnvironmentFault: an installer or the probe failed.
    """
    order = wanted.order
    with store.lock(order.name) as lock:
        if store.has(order.name) and not order.is_replacing:
            return store.find(order.name), False
        store.sweep(order.name)
        check_space(store.root, wanted.variant.disk_bytes)
        with _log_file(logs, order.name) as log:
            build = store.new_build(order.name)
            try:
                making = _Making(wanted, build, log, lock, environ, indexes, on_event)
                environment = making.run()
                store.register(environment)
            finally:
                with contextlib.suppress(OSError):
                    store.sweep(order.name)  # what failed, or the predecessor
    return environment, True


class _Making:
    """One environment in the making."""

    def __init__(
        self,
        wanted: Plan,
        build: Path,
        log: IO[bytes],
        lock: ProcessLock,
        environ: Mapping[str, str],
        indexes: Indexes,
        on_event: OnEvent,
    ) -> None:
        self._wanted = wanted
        self._variant = wanted.variant
        self._build = build
        self._log = log
        self._lock = lock
        self._environ = for_children(environ)
        self._indexes = indexes
        self._on_event = on_event
        self._python = python_of(build)
        self._proof: list[str] = []
        self._index = 0
        self._total = 3 + sum(map(bool, (self._variant.torch, self._variant.bare)))

    def run(self) -> Environment:
        """Make it, prove it, and return it, not yet registered."""
        installer, variant = self._wanted.installer, self._variant
        version = self._wanted.python.version
        step = say("make an environment with Python {version} ({installer})",
                   version=version, installer=installer.kind)  # fmt: skip
        self._do(step, installer.make(self._wanted.python, self._build))
        constraints = self._install_torch() if variant.torch else None
        self._install(variant.requirements, constraints=constraints, **self._extra_index())
        if variant.bare:
            self._install(variant.bare, is_bare=True)
        proof = self._prove()
        versions = self._versions()
        return Environment(
            name=self._wanted.order.name,
            recipe=self._wanted.order.recipe.name,
            variant=variant.name,
            path=self._build,
            python=self._python,
            python_version=versions["python"],
            engine=self._wanted.order.recipe.engine,
            serves=self._wanted.order.recipe.serves,
            versions=dict(sorted(versions["dists"].items())),
            proof=tuple(proof),
            created_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            size_bytes=_size_of(self._build),
        )

    def _install_torch(self) -> Path:
        """Install torch from the index that serves this machine; return what holds it there."""
        wanted = self._variant.torch or ""
        sources = self._indexes("torch", wanted)
        url = first_reachable(sources, "torch")
        if sources and url is None and sources[0] is not None:
            gone = say("{url} does not answer; the default index serves", url=sources[0])
            self._on_event(Noticed(gone))
            if self._variant.gpu is None:
                self._on_event(Noticed(say("its torch may bring CUDA along: some gigabytes more")))
        self._install([f"torch{wanted}"], index_url=url)
        version = self._versions()["dists"]["torch"]
        constraints = self._build / "constraints.txt"
        constraints.write_text(f"torch=={version}\n", encoding="utf-8")
        return constraints

    def _extra_index(self) -> dict[str, str]:
        """Return the index of wheels that the variant asks for besides the user's own.

        Raises:
            NetworkError: it does not answer.
        """
        name = self._variant.index
        if name is None:
            return {}
        urls = self._indexes(name, "")
        url = first_reachable(urls, name)
        if url is None:
            where = ", ".join(filter(None, urls)) or say("no index")
            raise NetworkError(
                say(
                    "the wheels of {name} cannot be had: {where} does not answer",
                    name=name,
                    where=where,
                )
            )
        return {"extra_index_url": url, "only_binary": name}

    def _install(self, requirements: Sequence[str], **options: Any) -> None:
        argv = self._wanted.installer.install(self._python, requirements, **options)
        url = options.get("index_url")
        words = say("install {requirements}", requirements=", ".join(requirements))
        if url:
            words += say(" from {url}", url=failure.without_credentials(url))
        self._do(words, argv)

    def _prove(self) -> list[str]:
        """Run the probe and return what it found out.

        Raises:
            EnvironmentFault: it failed, so the environment would not work.
        """
        script = PROBES / f"{self._variant.probe}.py"
        argv = [str(self._python), "-I", str(script), *self._variant.probe_arguments]
        offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        self._do(say("prove that it works"), argv, offline, timeout_s=PROBE_TIMEOUT_S)
        if not self._proof:
            raise EnvironmentFault(
                say("the probe {probe} proved nothing", probe=self._variant.probe)
            )
        return self._proof

    def _hear(self, line: str) -> None:
        """Keep what is proven, and pass the line on."""
        if line.startswith(PROVEN):
            self._proof.append(line.removeprefix(PROVEN))
        self._on_event(ToolSaid(line))

    def _do(
        self,
        title: str,
        argv: Sequence[str],
        environ: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Run one step.

        Raises:
            QtoolError: it failed; carries the last lines and the path of the log.
        """
        self._index += 1
        self._on_event(StepStarted(self._index, self._total, title))
        code, lines = run(
            argv,
            log=self._log,
            on_line=self._hear,
            environ={**self._environ, **(environ or {})},
            held=[self._lock.fd],
            timeout_s=timeout_s,
        )
        if code:
            raise failure.of_step(title, code, lines, Path(self._log.name), self._wanted.order.name)

    def _versions(self) -> dict[str, Any]:
        """Ask the environment for its Python's version and its distributions."""
        argv = [str(self._python), "-I", str(PROBES / "versions.py")]
        try:
            done = subprocess.run(
                argv, capture_output=True, stdin=subprocess.DEVNULL, check=True, env=self._environ
            )
            return dict(json.loads(done.stdout))
        except (OSError, ValueError, subprocess.CalledProcessError) as exc:
            fault = say("the new environment's Python does not work: {why}", why=exc)
            raise EnvironmentFault(fault) from exc


@contextlib.contextmanager
def _log_file(folder: Path, name: str) -> Iterator[IO[bytes]]:
    """Open a log that is deleted if all goes well."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"env-{name}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}.log"
    with path.open("wb") as log:
        yield log
    path.unlink()


def _size_of(folder: Path) -> int:
    """Return the bytes of all files below ``folder``, links not followed."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118 - 60,000 files
    return total
