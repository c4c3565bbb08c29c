"""How faults change a response before it is sent; those of the body strike in ``delivery``."""

from collections.abc import Callable
from dataclasses import replace

from tests.hub.cdn import expired_response
from tests.hub.faults import Fault, FaultKind
from tests.hub.responses import Response, error_response, redirect_response
from tests.hub.wire import Request

LOGIN_PAGE = b"""<!DOCTYPE html>
<html><head><title>Sign in to the network</title></head>
<body><form action="/login" method="post">Please sign in to use this network.</form></body></html>
"""
Alteration = Callable[[Response, Request, Fault], Response]


def unavailable(_response: Response, _request: Request, fault: Fault) -> Response:
    altered = error_response(503, "Service Unavailable")
    if fault.retry_after_s is not None:
        altered.headers.append(("Retry-After", str(fault.retry_after_s)))
    return altered


def rate_limited(_response: Response, _request: Request, fault: Fault) -> Response:
    altered = error_response(429, "We had to rate limit your IP.")
    seconds = 1 if fault.retry_after_s is None else fault.retry_after_s
    altered.headers.append(("Retry-After", str(seconds)))
    return altered


def any_status(_response: Response, _request: Request, fault: Fault) -> Response:
    return error_response(fault.status, f"fault {fault.status}")


def expired(_response: Response, _request: Request, _fault: Fault) -> Response:
    return expired_response()


def login_page(_response: Response, _request: Request, _fault: Fault) -> Response:
    return Response(200, [("Content-Type", "text/html; charset=utf-8")], LOGIN_PAGE)


def redirect_loop(_response: Response, request: Request, _fault: Fault) -> Response:
    return redirect_response(request.target)


def redirect_host(_response: Response, request: Request, fault: Fault) -> Response:
    return redirect_response(fault.target.rstrip("/") + request.target)


def short_length(response: Response, _request: Request, fault: Fault) -> Response:
    """Announce and send less than was asked for; Content-Range still names all of it."""
    if response.part is None:
        response.body = response.body[: max(0, len(response.body) - fault.count)]
    else:
        stop = max(response.part.start, response.part.stop - fault.count)
        response.part = replace(response.part, stop=stop)
    return response


def long_length(response: Response, _request: Request, fault: Fault) -> Response:
    if response.part is None:
        response.body += b"\xff" * fault.count
    else:
        response.padding = b"\xff" * fault.count
    return response


def broken_length(response: Response, _request: Request, fault: Fault) -> Response:
    response.set_header("Content-Length", str(response.length + fault.count))
    response.set_header("Connection", "close")
    return response


def ignore_range(response: Response, _request: Request, _fault: Fault) -> Response:
    if response.part is not None:
        response.status = 200
        response.set_header("Content-Range", None)
        response.part = replace(response.part, start=0, stop=response.part.size_bytes)
    return response


def wrong_range(response: Response, _request: Request, fault: Fault) -> Response:
    if response.part is not None:
        _shift(response, fault.count)
        part = response.part
        value = f"bytes {part.start}-{part.stop - 1}/{part.size_bytes}"
        response.set_header("Content-Range", value)
    return response


def misplaced(response: Response, _request: Request, fault: Fault) -> Response:
    _shift(response, fault.count)
    return response


def _shift(response: Response, count: int) -> None:
    """Move the part by ``count`` bytes, backwards where there is no room, at equal length."""
    part = response.part
    if part is None:
        return
    length = part.stop - part.start
    forward = min(part.start + count, part.size_bytes - length)
    start = forward if forward != part.start else max(0, part.start - count)
    response.part = replace(part, start=start, stop=start + length)


def wrong_total(response: Response, _request: Request, fault: Fault) -> Response:
    value = response.header("Content-Range")
    if value is not None:
        span, _, total = value.partition("/")
        response.set_header("Content-Range", f"{span}/{int(total) + fault.count}")
    return response


def changed_etag(response: Response, _request: Request, fault: Fault) -> Response:
    for name in ("ETag", "X-Linked-ETag"):
        if response.header(name) is not None:
            response.set_header(name, f'"{fault.count:064x}"')
    return response


def chunked(response: Response, _request: Request, _fault: Fault) -> Response:
    response.set_header("Transfer-Encoding", "chunked")
    return response


ALTERATIONS: dict[FaultKind, Alteration] = {
    FaultKind.UNAVAILABLE: unavailable,
    FaultKind.RATE_LIMITED: rate_limited,
    FaultKind.STATUS: any_status,
    FaultKind.EXPIRED: expired,
    FaultKind.LOGIN_PAGE: login_page,
    FaultKind.REDIRECT_LOOP: redirect_loop,
    FaultKind.REDIRECT_HOST: redirect_host,
    FaultKind.SHORT_LENGTH: short_length,
    FaultKind.LONG_LENGTH: long_length,
    FaultKind.BROKEN_LENGTH: broken_length,
    FaultKind.IGNORE_RANGE: ignore_range,
    FaultKind.WRONG_RANGE: wrong_range,
    FaultKind.MISPLACED: misplaced,
    FaultKind.WRONG_TOTAL: wrong_total,
    FaultKind.CHANGED_ETAG: changed_etag,
    FaultKind.CHUNKED: chunked,
}


def alter_response(response: Response, request: Request, faults: list[Fault]) -> Response:
    """Apply the faults that change a response as a whole, in the order they were added."""
    for fault in faults:
        alteration = ALTERATIONS.get(fault.kind)
        if alteration is not None:
            response = alteration(response, request, fault)
    return response
