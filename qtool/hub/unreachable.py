"""Hubs that cannot be reached: why, in words, and what else there is."""

import os
from collections.abc import Mapping

from qtool.errors import NetworkError

MIRROR_URL = "https://hf-mirror.com"
WITHOUT_A_HUB = "; a small model comes without a hub: qtool chat starter"


def reason_of(exc: BaseException) -> str:
    """Return why nothing came of a connection, without numbers of the operating system."""
    import socket
    import ssl

    text = str(exc) or type(exc).__name__
    match exc:
        case socket.gaierror():
            return "its name cannot be looked up (no network, no DNS, or a typing error)"
        case ssl.SSLError(reason="WRONG_VERSION_NUMBER" | "HTTP_REQUEST"):
            return "it does not speak TLS (http:// in place of https://?)"
        case ssl.SSLError():
            return text
        case TimeoutError() if "handshake" in text:
            return "no TLS handshake in time (http:// in place of https://?)"
        case TimeoutError():
            return "no answer in time"
        case OSError(errno=int() as number) if number > 0:
            return os.strerror(number).lower()
    return text


def no_hub_answers(
    question: str, reasons: Mapping[str, str], *, instead: str = WITHOUT_A_HUB
) -> NetworkError:
    """Return the failure; ``reasons`` are messages by the URL of the hub, in the order asked.

    The hint recommends none of them: they have just failed. ``instead`` ends it.
    """
    lines = [f"  {url}: {reason.removeprefix(f'{url} ')}" for url, reason in reasons.items()]
    if MIRROR_URL in reasons:
        other = "name a hub that can be reached from here: export HF_ENDPOINT=URL"
    else:
        other = f"try a mirror: export HF_ENDPOINT={MIRROR_URL}"
    return NetworkError(
        "\n".join([f"no hub {question}:", *lines]),
        hint=f"check the connection and the proxy, or {other}{instead}",
    )
