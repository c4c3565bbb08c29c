"""The loopback hub: a hub and its CDN on two ports of 127.0.0.1, in threads of this process."""

import secrets
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

from tests.hub.access import Gatekeeper
from tests.hub.cdn import CdnSite, LinkSigner
from tests.hub.content import Content
from tests.hub.faults import Fault, FaultKind, FaultTable, Role
from tests.hub.log import RequestLog, RequestRecord
from tests.hub.modelscope import ModelScopeSite
from tests.hub.repository import Repo
from tests.hub.server import Line, Server
from tests.hub.site import HubSite, HubStyle
from tests.hub.tls import Authority


class LoopbackHub:
    """A hub that serves ``repos`` between ``with`` and its end.

    ``rate_bytes_per_s`` (per connection), ``latency_s`` (per request) and ``max_connections`` hold
    for both ports; ``set_line`` changes them for one. ``tls`` may be True or an Authority that
    several hubs share. ``tokens`` maps tokens to the user names that ``Repo.readers`` lists.
    """

    def __init__(
        self,
        repos: Iterable[Repo] = (),
        *,
        tls: bool | Authority = False,
        tokens: Mapping[str, str] | None = None,
        style: HubStyle = HubStyle.HUGGINGFACE,
        rate_bytes_per_s: float | None = None,
        latency_s: float = 0.0,
        max_connections: int | None = None,
        over_limit_status: int = 503,
        page_size: int = 1000,
        link_ttl_s: float = 3600.0,
        has_xet: bool = False,
        port: int = 0,
        cdn_port: int = 0,
    ) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._authority = self._prepare_tls(tls)
        self._faults = FaultTable()
        self._log = RequestLog()
        signer = LinkSigner(secrets.token_bytes(16), link_ttl_s)
        self._site = HubSite(
            list(repos), Gatekeeper(dict(tokens or {})), signer, style, page_size, has_xet
        )
        cdn_site = CdnSite(signer, self._site.find_file)
        line = Line(rate_bytes_per_s, latency_s, max_connections, over_limit_status)
        is_modelscope = style is HubStyle.MODELSCOPE
        respond = ModelScopeSite(self._site).respond if is_modelscope else self._site.respond
        context = self._authority.server_context() if self._authority else None
        self._servers: dict[Role, Server] = {
            "hub": Server(
                "hub",
                respond,
                self._log,
                self._faults,
                line=line,
                port=port,
                tls=context,
            ),
            "cdn": Server(
                "cdn",
                cdn_site.respond,
                self._log,
                self._faults,
                line=line,
                port=cdn_port,
                tls=context,
            ),
        }
        scheme = "https" if self._authority else "http"
        self.url = self._site.hub_url = f"{scheme}://127.0.0.1:{self._servers['hub'].port}"
        self.cdn_url = self._site.cdn_url = f"{scheme}://127.0.0.1:{self._servers['cdn'].port}"

    def _prepare_tls(self, tls: bool | Authority) -> Authority | None:
        if tls is True:
            self._folder = tempfile.TemporaryDirectory(prefix="hub-")
            return Authority.create(Path(self._folder.name))
        return tls or None

    def start(self) -> None:
        for repo in self._site.repos:
            repo.hash_all()
        for server in self._servers.values():
            server.start()

    def close(self) -> None:
        """Stop serving; all threads have ended and all sockets are closed afterwards."""
        for server in self._servers.values():
            server.close()
        if self._folder is not None:
            self._folder.cleanup()

    def __enter__(self) -> "LoopbackHub":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def ca_file(self) -> Path | None:
        """The certificate clients must trust, None without TLS."""
        return self._authority.ca_file if self._authority else None

    # Behaviour

    def add_fault(self, fault: Fault) -> None:
        """Misbehave from now on as the fault says."""
        self._faults.add(fault)
        if fault.kind is FaultKind.DEAD and fault.times is None:
            for role in (fault.role,) if fault.role else ("hub", "cdn"):
                self.refuse(role)

    def clear_faults(self) -> None:
        """Behave again; dead ports revive."""
        self._faults.clear()
        for role in self._servers:
            self.revive(role)

    def refuse(self, role: Role) -> None:
        """Make a port refuse connections and end those it has."""
        self._servers[role].refuse()

    def revive(self, role: Role) -> None:
        self._servers[role].revive()

    def set_line(self, role: Role, line: Line) -> None:
        """Change rate, latency and connection cap of a port, for connections to come."""
        self._servers[role].line = line

    def add_repo(self, repo: Repo) -> None:
        repo.hash_all()
        self._site.repos.append(repo)

    def commit(self, repo_id: str, files: Mapping[str, Content], *, replace: bool = False) -> str:
        """Change a repository's main branch; returns the new commit's sha."""
        repo = next(repo for repo in self._site.repos if repo.repo_id == repo_id)
        return repo.commit(files, replace=replace)

    # Accounting

    @property
    def requests(self) -> list[RequestRecord]:
        """All requests since the last reset, of both ports, in order of arrival."""
        return self._log.records()

    def bytes_sent(self, path: str | None = None, role: Role | None = None) -> int:
        """Bytes of response bodies sent since the last reset."""
        return self._log.bytes_sent(path, role)

    @property
    def connections_peak(self) -> int:
        """The most connections open at once: the sum of both ports' peaks."""
        return self._log.connections()[1]

    def connections(self, role: Role | None = None) -> tuple[int, int, int]:
        """Connections of one port or both: (open now, most at once, accepted in all)."""
        return self._log.connections(role)

    def reset(self) -> None:
        """Forget requests and faults."""
        self._log.reset()
        self.clear_faults()
