"""``qtool repack``: a GPTQ or AWQ model as GGUF for llama.cpp, without loss."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qtool.cli.options import Debug, Json, Quiet, make_output

if TYPE_CHECKING:
    from qtool.config import Config
    from qtool.engines.repack.run import RepackResult
    from qtool.engines.repack.store import Repacked, RepackStore
    from qtool.models.info import ModelInfo
    from qtool.output import Output

WORTH_TELLING_S = 1.0
"""A shorter time says nothing of the speed."""

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def repack(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A GPTQ or AWQ model: a folder, or a repository that was downloaded.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write this file, not into the cache.")
    ] = None,
    is_forced: Annotated[
        bool, typer.Option("--force", help="Let --output replace an older GGUF.")
    ] = False,
    is_embedding_q8: Annotated[
        bool, typer.Option("--embedding-q8", help="Round embedding and head to 8 bits: smaller.")
    ] = False,
    is_listing: Annotated[bool, typer.Option("--list", help="List what is in the cache.")] = False,
    is_pruning: Annotated[
        bool,
        typer.Option("--prune", help="Delete from the cache: MODEL's, or all whose model is gone."),
    ] = False,
    is_json: Json = False,
    is_quiet: Quiet = False,
    is_debug: Debug = False,
) -> None:
    """Turn a GPTQ or AWQ model into a GGUF for llama.cpp, without loss.

    The codes are moved, not made again. What has no exact form (act-order, odd group sizes,
    unknown architectures) is refused; `qtool chat --engine transformers` runs it.
    """
    from qtool.config import Config
    from qtool.engines.repack.store import RepackStore
    from qtool.errors import UsageError

    output = make_output(is_json, is_quiet, is_debug)
    config = Config()
    store = RepackStore(config.cache_dir())
    if is_listing + is_pruning > 1 or ((is_listing or is_pruning) and target is not None):
        raise UsageError("--list, --prune and --output exclude one another")
    if target is not None and target.exists() and not is_forced:
        raise UsageError(
            f"{target} is there already", hint="--force replaces it, if it is an older GGUF"
        )
    if is_listing:
        _list(output, store)
    elif is_pruning:
        _prune(output, store, None if model is None else _locate(model, config, output))
    elif model is None:
        raise UsageError("which model?", hint="qtool repack FOLDER, or qtool repack --list")
    else:
        _repack(output, store, _locate(model, config, output), target, is_embedding_q8)


def _locate(model: str, config: "Config", output: "Output") -> Path:
    from qtool.cli.hub_model import locate_here

    return locate_here(model, config, output).path


def _repack(
    output: "Output", store: "RepackStore", path: Path, target: Path | None, is_embedding_q8: bool
) -> None:
    from qtool.engines.repack.refusal import NotRepackable
    from qtool.engines.repack.run import repack
    from qtool.models.formats import inspect_model
    from qtool.models.local import title_of

    info = inspect_model(path)
    if target is not None and target.suffix.lower() != ".gguf":
        output.warn(f"{target} does not end in .gguf: llama.cpp's programs look for that")
    output.status(f"reading {title_of(path)} …")
    try:
        result = repack(
            info,
            store,
            target=target,
            is_embedding_q8=is_embedding_q8,
            on_progress=lambda done: output.status(f"repacking {title_of(path)}: {done:.0%}"),
        )
    except NotRepackable as exc:
        exc.hint = _way_to_run(info) or exc.hint
        raise
    finally:
        output.status()
    document = {
        "path": str(result.path),
        "is_new": result.is_new,
        "input_bytes": result.input_bytes,
        "output_bytes": result.output_bytes,
        "seconds": round(result.duration_s, 3),
    }
    lines = [str(result.path)] if output.mode == "quiet" else _lines(result)
    output.result(document, lines)


def _way_to_run(info: "ModelInfo") -> str | None:
    """Return the command that runs, as it is, what is not repacked; it may make an environment."""
    import os

    from qtool.doctor.environments import hint_for
    from qtool.engines.interpreters import find_python
    from qtool.engines.select import missing_packages
    from qtool.models.info import ModelFormat
    from qtool.nvidia import has_nvidia_gpu

    if info.format is ModelFormat.GGUF:
        return None
    here = find_python(None, os.environ)
    if missing_packages(info, here.versions, has_gpu=has_nvidia_gpu(os.environ)):
        return hint_for(info, os.environ)
    return f"qtool chat {shlex.quote(str(info.path))} --engine transformers"


def _lines(result: "RepackResult") -> list[str]:
    from qtool.units import format_duration, format_size

    if not result.is_new:
        return [f"{result.path} is there already and up to date"]
    work = f"repacked {format_size(result.input_bytes)}"
    if result.duration_s >= WORTH_TELLING_S:
        rate = format_size(result.input_bytes / result.duration_s)
        work += f" in {format_duration(result.duration_s)} ({rate}/s)"
    return [f"{result.path}  {format_size(result.output_bytes)}", work]


def _list(output: "Output", store: "RepackStore") -> None:
    from qtool.cli.models_view import short_path
    from qtool.output import Mode
    from qtool.units import format_size

    found = list(store.all())
    is_quiet = output.mode is Mode.QUIET
    if found and is_quiet:
        lines = [str(one.path) for one in found]
    elif found:
        width = max(len(one.path.stem) for one in found)
        lines = [
            f"{format_size(one.size_bytes):>8}  {one.path.stem:<{width}}  {_origin(one)}"
            for one in found
        ]
        lines.append(f"kept in {short_path(store.folder)}")
    else:
        lines = (
            []
            if is_quiet
            else [f"nothing has been repacked yet; it would be kept in {store.folder}"]
        )
    output.result({"repacked": [_as_json(one) for one in found]}, lines)


def _origin(one: "Repacked") -> str:
    from qtool.cli.models_view import short_path

    if one.source is None:
        return "its origin is not known"
    return f"made of {short_path(one.source)}" + " (gone)" * one.is_orphan


def _prune(output: "Output", store: "RepackStore", folder: Path | None) -> None:
    from qtool.units import format_size

    source = folder.resolve() if folder is not None else None
    removed = [one for one in store.all() if (one.source == source if source else one.is_orphan)]
    for one in removed:
        store.remove(one)
    left_bytes = store.remove_leftovers() if source is None else 0
    freed = sum(one.size_bytes for one in removed) + left_bytes
    lines = [f"removed {one.path}  {format_size(one.size_bytes)}" for one in removed]
    if left_bytes:
        lines.append(f"removed unfinished files  {format_size(left_bytes)}")
    output.result(
        {"removed": [_as_json(one) for one in removed], "freed_bytes": freed},
        lines or ["nothing to remove"],
    )


def _as_json(one: "Repacked") -> dict[str, object]:
    return {
        "path": str(one.path),
        "size_bytes": one.size_bytes,
        "source": None if one.source is None else str(one.source),
        "is_orphan": one.is_orphan,
    }
