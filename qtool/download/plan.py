"""Which files of a repository are wanted. Pure."""

import shlex
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from qtool.download.layout import is_state_of_client
from qtool.errors import IntegrityError, NotFoundError
from qtool.hub.paths import check_path, has_control, printable
from qtool.hub.repo import Listing, RemoteFile
from qtool.models.quants import (
    GgufRole,
    GgufVariant,
    favourite_label,
    group_gguf,
    select_quant,
)

_OTHER_FRAMEWORKS = ("*.h5", "*.msgpack", "*.ot", "*.tflite", "*.mlmodel", "*.onnx", "*.onnx_data")
_TORCH_PICKLES = (
    "pytorch_model*.bin",
    "model*.bin",
    "diffusion_pytorch_model*.bin",
    "*.pth",
    "*.pt",
    "*.ckpt",
    "pytorch_model.bin.index.json",
)
_DUPLICATE_FOLDERS = ("onnx", "original", "openvino", "coreml")

# Small, fast, and close to the original: what most people take.
USUAL_QUANT = "Q4_K_M"


@dataclass(frozen=True, slots=True)
class Selection:
    """What the user asked for. Without any of it: everything but duplicates of the weights.

    ``usual_quant`` (a label, or a file's name) is taken of several in GGUF when none is named, or
    what comes next to Q4_K_M when that is not among them.
    """

    files: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    quant: str | None = None
    usual_quant: str = USUAL_QUANT


