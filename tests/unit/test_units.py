import pytest

from qtool.units import format_duration, format_size, parse_duration, parse_rate


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (98_362_432, "98.4 MB"),
        (999_500_000, "1 GB"),
        (4_370_000_000, "4.37 GB"),
        (7e12, "7 TB"),
    ],
)
def test_size_is_decimal_with_three_digits(size_bytes: int, text: str):
    assert format_size(size_bytes) == text


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (65, "1 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7380, "2 h 03 min"),
    ],
)
def test_duration_has_no_sixty_seconds(duration_s: float, text: str):
    assert format_duration(duration_s) == text


@pytest.mark.parametrize(("text", "rate"), [("5M", 5e6), ("800k", 8e5), ("1.5G", 1.5e9), ("7", 7)])
def test_rate_is_parsed(text: str, rate: float):
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "M", "0", "-1M", "5MB/s", "nan", "inf"])
def test_wrong_rate_is_refused(text: str):
    with pytest.raises(ValueError):
        parse_rate(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), (" 5 ", 5), ("0", 0)]
)
def test_duration_is_read_with_its_unit(text: str, seconds: float):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "soon", "-1s", "nan", "inf", "5 parsecs"])
def test_duration_that_is_none_is_refused(text: str):
    with pytest.raises(ValueError, match="is no duration, such as 10m"):
        parse_duration(text)
