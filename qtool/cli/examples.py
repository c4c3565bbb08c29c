"""Examples of every command, for its ``--help``: what is typed behind ``qtool``, what it does."""

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "download": (
        ("download org/name-GGUF:Q4_K_M", "One quantization of a GGUF repository."),
        ("download org/name --include '*.json' --dry-run", "What would be fetched."),
        ("download org/name --verify", "Read what is there, and say what is wrong."),
        ("download org/data --dataset", "A data set."),
    ),
    "doctor": (
        ("doctor", "This machine and the active environment."),
        ("doctor ./model", "And whether it runs this model."),
        ("doctor --goal gptq --fix", "Cure the environment: shows the plan, then asks."),
    ),
    "find": (
        ("find org/name", "Its quantized variants, and what fits here."),
        ("find org/name --format gguf", "Those in GGUF, each quantization."),
    ),
    "models": (
        ("models", "What is here, the largest first."),
        ("models remove org/name", "Shows it, asks, removes it."),
    ),
    "chat": (
        ("chat ./model.gguf", "A conversation."),
        ("chat starter -p 'What is the capital of France?'", "One answer."),
        ("chat org/name-GGUF:Q4_K_M", "Fetch it first, if need be."),
        ("chat -c", "Go on with the last conversation."),
    ),
    "repack": (
        ("repack ./model-GPTQ", "Into the cache, for qtool chat."),
        ("repack ./model-GPTQ -o model.gguf", "For other programs."),
    ),
    "serve": (
        ("serve ./model.gguf", "Prints the address and the key."),
        ("serve --list", "Engines that were kept alive."),
    ),
    "env": (
        ("env create transformers", "For GPTQ, AWQ and plain checkpoints."),
        ("env list", "What there is."),
    ),
    "config": (
        ("config show", "Every setting, and where it comes from."),
        ("config set download.connections 8", "Write one to config.toml."),
        ("config path", "Where that file is."),
    ),
}
