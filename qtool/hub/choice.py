"""The choice among mirrors: all are asked for the repository at once, the first good answer wins.

The question is the one that a download begins with, so the choice costs no request of its own.
"""

import logging
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from qtool.errors import AuthError, NetworkError, NotFoundError, QtoolError, UsageError
from qtool.hub.client import HubClient
from qtool.hub.connection import AbortedError
from qtool.hub.endpoints import HubApi
from qtool.hub.listing import list_repo
from qtool.hub.ranking import Ranking
from qtool.hub.repo import Listing, RepoRef
from qtool.hub.unreachable import no_hub_answers

log = logging.getLogger(__name__)

DEADLINE_S = 3.0
"""Who has not begun to answer by then counts as unreachable."""
LONGEST_LISTING_S = 120.0
HEAD_START_S = 0.75
"""So long the mirror that was fastest last time has the field for itself."""
# So long better mirrors have when another was faster, or one has said no.
TIE_S = 0.15
SECOND_OPINION_S = 1.0
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Choice:
    """The listing to work by, who gave it, and the other mirrors in the order to try them.

    ``known`` holds what else came in meanwhile, by endpoint URL.
    """

    listing: Listing
    client: HubClient
    others: tuple[HubClient, ...] = ()
    known: Mapping[str, Listing] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Result:
    client: HubClient
    outcome: Listing | QtoolError
    seconds: float


def choose(clients: Sequence[HubClient], repo: RepoRef, ranking: Ranking | None = None) -> Choice:
    """Return the best of ``clients`` (in order of preference) for ``repo``.

    Raises NotFoundError or AuthError when a hub says so and none other has the repository,
    NetworkError that names each endpoint when none answers in three seconds.
    """
    by_url = {client.endpoint.url: client for client in clients}
    fastest = ranking.ranked(by_url) if ranking is not None else []
    order = [by_url[url] for url in dict.fromkeys([*fastest, *by_url])]
    race = _Race(order, repo, has_favourite=bool(fastest))
    try:
        choice = race.run()
    except NetworkError:
        if ranking is not None:
            ranking.forget()
        raise
    if ranking is not None and (not fastest or choice.client is not order[0]):
        ranking.remember(race.seconds())
    return choice


def list_on_first(clients: Sequence[HubClient], repo: RepoRef) -> Choice:
    """Return the listing of the first endpoint that has the repository, and those after it.

    Raises NotFoundError or AuthError when one says so and none after it has the repository,
    NetworkError when none answers; of several, one that names each.
    """
    failures: dict[str, QtoolError] = {}
    for index, client in enumerate(clients):
        try:
            return Choice(list_repo(client, repo), client, tuple(clients[index + 1 :]))
        except (NetworkError, NotFoundError, AuthError) as exc:
            log.debug("%s; trying the next endpoint", exc)
            failures[client.endpoint.url] = exc
    if not failures:
        raise UsageError("no endpoint is given", hint="--endpoint https://huggingface.co")
    for failure in failures.values():
        if len(failures) == 1 or not isinstance(failure, NetworkError):
            raise failure
    reasons = {url: failure.message for url, failure in failures.items()}
    raise no_hub_answers(f"gives {repo.repo_id}", reasons)


