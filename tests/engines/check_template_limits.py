"""Renders hostile templates within the server's limits, and sound ones too.

Prints a JSON object: for each template whether it came out as it should. Runs in an environment
with jinja2.
"""

import json
import sys
import time
from pathlib import Path

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

sys.path.insert(0, str(Path(__file__).parents[2] / "qtool" / "engines"))
from transformers_server.template_limits import TooLong, limits

LIMIT_S = 0.5
REFUSED, TOO_LONG, TOO_LARGE = TemplateError, TooLong, MemoryError
DOUBLED = "{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}"
SQUARED = "{% for i in range(60) %}{% set n.x = n.x * n.x %}{% endfor %}"
HOSTILE = {
    "{{ ''.__class__.__mro__[1].__subclasses__() }}": REFUSED,
    "{{ cycler.__init__.__globals__['os'].popen('id') }}": REFUSED,
    "{{ self._TemplateReference__context.environ.__init__.__globals__ }}": REFUSED,
    "{% include '/etc/passwd' %}": (REFUSED, TypeError),
    "{{ messages.append(1) }}": REFUSED,
    "{% for i in range(10 ** 9) %}{% endfor %}": (REFUSED, OverflowError),
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}": TOO_LONG,
    "{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) }}": (RecursionError, REFUSED),
    "{{ 10 ** (10 ** 9) }}": REFUSED,
    "{% set n = namespace(x=7) %}" + SQUARED: REFUSED,
    "{{ 'a' * 10 ** 12 }}": REFUSED,
    "{{ [1] * 10 ** 12 }}": REFUSED,
    "{% set n = namespace(s='a') %}" + DOUBLED: (TOO_LARGE, TOO_LONG),
    "{{ 'a'|center(10000000000) }}": TOO_LARGE,
    "{{ '%10000000000d' % 1 }}": (TOO_LARGE, OverflowError, ValueError),
}
SOUND = {
    "{{ 'ab' * 3 }}{{ 6 * 7 }}{{ 2 ** 10 }}{{ 1.5 * 2 }}": "ababab4210243.0",
    "{% for m in messages %}{{ m.role * 2 }}{% endfor %}": "useruser",
}


def outcome(template: str) -> object:
    """Return what the template renders, or the kind of its failure."""
    page = ImmutableSandboxedEnvironment()
    try:
        with limits(LIMIT_S):
            return page.from_string(template).render(messages=[{"role": "user"}])
    except (Exception, TooLong) as exc:
        return type(exc)


def is_stopped(template: str, kinds: "type | tuple[type, ...]") -> bool:
    """Tell whether the template failed as it should, and soon."""
    started_at = time.monotonic()
    result = outcome(template)
    is_soon = time.monotonic() - started_at < LIMIT_S + 20
    return is_soon and isinstance(result, type) and issubclass(result, kinds)


def main() -> None:
    done = {template: is_stopped(template, kinds) for template, kinds in HOSTILE.items()}
    done |= {template: outcome(template) == text for template, text in SOUND.items()}
    print(json.dumps(done))


if __name__ == "__main__":
    main()
