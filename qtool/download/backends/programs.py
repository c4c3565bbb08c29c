"""The programs there are, and whether one of them can serve a request."""

from qtool.download.backends.aria2c import Aria2c
from qtool.download.backends.hf_transfer import HfTransfer
from qtool.download.backends.program import Program
from qtool.download.request import Backend, DownloadRequest
from qtool.errors import UsageError
from qtool.hub.origin import Origin
from qtool.hub.proxies import Proxy, find_proxy


def find_program(backend: Backend) -> Program:
    """Return the program of a backend other than the native one."""
    match backend:
        case Backend.ARIA2C:
            return Aria2c()
        case Backend.HF_TRANSFER:
            return HfTransfer()
        case Backend.NATIVE:
            raise AssertionError("the native backend is no program")


def check_backend(request: DownloadRequest) -> None:
    """Raise EnvironmentFault or UsageError when the request's backend cannot serve it."""
    find_program(request.backend).check(request)
    for endpoint in request.endpoints:
        http_proxy_for(endpoint.url, request.backend)


def http_proxy_for(url: str, backend: Backend) -> Proxy | None:
    """Return the proxy for a URL. Raises UsageError when it is none that the backends speak to."""
    origin = Origin.of(url)
    proxy = find_proxy(origin.scheme, origin.host, origin.port)
    if proxy is not None and proxy.kind.is_socks:
        raise UsageError(
            f"{backend} cannot go through {proxy}", hint="leave --backend out: qtool itself can"
        )
    return proxy
