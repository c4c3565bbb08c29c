"""A certificate authority for tests, whose certificate clients are told to trust."""

import ssl
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Authority:
    """A test CA on disk: ``ca_file`` for clients, ``server_file`` (chain and key) for servers.

    Hubs that share one are all trusted through one file, as SSL_CERT_FILE asks for.
    """

    ca_file: Path
    server_file: Path

    @classmethod
    def create(cls, folder: Path) -> "Authority":
        """Make a CA and a certificate for localhost and 127.0.0.1 below ``folder``."""
        import trustme

        authority = trustme.CA()
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        created = cls(folder / "ca.pem", folder / "server.pem")
        authority.cert_pem.write_to_path(str(created.ca_file))
        certificate.private_key_and_cert_chain_pem.write_to_path(str(created.server_file))
        return created

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server_file)
        return context
