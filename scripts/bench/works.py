"""The works: what is measured, by whom, and what qtool promises there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from contest import GIB, MIB, Bar, Contest, hold, large, small
from kills import Survival, kill_and_resume, random_moments
from measure import Median
from peers import aria2c, curl, hf, hf_transfer, qtool

LINE_BYTES_PER_S = 4 * MIB
Medians = Mapping[str, Median]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a work brought: rows for the table, in its columns, and the bars."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    bars: tuple[Bar, ...]


def speed(n_runs: int) -> Outcome:
    """200 MiB over connections that bring 4 MiB/s each."""
    contest = Contest(
        "200 MiB, 4 MiB/s per connection",
        large(200 * MIB),
        (
            qtool("-x", "16", name="qtool -x16"),
            aria2c(16),
            qtool(name="qtool"),
            qtool("-x", "16", "--backend", "aria2c", name="qtool with aria2c"),
            hf_transfer(16),
            hf(max_runs=1),
        ),
        {"rate_bytes_per_s": LINE_BYTES_PER_S},
    )
    medians = hold(contest, n_runs)
    share = 200 * MIB / (16 * LINE_BYTES_PER_S) / medians["qtool -x16"].wall_s
    requests = medians["qtool -x16"].n_hub_requests
    bars = [
        Bar("-x 16: share of 16 x 4 MiB/s", f"{share:.1%}", "at least 95 %", share >= 0.95),
        Bar("requests to the hub, one large file", f"{requests:g}", "at most 2", requests <= 2),
    ]
    if "aria2c" in medians:
        aria_s = medians["aria2c"].wall_s
        bars += [
            _at_most("-x 16: time over aria2c -x16's", medians["qtool -x16"].wall_s / aria_s, 1.0),
            _at_least("automatic: speed over aria2c -x16's", aria_s / medians["qtool"].wall_s, 1.6),
        ]
    return _outcome(contest, medians, bars)


def gib_plain(n_runs: int) -> Outcome:
    """1 GiB as fast as the machine goes."""
    contest = _gib("1 GiB, plain", is_encrypted=False)
    medians = hold(contest, n_runs)
    return _outcome(contest, medians, _resource_bars(medians, has_cpu_bars=False))


def gib_tls(n_runs: int) -> Outcome:
    """1 GiB, encrypted."""
    contest = _gib("1 GiB, TLS", is_encrypted=True)
    medians = hold(contest, n_runs)
    return _outcome(contest, medians, _resource_bars(medians, has_cpu_bars=True))


def many_small(n_runs: int) -> Outcome:
    """400 files of 20 KB from a hub that takes 40 ms to answer."""
    peers = (qtool(), curl(50), aria2c(16), hf())
    contest = Contest("400 files of 20 KB, 40 ms", small(400, 20_000), peers, {"latency_s": 0.04})
    medians = hold(contest, n_runs)
    wall_s = medians["qtool"].wall_s
    bars = [
        Bar("400 small files", f"{wall_s:.2f} s", "under 1.0 s", wall_s < 1.0),
        _at_most("400 small files: time over hf's", wall_s / medians["hf"].wall_s, 1 / 6),
    ]
    return _outcome(contest, medians, bars)


def nothing(n_runs: int) -> Outcome:
    """400 files that are there already."""
    peers = (qtool(), hf())
    contest = Contest("nothing to do, 400 files", small(400, 20_000), peers, is_done_before=True)
    medians = hold(contest, n_runs)
    ours = medians["qtool"]
    bars = [
        Bar("nothing to do", f"{ours.wall_s:.2f} s", "at most 0.25 s", ours.wall_s <= 0.25),
        Bar("nothing to do: requests", f"{ours.n_hub_requests:g}", "1", ours.n_hub_requests == 1),
    ]
    return _outcome(contest, medians, bars)


def mirrors(n_runs: int) -> Outcome:
    """Two mirrors that allow 8 connections each, against one of them."""
    one, both = (
        Contest(
            "two mirrors, 8 connections of 4 MiB/s each",
            large(200 * MIB),
            (peer,),
            {"rate_bytes_per_s": LINE_BYTES_PER_S, "max_connections": 9},
            n_hubs,
        )
        for n_hubs, peer in (
            (1, qtool("-x", "8", name="qtool one")),
            (2, qtool("-x", "16", name="qtool both")),
        )
    )
    medians = {**hold(one, n_runs), **hold(both, n_runs)}
    gain = medians["qtool one"].wall_s / medians["qtool both"].wall_s
    return _outcome(both, medians, [_at_least("speed of two mirrors over one's", gain, 1.8)])


def kills(n_runs: int) -> Outcome:
    """200 MiB, killed at half, and by qtool at ten random moments; also as fast as it goes."""
    slow, fast = (
        Contest("200 MiB and kill -9", large(200 * MIB), (), {"rate_bytes_per_s": rate})
        for rate in (LINE_BYTES_PER_S, None)
    )
    at_half = (0.5,)
    found: dict[str, Survival] = {}
    for peer in (qtool(), aria2c(16), hf_transfer(16)):
        found[f"{peer.name}, at half"] = kill_and_resume(slow, peer, at_half)
    for peer in (qtool(), curl(), hf()):
        found[f"{peer.name}, full speed, at half"] = kill_and_resume(fast, peer, at_half)
    for number in range(n_runs):
        moments = random_moments(10, seed=number)
        found[f"qtool, at ten moments ({number + 1})"] = kill_and_resume(slow, qtool(), moments)
    # Not promised: what the kernel holds for each connection is lost ten times in half a second.
    frantic = kill_and_resume(fast, qtool(), random_moments(10, seed=0))
    ours = [survival for name, survival in found.items() if name.startswith("qtool")]
    found["qtool, full speed, at ten moments"] = frantic
    rows = tuple(
        (name, f"{s.factor:.3f}", "yes" if s.is_right else "NO", str(len(s.orphans)))
        for name, s in found.items()
    )
    worst = max(survival.factor for survival in ours)
    is_clean = all(s.is_right and not s.orphans for s in (*ours, frantic))
    bars = (
        Bar(
            "kill -9: bytes over the file's, at worst",
            f"{worst:.3f}",
            "at most 1.05",
            worst <= 1.05,
        ),
        Bar("kill -9: right, no orphans", "yes" if is_clean else "no", "every time", is_clean),
    )
    columns = ("killed", "bytes sent / size", "right", "orphans")
    return Outcome("200 MiB, kill -9 and again", columns, rows, bars)


def huge(n_runs: int) -> Outcome:
    """A file over 4 GiB, and a repository of 10,000 files."""
    single = Contest(
        "a file of 4.5 GiB", large(9 * GIB // 2), (qtool(name="qtool 4.5 GiB", max_runs=1),)
    )
    many = Contest(
        "10,000 files",
        small(10_000, 16),
        (
            qtool("--dry-run", name="plan of 10,000 files"),
            qtool(name="qtool 10,000 files", max_runs=1),
        ),
    )
    medians = {**hold(single, 1), **hold(many, n_runs)}
    peak = max(medians[name].peak_bytes for name in medians)
    plan_s = medians["plan of 10,000 files"].wall_s
    is_right = medians["qtool 4.5 GiB"].is_right and medians["qtool 10,000 files"].is_right
    bars = [
        Bar("huge: right", "yes" if is_right else "no", "yes", is_right),
        Bar("huge: peak memory", _mb(peak), "under 80 MB", peak < 80e6),
        Bar("10,000 files: listing and plan", f"{plan_s:.2f} s", "under 5 s", plan_s < 5),
    ]
    outcome = _outcome(single, medians, bars)
    return Outcome("a file over 4 GiB; 10,000 files", outcome.columns, outcome.rows, tuple(bars))


WORKS: dict[str, Callable[[int], Outcome]] = {
    "speed": speed,
    "plain": gib_plain,
    "tls": gib_tls,
    "small": many_small,
    "nothing": nothing,
    "mirrors": mirrors,
    "kills": kills,
    "huge": huge,
}


def _gib(title: str, *, is_encrypted: bool) -> Contest:
    peers = (qtool(), hf_transfer(16), aria2c(8), curl(), hf())
    return Contest(title, large(GIB), peers, {"tls": is_encrypted})


def _resource_bars(medians: Medians, *, has_cpu_bars: bool) -> list[Bar]:
    ours = medians["qtool"]
    bars = [Bar("1 GiB: peak memory", _mb(ours.peak_bytes), "under 60 MB", ours.peak_bytes < 60e6)]
    if has_cpu_bars:
        transfer, official = (medians[name].cpu_s for name in ("hf_transfer", "hf"))
        bars += [
            _at_most("1 GiB, TLS: CPU time over hf_transfer's", ours.cpu_s / transfer, 1.0),
            _at_most("1 GiB, TLS: CPU time over hf's", ours.cpu_s / official, 0.6),
        ]
    return bars


def _outcome(contest: Contest, medians: Medians, bars: list[Bar]) -> Outcome:
    columns = (
        "peer",
        "wall s",
        "CPU s",
        "peak MB",
        "hub requests",
        "bytes / size",
        "right",
        "runs",
    )
    size_bytes = sum(content.size_bytes for content in contest.files.values())  # type: ignore[union-attr]
    rows = tuple(
        (
            name,
            f"{m.wall_s:.2f}",
            f"{m.cpu_s:.2f}",
            f"{m.peak_bytes / 1e6:.0f}",
            f"{m.n_hub_requests:g}",
            f"{m.bytes_sent / size_bytes:.3f}",
            _right(name, m),
            str(m.n_runs),
        )
        for name, m in medians.items()
    )
    wrong = [name for name, m in medians.items() if name.startswith("qtool") and not m.is_right]
    if wrong:
        bars = [*bars, Bar(f"{contest.title}: right", ", ".join(wrong), "every time", False)]
    return Outcome(contest.title, columns, rows, tuple(bars))


def _right(name: str, median: Median) -> str:
    if name.startswith("plan"):
        return "-"
    return "yes" if median.is_right else "NO"


def _at_most(promise: str, ratio: float, limit: float) -> Bar:
    return Bar(promise, f"{ratio:.2f}", f"at most {limit:.2f}", ratio <= limit)


def _at_least(promise: str, ratio: float, limit: float) -> Bar:
    return Bar(promise, f"{ratio:.2f}", f"at least {limit:.2f}", ratio >= limit)


def _mb(n_bytes: float) -> str:
    return f"{n_bytes / 1e6:.0f} MB"
