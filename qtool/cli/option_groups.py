"""Under which headings ``--help`` lists the options of commands that have many."""

_ENGINE = (
    *("--engine", "--engine-arg", "--env", "--python", "--ctx", "--gpu-layers", "--threads"),
    *("--cache-type", "--tensor-parallel-size", "--template", "--trust-remote-code"),
    "--trust-pickle",
)

OPTION_GROUPS: dict[str, dict[str, tuple[str, ...]]] = {
    "download": {
        "What to fetch": ("--include", "--exclude", "--revision", "--repo-type", "--dataset"),
        "Where it goes": ("--local-dir", "--cache"),
        "How": (
            *("--endpoint", "--connections", "--jobs", "--limit-rate", "--token", "--backend"),
            *("--dry-run", "--force"),
        ),
        "What is there": ("--verify", "--repair"),
    },
    "chat": {
        "Conversation": (
            *("--prompt", "--system", "--input", "--output", "--history", "--continue"),
            *("--overflow", "--raw"),
        ),
        "Display": ("--stream", "--plain", "--think", "--lang", "--verbose"),
        "Sampling": (
            *("--max-new-tokens", "--temperature", "--top-p", "--top-k", "--min-p"),
            *("--repeat-penalty", "--seed", "--stop"),
        ),
        "Engine": (*_ENGINE, "--keep-alive"),
        "A server elsewhere": ("--endpoint", "--model", "--api-key-file"),
    },
    "serve": {
        "Server": ("--host", "--port", "--list", "--stop"),
        "Engine": _ENGINE,
    },
}
"""By command and heading, long names; what is in none stands under ``Options`` at the end."""
