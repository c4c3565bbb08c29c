"""A model hub on 127.0.0.1 for tests and benches: real sockets, real ranges, real faults.

repo = Repo("org/name", {"config.json": b"{}", "model.gguf": Generated(64 << 20)})
with LoopbackHub([repo]) as hub:
    hub.add_fault(Fault(FaultKind.DROP, path="model.gguf", at=0.5))
    ...  # HF_ENDPOINT=hub.url
    assert hub.bytes_sent("model.gguf") <= 1.1 * (64 << 20)
"""

from tests.hub.content import Content, Generated, read_content
from tests.hub.faults import Fault, FaultKind, Role
from tests.hub.hub import LoopbackHub
from tests.hub.log import RequestRecord
from tests.hub.repository import Repo, folder_files
from tests.hub.server import Line
from tests.hub.site import HubStyle
from tests.hub.starter import starter_repo
from tests.hub.tls import Authority

__all__ = [
    "Authority",
    "Content",
    "Fault",
    "FaultKind",
    "Generated",
    "HubStyle",
    "Line",
    "LoopbackHub",
    "Repo",
    "RequestRecord",
    "Role",
    "folder_files",
    "read_content",
    "starter_repo",
]
