"""The failure of all the hubs that were asked: each with its reason, and what else there is."""

from collections.abc import Mapping

from qtool.errors import NetworkError

MIRROR_URL = "https://hf-mirror.com"


def no_hub_answers(question: str, reasons: Mapping[str, str]) -> NetworkError:
    """Return the failure; ``reasons`` are messages by the URL of the hub, in the order asked.

    The hint recommends none of them: they have just failed.
    """
    lines = [f"  {url}: {reason.removeprefix(f'{url} ')}" for url, reason in reasons.items()]
    if MIRROR_URL in reasons:
        other = "name a hub that can be reached from here: export HF_ENDPOINT=URL"
    else:
        other = f"try a mirror: export HF_ENDPOINT={MIRROR_URL}"
    return NetworkError(
        "\n".join([f"no hub {question}:", *lines]),
        hint=f"check the connection and the proxy, or {other};"
        " a small model comes without a hub: qtool chat starter",
    )
