"""What qtool recorded of a target, in place of a hub's listing when no hub can be asked."""

from collections.abc import Callable

from qtool.download.layout import Layout
from qtool.download.target import Target
from qtool.download.verify import with_digest
from qtool.errors import NotFoundError
from qtool.hub.repo import Listing, RepoRef

MakeLayout = Callable[[Listing], Layout]


def recorded_listing(repo: RepoRef, make_layout: MakeLayout) -> Listing:
    """Return the files that the manifest of the target knows.

    Raises NotFoundError when there is no manifest, or an empty one.
    """
    unknown = Listing(repo, repo.revision, ())
    layout = make_layout(unknown)
    entries = Target.open(unknown, layout).manifest.entries()
    if not entries:
        raise NotFoundError(
            f"qtool has recorded nothing about {layout.root}",
            hint="check it against a hub, once: qtool download REPO --verify",
        )
    commit = layout.noted_commit() or entries[-1].commit
    files = tuple(with_digest(entry.path, entry.size, entry.digest) for entry in entries)
    return Listing(repo, commit, files)