@dataclass(frozen=True, slots=True)
class Plan:
    """The files to have; ``left_out`` are paths left out unasked, ``notes`` say why."""

    files: tuple[RemoteFile, ...]
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Return the size of all files."""
        return sum(file.size_bytes for file in self.files)


def plan(listing: Listing, selection: Selection) -> Plan:
    """Return the files of ``listing`` that ``selection`` asks for.

    Raises NotFoundError when a named file or quantization is not there or nothing matches, and
    IntegrityError when a wanted file's name is not safe to write.
    """
    own = [file for file in listing.files if not is_state_of_client(file.path)]
    if selection.files:
        chosen = Plan(tuple(_named(own, selection.files, listing)))
    elif selection.quant:
        chosen = Plan(_of_quant(own, selection.quant, listing))
    elif selection.include:
        chosen = Plan(tuple(own))
    else:  # who excludes something does not ask for all that is left
        rest = filter_by_globs(own, (), selection.exclude)
        chosen = _without_alternatives(rest, selection.usual_quant)
    wanted = filter_by_globs(chosen.files, selection.include, selection.exclude)
    if not wanted and listing.files:
        repo_id = listing.repo.repo_id
        raise NotFoundError(
            f"no file of {repo_id} matches",
            hint=f"qtool download {shlex.quote(repo_id)} --dry-run   # lists the files",
        )
    check_paths(wanted)
    return replace(chosen, files=tuple(wanted))


def plan_recorded(listing: Listing, selection: Selection) -> Plan:
    """Return the files of a listing made of what was fetched: all, where nothing is chosen.

    Raises what ``plan`` raises.
    """
    if selection != Selection():
        return plan(listing, selection)
    check_paths(listing.files)
    return Plan(listing.files)


def plan_check(
    listing: Listing, selection: Selection, is_there: Callable[[RemoteFile], bool]
) -> Plan:
    """Return the files to check: of several quantizations in GGUF those that are there.

    Raises what ``plan`` raises.
    """
    wanted = plan(listing, selection)
    if selection != Selection() or any(f.path.endswith(".safetensors") for f in listing.files):
        return wanted
    by_path = {file.path: file for file in listing.files}
    models = [one for one in group_gguf(by_path) if one.role is GgufRole.MODEL]
    absent = [one for one in models if not any(is_there(by_path[path]) for path in one.files)]
    if len(absent) == len(models):
        return wanted
    left_out = {path for variant in absent for path in variant.files}
    candidates = {*wanted.files, *(by_path[path] for one in models for path in one.files)}
    files = tuple(f for f in listing.files if f in candidates and f.path not in left_out)
    check_paths(files)
    return Plan(files, tuple(sorted(left_out)))


def filter_by_globs(
    files: Iterable[RemoteFile], include: Sequence[str], exclude: Sequence[str]
) -> list[RemoteFile]:
    """Return the files that match any of ``include`` (if given) and none of ``exclude``.

    As in huggingface_hub: case matters, ``*`` crosses folders, ``folder/`` means all below it.
    """
    wanted = [_folder_glob(glob) for glob in include]
    unwanted = [_folder_glob(glob) for glob in exclude]
    return [
        file
        for file in files
        if (not wanted or _matches(file.path, wanted)) and not _matches(file.path, unwanted)
    ]


def without_duplicates(
    files: Sequence[RemoteFile],
) -> tuple[list[RemoteFile], tuple[str, ...]]:
    """Return the files without second copies of weights, and the paths of those.

    Where a folder holds safetensors, the same weights as pickles or for other frameworks in it,
    and in ``onnx``, ``original`` and the like below it, are duplicates.
    """
    folders = {
        str(PurePosixPath(file.path).parent) for file in files if file.path.endswith(".safetensors")
    }
    duplicates = {file.path for file in files if _is_duplicate(file.path, folders)}
    kept = [file for file in files if file.path not in duplicates]
    return kept, tuple(sorted(duplicates))


def check_paths(files: Sequence[RemoteFile]) -> None:
    """Raise IntegrityError for names that are not safe to write, alone or together."""
    paths = {file.path for file in files}
    for path in paths:
        check_path(path)
        for parent in PurePosixPath(path).parents:
            if str(parent) in paths:
                raise IntegrityError(
                    f"the hub lists {str(parent)!r} both as a file and as a folder",
                    hint="name the files you need: qtool download REPO FILE…",
                )


def _of_quant(files: Sequence[RemoteFile], quant: str, listing: Listing) -> tuple[RemoteFile, ...]:
    """Return all parts of the GGUF model of one quantization."""
    repo_id = listing.repo.repo_id
    if not any(file.path.lower().endswith(".gguf") for file in files):
        raise NotFoundError(
            f"{repo_id} holds no GGUF, so there is no {quant} to choose",
            hint=f"qtool find {shlex.quote(repo_id)} --format gguf   # repositories that do",
        )
    # The others would be refused anyway, and must not stand in a message.
    printables = [file.path for file in files if not has_control(file.path)]
    variant = select_quant(group_gguf(printables), quant)
    if variant.missing:
        raise NotFoundError(
            f"{variant.title} is not complete on the hub: {', '.join(variant.missing)} missing",
            hint="choose another quantization: qtool download REPO --dry-run   # lists the files",
        )
    return tuple(file for file in files if file.path in variant.files)


def _without_alternatives(files: Sequence[RemoteFile], usual_quant: str) -> Plan:
    """Return the files of which one copy of the weights is left, where it is clear which."""
    kept, duplicates = without_duplicates(files)
    if duplicates:
        note = f"second copies of the weights left out: {_first_few(duplicates)}"
        return Plan(tuple(kept), duplicates, (note,))
    if any(file.path.endswith(".safetensors") for file in files):
        return Plan(tuple(kept))
    return _one_gguf(files, usual_quant)


def _first_few(paths: Sequence[str]) -> str:
    shown = ", ".join(printable(path) for path in paths[:3])
    return f"{shown} and {len(paths) - 3} more" if len(paths) > 3 else shown


def _one_gguf(files: Sequence[RemoteFile], usual_quant: str) -> Plan:
    """Return the files with one quantization of several: the usual one, or what comes nearest.

    All of them where that is not clear: of several models, or without names that tell.
    """
    models = [
        variant
        for variant in group_gguf(file.path for file in files)
        if variant.role is GgufRole.MODEL
    ]
    usual = _usual(models, usual_quant)
    if len(models) < 2 or usual is None:
        return Plan(tuple(files))
    others = {path for variant in models for path in variant.files} - set(usual.files)
    titles = ", ".join(printable(variant.title) for variant in models)
    return Plan(
        tuple(file for file in files if file.path not in others),
        tuple(sorted(others)),
        (f"{printable(usual.title)} taken out of {titles}; another one: REPO:QUANT",),
    )


def _usual(models: Sequence[GgufVariant], usual_quant: str) -> GgufVariant | None:
    complete = [variant for variant in models if not variant.missing]
    named = [one for one in complete if usual_quant in (one.quant, one.files[0])]
    if named:
        return named[0] if len(named) == 1 else None
    by_label = {one.quant: one for one in complete if one.quant is not None}
    label = favourite_label(by_label)
    return by_label[label] if label is not None and len(by_label) == len(models) else None


def _named(files: Sequence[RemoteFile], names: Sequence[str], listing: Listing) -> list[RemoteFile]:
    by_path = {file.path: file for file in files}
    if any(name not in by_path for name in names):
        raise _no_such_file(names, by_path, listing)
    return [by_path[name] for name in dict.fromkeys(names)]


def _no_such_file(names: Sequence[str], known: Collection[str], listing: Listing) -> NotFoundError:
    """Return the failure; its hint is the command with each slip mended, where each is clear."""
    from difflib import get_close_matches

    candidates = [path for path in known if path.isprintable()]
    meant = [
        [name] if name in known else get_close_matches(name, candidates, n=1, cutoff=0.75)
        for name in names
    ]
    repo_id = listing.repo.repo_id
    hint = f"qtool download {shlex.quote(repo_id)} --dry-run   # lists the files"
    if all(meant):
        files = [one for (one,) in meant]
        # Behind -- a name that begins with a hyphen is no option.
        mark = "-- " if any(one.startswith("-") for one in files) else ""
        hint = f"qtool download {mark}{shlex.join([repo_id, *files])}"
    missing = next(name for name in names if name not in known)
    return NotFoundError(f"{repo_id} has no file {missing!r}", hint=hint)


def _is_duplicate(path: str, safetensors_folders: set[str]) -> bool:
    pure = PurePosixPath(path)
    folder = str(pure.parent)
    if folder in safetensors_folders:
        return any(fnmatchcase(pure.name, glob) for glob in _TORCH_PICKLES + _OTHER_FRAMEWORKS)
    return any(
        parent.name in _DUPLICATE_FOLDERS and str(parent.parent) in safetensors_folders
        for parent in pure.parents
    )


def _folder_glob(glob: str) -> str:
    return f"{glob}*" if glob.endswith("/") else glob


def _matches(path: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(path, glob) for glob in globs)
