from qtool.download.growth import Growth

MIB = 1024 * 1024


def grown(growth, rate_of, seconds, left_bytes=1000 * MIB, step_s=0.1):
    """Return the numbers of connections wanted over time; ``rate_of`` knows the line."""
    received, now, seen = 0.0, 0.0, []
    while now < seconds:
        seen.append(growth.observe(now, int(received), left_bytes))
        now += step_s
        received += rate_of(seen[-1]) * step_s
    return seen


def test_number_is_doubled_while_the_rate_follows():
    seen = grown(Growth(8, 32), lambda count: count * 4 * MIB, 1.0)
    assert seen[:2] == [8, 16]
    assert seen[4] == seen[-1] == 32


def test_number_goes_back_when_more_bring_nothing():
    seen = grown(Growth(8, 32), lambda count: 20 * MIB, 3.0)
    assert max(seen) == 16
    assert seen[-1] == 8


def test_number_ends_where_the_line_is_full():
    seen = grown(Growth(8, 32), lambda count: min(count, 16) * MIB, 5.0)
    assert seen[-1] == 16


def test_small_remainder_is_left_to_those_at_work():
    assert set(grown(Growth(8, 32), lambda count: count * MIB, 2.0, left_bytes=3 * MIB)) == {8}


def test_fast_connections_are_enough():
    assert set(grown(Growth(8, 32), lambda count: count * 40 * MIB, 2.0)) == {8}


def test_silence_is_no_reason_to_stop_growing():
    growth = Growth(8, 32)
    assert set(grown(growth, lambda count: 0, 3.0)) == {8}
    for step in range(1, 9):
        growth.observe(3.0 + step * 0.1, step * 4 * MIB * growth.wanted // 10, 1000 * MIB)
    assert growth.wanted > 8


def test_held_number_stays_for_a_while_and_is_tried_again_later():
    growth = Growth(8, 32)
    growth.hold(0.0)
    seen = grown(growth, lambda count: count * MIB, Growth.RETRY_S + 5)
    assert set(seen[: int(Growth.RETRY_S * 10) - 2]) == {8}
    assert seen[-1] == 32


def test_more_endpoints_bear_more_connections():
    growth = Growth(8, 32)
    growth.require(16)
    assert growth.wanted == 16
    growth.require(64)
    assert growth.wanted == 32


def test_more_are_asked_for_only_when_endpoints_are_added():
    growth = Growth(4, 32)
    assert grown(growth, lambda count: 400 * MIB, 2.0)[-1] == Growth.FEWEST
    growth.require(4)
    assert growth.wanted == Growth.FEWEST


def test_few_are_left_where_the_machine_is_the_limit():
    seen = grown(Growth(4, 32), lambda count: 500 * MIB, 40.0)
    assert seen[:2] == [4, Growth.FEWEST]
    assert set(seen[2:]) == {Growth.FEWEST}


def test_withdrawn_ones_come_back_when_they_are_missed():
    seen = grown(Growth(4, 32), lambda count: count * 100 * MIB, 40.0)
    assert seen[1] == Growth.FEWEST
    assert seen.count(Growth.FEWEST) * 0.1 <= 3 * Growth.LEAVE_S
    assert seen[-1] == 4


def test_as_many_as_a_server_bears_stay_when_it_protests_after_some_left():
    growth = Growth(4, 32)
    grown(growth, lambda count: 500 * MIB, 0.25)
    growth.hold(0.3)
    assert growth.observe(0.6, 300 * MIB, 1000 * MIB) == Growth.FEWEST


def changing(fast_s, fast, slow):
    """Return the rate of a line that is ``fast`` for some seconds, then ``slow``."""
    now = 0.0

    def rate_of(count):
        nonlocal now
        now += 0.1
        return fast(count) if now < fast_s else slow(count)

    return rate_of


def test_line_that_becomes_slow_gets_more_connections_soon():
    rate_of = changing(2.0, lambda count: 400 * MIB, lambda count: count * MIB)
    seen = grown(Growth(4, 30), rate_of, 6.0)
    assert seen[19] == Growth.FEWEST
    assert seen[-1] == 30


def test_rate_that_was_a_moments_burst_is_no_yardstick():
    rate_of = changing(0.5, lambda count: count * 40 * MIB, lambda count: count * MIB)
    seen = grown(Growth(4, 30), rate_of, 4.0)
    assert seen[-1] == 30


def test_short_dip_is_borne():
    now = 0.0

    def rate_of(count):
        nonlocal now
        now += 0.1
        return MIB if now % 3 < 1.0 and now > 2 else 20 * MIB

    assert set(grown(Growth(8, 32), rate_of, 14.0)[40:]) == {8}


def test_number_is_not_judged_before_those_added_are_answered():
    growth = Growth(4, 32)
    # Two are answered; what they bring rises as they come to speed.
    seen = {growth.observe(i * 0.1, i * i * MIB, 1000 * MIB, n_served=2) for i in range(12)}
    assert seen == {4}


def test_connections_that_a_server_does_not_get_round_to_are_taken_back():
    growth = Growth(4, 32)
    for step in range(5):
        growth.observe(step * 0.1, step * MIB, 1000 * MIB, n_served=4)
    assert growth.wanted == 8
    for step in range(5, 25):
        growth.observe(step * 0.1, step * 10 * MIB, 1000 * MIB, n_served=4)
    assert growth.wanted == 4


def test_server_that_was_slow_to_answer_once_is_given_longer():
    growth = Growth(4, 32)
    for step in range(31):
        growth.observe(step * 0.1, 0, 1000 * MIB, n_served=0)
    for step in range(1, 5):
        growth.observe(3.0 + step * 0.1, step * MIB, 1000 * MIB, n_served=4)
    assert growth.wanted == 8
    for step in range(5, 45):
        growth.observe(3.0 + step * 0.1, step * MIB, 1000 * MIB, n_served=4)
    assert growth.wanted == 8
