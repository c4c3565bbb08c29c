"""Names of servers in texts: public ones stay, for they matter; all others say whose they are."""

import re

PUBLIC_DOMAINS = (
    *("huggingface.co", "hf.co", "hf-mirror.com", "modelscope.cn", "modelscope.ai"),
    *("pytorch.org", "pypi.org", "pythonhosted.org", "python.org", "anaconda.org", "anaconda.com"),
    *("nvidia.com", "nvidia.cn", "github.com", "githubusercontent.com", "abetlen.github.io"),
    *("tuna.tsinghua.edu.cn", "mirrors.ustc.edu.cn", "mirror.sjtu.edu.cn", "mirrors.bfsu.edu.cn"),
    *("mirrors.aliyun.com", "mirrors.cloud.tencent.com", "repo.huaweicloud.com"),
)
"""Hubs, package indexes and their well-known mirrors, with everything below them."""
_LOOPBACK = frozenset(("localhost", "127.0.0.1", "[::1]", "::1", "0.0.0.0"))  # noqa: S104
_OF_ADDRESS = re.compile(r"(?<=://)([^\s/@]*@)?(\[[^\]\s]*\]|[^\s/:?#@*\"'<>\\,;)\]}`|]+)")
_VARIABLE = r"[A-Za-z_]*(?:PROXY|ENDPOINT|INDEX|_URL)"
_NAME = re.compile(_VARIABLE, re.IGNORECASE)
_IN_JSON = re.compile(rf'(?i)("{_VARIABLE}": ")([^"\n]*)')
_ASSIGNED = re.compile(rf"(?i)(\b{_VARIABLE}=)((?!\w+:)[\w*,-]+[.:][^\s\"']*)")
_WITHOUT_SCHEME = re.compile(r"([^\s/@]*@)?(\[[^\]\s]*\]|[^\s/:@]+)(.*)", re.DOTALL)
_BETWEEN = re.compile(r"([\s,;]+)")


def holds_addresses(variable: str) -> bool:
    """Tell whether an environment variable of that name holds servers, maybe without a scheme."""
    return _NAME.fullmatch(variable) is not None


def without_hosts(text: str) -> str:
    """Return ``text`` with ``<host>`` for every server in it that is neither public nor local."""
    text = _OF_ADDRESS.sub(lambda found: (found[1] or "") + _known(found[2]), text)
    text = _IN_JSON.sub(lambda found: found[1] + without_hosts_in(found[2]), text)
    return _ASSIGNED.sub(lambda found: found[1] + without_hosts_in(found[2]), text)


def without_hosts_in(value: str) -> str:
    """Do the same to the value of a variable that holds addresses, with a scheme or without."""
    words = _BETWEEN.split(_OF_ADDRESS.sub(lambda f: (f[1] or "") + _known(f[2]), value))
    return "".join(_bare(word) for word in words)


def _bare(word: str) -> str:
    if "://" in word or word.startswith(("/", "./", "../", "~", "<")) or not word.strip(" ,;*"):
        return word
    found = _WITHOUT_SCHEME.fullmatch(word)
    return (found[1] or "") + _known(found[2]) + found[3] if found else word


def _known(host: str) -> str:
    bare = host.lower().strip(".")
    is_public = any(bare == one or bare.endswith(f".{one}") for one in PUBLIC_DOMAINS)
    return host if is_public or bare in _LOOPBACK else "<host>"
