"""Sizes, durations and rates in the words of a person."""


def format_size(size_bytes: float) -> str:
    """Return ``size_bytes`` in decimal units as hubs and disks count them: ``98.4 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size_bytes) < 999.5:
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.3g} TB"


def format_duration(duration_s: float) -> str:
    """Return ``duration_s`` as a person would say it: ``0.4 s``, ``1 min 05 s``, ``2 h 03 min``."""
    if duration_s < 59.95:
        return f"{duration_s:.1f} s"
    minutes, seconds = divmod(round(duration_s), 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def parse_duration(text: str) -> float:
    """Return seconds for ``90s``, ``10m``, ``1.5h`` or a plain number.

    Raises:
        ValueError: anything else, or less than zero.
    """
    factors = {"s": 1, "m": 60, "h": 3600}
    number, factor = text.strip(), 1
    if number[-1:].lower() in factors:
        number, factor = number[:-1], factors[number[-1].lower()]
    try:
        duration_s = float(number) * factor
    except ValueError:
        raise ValueError(f"{text!r} is no duration, such as 10m") from None
    if not 0 <= duration_s < float("inf"):
        raise ValueError(f"{text!r} is no duration, such as 10m")
    return duration_s


def parse_rate(text: str) -> float:
    """Return bytes per second for ``5M``, ``800k``, ``1.5G`` or a plain number (decimal units).

    Raises:
        ValueError: anything else, or nothing above zero.
    """
    factors = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}
    number, unit = text.strip(), ""
    if number[-1:].lower() in ("k", "m", "g"):
        number, unit = number[:-1], number[-1].lower()
    try:
        rate = float(number) * factors[unit]
    except ValueError:
        raise ValueError(f"{text!r} is no rate, such as 5M") from None
    if not 0 < rate < float("inf"):
        raise ValueError(f"{text!r} is no rate above zero")
    return rate