class _Race:
    """Asks in threads of their own: an answer that never comes must not hold anybody up."""

    def __init__(self, order: list[HubClient], repo: RepoRef, *, has_favourite: bool) -> None:
        self._order = order
        self._repo = repo
        self._queue: queue.SimpleQueue[_Result] = queue.SimpleQueue()
        self._results: dict[str, _Result] = {}
        self._begun_s = time.monotonic()
        self._n_started = 0
        self._has_favourite = has_favourite

    def run(self) -> Choice:
        """Return the winner. Raises what ``choose`` says."""
        self._start(1 if self._has_favourite else len(self._order))
        while True:
            self._collect()
            if (winner := self._winner()) is not None:
                return self._choice(winner)
            if self._n_started < len(self._order) and self._is_favourite_late():
                self._start(len(self._order))
            elif self._is_over():
                raise self._failure()

    def seconds(self) -> dict[str, float]:
        """Return how long those took that have answered well."""
        good = (one for one in self._results.values() if isinstance(one.outcome, Listing))
        return {one.client.endpoint.url: one.seconds for one in good}

    def _start(self, count: int) -> None:
        for client in self._order[self._n_started : count]:
            threading.Thread(target=self._ask, args=(client,), daemon=True).start()
        self._n_started = count

    def _ask(self, client: HubClient) -> None:
        begun_s = time.monotonic()
        outcome: Listing | QtoolError
        try:
            outcome = list_repo(client, self._repo)
        except AbortedError:
            outcome = NetworkError("stopped meanwhile")
        except QtoolError as exc:
            outcome = exc
        self._queue.put(_Result(client, outcome, time.monotonic() - begun_s))

    def _collect(self) -> None:
        try:
            result = self._queue.get(timeout=_POLL_S if not self._goods() else 0.01)
        except queue.Empty:
            return
        self._results[result.client.endpoint.url] = result
        log.debug("%s: %.3f s, %s", result.client.endpoint.url, result.seconds,
                  "good" if isinstance(result.outcome, Listing) else result.outcome)  # fmt: skip

    def _goods(self) -> list[_Result]:
        return [one for one in self._results.values() if isinstance(one.outcome, Listing)]

    def _winner(self) -> _Result | None:
        """Return the most preferred good answer once those preferred to it have had their time."""
        goods = self._goods()
        if not goods:
            return None
        best = min(goods, key=lambda one: self._order.index(one.client))
        preferred = self._order[: self._order.index(best.client)]
        pending = [one for one in preferred if one.endpoint.url not in self._results]
        is_late = self._elapsed_s() > goods[0].seconds + max(TIE_S, goods[0].seconds / 2)
        return best if not pending or is_late or self._has_favourite else None

    def _is_favourite_late(self) -> bool:
        is_silent = not self._order[0].has_answered and self._elapsed_s() > HEAD_START_S
        return bool(self._results) or is_silent

    def _is_over(self) -> bool:
        pending = [one for one in self._order if one.endpoint.url not in self._results]
        elapsed_s = self._elapsed_s()
        if not pending or elapsed_s > LONGEST_LISTING_S:
            return True
        if self._refusals() and elapsed_s > SECOND_OPINION_S:
            return not any(one.has_answered for one in pending)
        return elapsed_s > DEADLINE_S and not any(one.has_answered for one in pending)

    def _refusals(self) -> list[QtoolError]:
        """Return what hubs have said for good, the most preferred first."""
        errors = [self._results[c.endpoint.url].outcome for c in self._order
                  if c.endpoint.url in self._results
                  and c.endpoint.api is HubApi.HUGGING_FACE]  # fmt: skip
        return [one for one in errors if isinstance(one, NotFoundError | AuthError)]

    def _choice(self, winner: _Result) -> Choice:
        known = {
            one.client.endpoint.url: one.outcome
            for one in self._goods()
            if isinstance(one.outcome, Listing)
        }
        others = [client for client in self._order if client is not winner.client]
        others.sort(key=lambda client: client.endpoint.url not in known)
        return Choice(known.pop(winner.client.endpoint.url), winner.client, tuple(others), known)

    def _failure(self) -> QtoolError:
        if refusals := self._refusals():
            return refusals[0]
        reasons = {client.endpoint.url: self._reason(client) for client in self._order}
        return no_hub_answers(f"gives {self._repo.repo_id}", reasons)

    def _reason(self, client: HubClient) -> str:
        result = self._results.get(client.endpoint.url)
        if result is None:
            return f"no answer within {DEADLINE_S:.0f} s"
        if not isinstance(result.outcome, QtoolError):
            raise AssertionError(f"{client.endpoint.url} has answered well")
        return result.outcome.message

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._begun_s
