"""Passwords and tokens, blotted out wherever a text may hold them."""

import re

# Up to the last "@", for passwords may hold "@" and "/" unescaped.
_IN_ADDRESS = re.compile(r"(?<=://)(?:[^\s/:@]*:(?!\d+/|//)\S+|[^\s/]*)@")
# A proxy may lack its scheme; only of a variable's value is it known to be an address.
_WITHOUT_SCHEME = re.compile(r"^[^\s/:@]+:(?!\d+/|//)\S+@")
_IN_PARAMETER = re.compile(
    r"(?i)((?:token|key|password|passwd|secret|sig|signature|credential|auth)=)[^&\s]+"
)
# Hugging Face, GitHub, GitLab, OpenAI and its like; hf_transfer is a package.
_TOKEN = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:hf|api_org|gh[oprsu])_[A-Za-z0-9]{12,}"
    r"|github_pat_\w{12,}|glpat-[\w-]{12,}|sk-[\w-]{16,})"
)


def blot_secrets(text: str) -> str:
    """Replace user names and passwords in addresses, and tokens in parameters, of one setting."""
    return without_secrets(_WITHOUT_SCHEME.sub("***@", text))


def without_secrets(text: str) -> str:
    """Replace what is a secret in any text: in addresses, in parameters, tokens by their form."""
    text = _IN_PARAMETER.sub(r"\1***", _IN_ADDRESS.sub("***@", text))
    return _TOKEN.sub("***", text)
