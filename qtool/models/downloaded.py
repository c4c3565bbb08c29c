"""Folders that ``qtool download`` has made, found again by the name of their repository."""

from pathlib import Path

from qtool.models.hub_cache import find_in_folder
from qtool.models.reference import Reference
from qtool.models.refetch import Source, noted_source


def find_downloaded(reference: Reference, folder: Path) -> Path | None:
    """Return ``./<name>`` below ``folder``, or the file of it that ``reference`` names.

    ``None`` where it does not have that, or where qtool has not noted that it is that repository:
    a folder of the same name may be another organisation's, or anything else.
    """
    place = folder / (reference.repo_id or "").rpartition("/")[2]
    noted = noted_source(place)
    if noted is None or not _is_meant(reference, noted):
        return None
    return find_in_folder(reference, place)


def _is_meant(reference: Reference, noted: Source) -> bool:
    """Compare names as hubs do, in any case; without a revision the one that is here will do."""
    is_same = noted.repo_id.casefold() == (reference.repo_id or "").casefold()
    return is_same and reference.revision in (None, noted.revision)
