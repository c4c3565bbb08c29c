"""The second host: signed links that expire, and the bytes behind them."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from tests.hub.access import Refusal
from tests.hub.repository import RepoFile
from tests.hub.responses import FilePart, Response, file_response
from tests.hub.wire import Request

AMZ_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class LinkSigner:
    """Makes links that name repository and file in a signed policy, and reads them back."""

    secret: bytes
    ttl_s: float

    def link(self, base_url: str, repo_id: str, file: RepoFile) -> str:
        expires = int(time.time() + self.ttl_s)
        statement = {"repo": repo_id, "path": file.path, "sha256": file.blob.sha256, "exp": expires}
        policy = base64.urlsafe_b64encode(json.dumps(statement).encode()).decode()
        key = hashlib.sha256(repo_id.encode()).hexdigest()
        name = quote(file.path.rpartition("/")[2])
        query = (
            f"X-Amz-Algorithm={AMZ_ALGORITHM}&X-Amz-Expires={int(self.ttl_s)}"
            f"&response-content-disposition={quote(f'inline; filename*=UTF-8{chr(39) * 2}{name};')}"
            f"&Expires={expires}&Policy={quote(policy)}&Signature={self._sign(policy)}"
            "&Key-Pair-Id=TESTKEY"
        )
        return f"{base_url}/repos/{key[:2]}/{key[2:4]}/{key}/{file.blob.sha256}?{query}"

    def read(self, query: Mapping[str, str]) -> dict[str, str] | None:
        """The statement of a link that is genuine and has not expired, else None."""
        policy = query.get("Policy", "")
        if not hmac.compare_digest(self._sign(policy), query.get("Signature", "")):
            return None
        statement: dict[str, str] = json.loads(base64.urlsafe_b64decode(policy))
        return statement if float(statement["exp"]) > time.time() else None

    def _sign(self, policy: str) -> str:
        return hmac.new(self.secret, policy.encode(), "sha256").hexdigest()


def expired_response() -> Response:
    """What an object store answers when the signature of a link has run out."""
    body = (
        b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code>'
        b"<Message>Request has expired</Message></Error>"
    )
    return Response(403, [("Content-Type", "application/xml")], body)


@dataclass(frozen=True, slots=True)
class CdnSite:
    """Serves blobs to holders of a signed link. ``find_file`` takes (repo_id, path, sha256)."""

    signer: LinkSigner
    find_file: Callable[[str, str, str], RepoFile | None]

    def respond(self, request: Request) -> Response:
        statement = self.signer.read(request.query)
        if statement is None:
            raise Refusal(expired_response())
        file = self.find_file(statement["repo"], statement["path"], statement["sha256"])
        if file is None:
            raise Refusal(Response(404, [("Content-Type", "application/xml")], b"<Error/>"))
        size = file.size_bytes
        part = FilePart(statement["repo"], file.path, file.blob.content, size, 0, size)
        # A store's ETag is its own, not the sha256 that the hub announced.
        etag = hashlib.md5(statement["sha256"].encode(), usedforsecurity=False).hexdigest()
        return file_response(request, part, etag, [("Cache-Control", "public, max-age=604800")])
