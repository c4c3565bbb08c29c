"""Questions to a hub's API: redirects by hand, bounded retries, JSON with a limit."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from qtool.errors import NetworkError
from qtool.hub.connection import WIRE_ERRORS, ConnectionPool
from qtool.hub.endpoints import OFFICIAL_URL, Endpoint
from qtool.hub.exchange import Exchange
from qtool.hub.headers import Headers
from qtool.hub.origin import Origin, redact
from qtool.hub.proxies import ProxyFailure
from qtool.hub.refusals import BUSY_STATUSES, REDIRECT_STATUSES, refusal, retry_after_s
from qtool.hub.repo import RepoRef
from qtool.hub.unreachable import MIRROR_URL, reason_of

log = logging.getLogger(__name__)

MAX_REDIRECTS = 5
MAX_ANSWER_BYTES = 64 * 1024 * 1024
ATTEMPTS = 4
LONGEST_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON answer and the headers that came with it."""

    data: Any
    headers: Headers
    url: str


class HubClient:
    """One endpoint with the user's token. Thread-safe.

    ``has_answered`` becomes True with the first response, whatever it says.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        endpoint: Endpoint,
        token: str | None = None,
        *,
        attempts: int = ATTEMPTS,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self.pool = pool
        self.endpoint = endpoint
        self.has_answered = False
        self._user_token = token
        self._origin = Origin.of(endpoint.url)
        self._attempts = attempts
        self._pause = pause

    @property
    def has_token(self) -> bool:
        """Return whether requests to the endpoint carry a token."""
        return self._token is not None

    @property
    def _token(self) -> str | None:
        return self._user_token if self.endpoint.is_trusted_with_token else None

    def headers_for(self, url: str) -> dict[str, str]:
        """Return the token's header for a URL of the endpoint itself, nothing for any other."""
        if self._token is None or Origin.of(url) != self._origin:
            return {}
        return {"Authorization": f"Bearer {self._token}"}

    def get_json(self, url: str, repo: RepoRef) -> Answer:
        """Return the parsed answer.

        Raises NotFoundError and AuthError as the hub says, NetworkError when it does not answer
        in a few attempts or answers with something else than JSON.
        """
        for attempt in range(self._attempts):
            is_last = attempt == self._attempts - 1
            wait_s = 0.5 * 2**attempt
            try:
                exchange, final_url = self.follow(url)
            except WIRE_ERRORS as exc:
                if is_last or is_hopeless(exc) or self._is_probably_http(exc):
                    raise unreachable(self.endpoint, exc) from exc
                log.debug("%s: %s; again in %.1f s", redact(url), exc, wait_s)
            else:
                if exchange.status not in BUSY_STATUSES or is_last:
                    return self._parse(exchange, final_url, repo)
                wait_s = max(wait_s, retry_after_s(exchange.headers) or 0.0)
                exchange.close()
                if wait_s > LONGEST_WAIT_S:
                    return self._parse(exchange, final_url, repo)
                log.debug("%s: %s; again in %.1f s", redact(url), exchange.status, wait_s)
            self._pause(wait_s)
        raise AssertionError("the last attempt returns or raises")

    def _is_probably_http(self, exc: BaseException) -> bool:
        """Tell whether a neighbour that does not answer in TLS is one that speaks plain HTTP."""
        return self.endpoint.is_near and isinstance(exc, TimeoutError) and "handshake" in str(exc)

    def follow(self, url: str, headers: Mapping[str, str] | None = None) -> tuple[Exchange, str]:
        """Send a GET, follow redirects, return the exchange and the address that answered.

        The token is sent to the endpoint's own origin only, also along redirects.
        """
        for _ in range(MAX_REDIRECTS + 1):
            own = {**(headers or {}), **self.headers_for(url)}
            exchange = self.pool.get(url, own, response_timeout_s=15.0)
            self.has_answered = True
            if exchange.headers.get("X-Xet-Hash"):
                log.debug("%s offers a xet store, which is not used: HTTP it is", redact(url))
            location = exchange.headers.get("Location")
            if exchange.status not in REDIRECT_STATUSES or not location:
                return exchange, url
            exchange.close()
            url = self._joined(url, location)
        raise NetworkError(
            f"{self.endpoint.url} redirects in circles: {redact(url)}",
            hint="try another endpoint: --endpoint URL",
        )

    def _joined(self, url: str, location: str) -> str:
        try:
            return urljoin(url, location)
        except ValueError as exc:
            raise NetworkError(
                f"{self.endpoint.url} redirects to what is no address: {redact(location)[:200]!r}"
            ) from exc

    def _parse(self, exchange: Exchange, url: str, repo: RepoRef) -> Answer:
        if exchange.status != 200:
            exchange.close()
            raise refusal(
                exchange.status, exchange.headers, self.endpoint, repo, has_token=self.has_token
            )
        try:
            body = exchange.read_all(MAX_ANSWER_BYTES)
        except WIRE_ERRORS as exc:
            raise unreachable(self.endpoint, exc) from exc
        try:
            return Answer(json.loads(body), exchange.headers, url)
        except (ValueError, RecursionError) as exc:
            raise self._not_json(body) from exc

    def _not_json(self, body: bytes) -> NetworkError:
        what = "a web page" if body.lstrip()[:1] == b"<" else "something that is not JSON"
        return NetworkError(
            f"{self.endpoint.url} answers with {what} where the hub's API should be",
            hint="a login page of the network, or not a hub: open the address in a browser, "
            "or try another --endpoint",
        )


def is_hopeless(exc: BaseException) -> bool:
    """Return whether trying again cannot help: a certificate that is not trusted."""
    import ssl

    return isinstance(exc, ssl.SSLCertVerificationError)


def untrusted(url: str, exc: BaseException) -> NetworkError:
    """Return the exception for a certificate that is not trusted."""
    return NetworkError(
        f"the certificate of {url} (or of where it sends us) is not trusted: {exc}",
        hint="behind a company proxy: SSL_CERT_FILE=/path/to/its-ca.pem qtool …",
    )


def unreachable(endpoint: Endpoint, exc: BaseException) -> NetworkError:
    """Return the exception for an endpoint with which no exchange is possible."""
    if is_hopeless(exc):
        return untrusted(endpoint.url, exc)
    reason = reason_of(exc)
    if isinstance(exc, ProxyFailure):
        return NetworkError(
            f"{endpoint.url}: {reason}",
            hint="check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY, or except the host by NO_PROXY",
        )
    return NetworkError(
        f"{endpoint.url} does not answer: {reason}",
        hint=f"check the connection, or try another endpoint: --endpoint {_other_than(endpoint)}",
    )


def _other_than(endpoint: Endpoint) -> str:
    """Return the hub to try where ``endpoint`` does not answer."""
    return MIRROR_URL if endpoint.url == OFFICIAL_URL else OFFICIAL_URL
