"""Never more than the burst and the rate allow, whatever happens; and the rate follows the host."""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.jobs.koop.polite import Learned, PolitenessPolicy
from sightline.jobs.koop.polite.bucket import Bucket

CONTACT = "https://example.org/about"
CLOSE = 1e-6


def bucket_of(time, learned=None, seed=1, **policy) -> Bucket:
    return Bucket(PolitenessPolicy(CONTACT, **policy), time.clock, random.Random(seed), learned)


async def test_the_burst_is_at_once_and_then_it_is_the_rate(time):
    bucket = bucket_of(time, burst=3, rate_per_s=0.5)
    moments = [await bucket.take() - 1000.0 for _ in range(6)]
    assert moments == pytest.approx([0, 0, 0, 2, 4, 6])


async def test_rest_refills_up_to_the_burst_and_no_more(time):
    bucket = bucket_of(time, burst=3, rate_per_s=0.5)
    for _ in range(3):
        await bucket.take()
    time.rest(1e6)
    moments = [await bucket.take() - time.now_s for _ in range(3)]
    assert moments == [0, 0, 0]
    before_s = time.now_s
    assert await bucket.take() - before_s == pytest.approx(2)


async def test_workers_are_served_in_the_order_they_came(time):
    bucket = bucket_of(time, burst=1, rate_per_s=0.5)
    served = []

    async def worker(name: int) -> None:
        await bucket.take()
        served.append(name)

    await asyncio.gather(*(worker(name) for name in range(8)))
    assert served == list(range(8))


async def test_a_worker_that_is_cancelled_while_it_waits_takes_nothing(time):
    bucket = bucket_of(time, burst=1, rate_per_s=0.5)
    await bucket.take()
    waiting = asyncio.create_task(bucket.take())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await bucket.take() - 1000.0 == pytest.approx(2)


async def test_too_much_halves_the_rate_empties_the_bucket_and_pauses_the_host(time):
    bucket = bucket_of(time, burst=50, rate_per_s=0.8)
    sent_at_s = await bucket.take()
    bucket.slow_down(sent_at_s, None)
    assert bucket.rate_per_s == pytest.approx(0.4)
    assert 5 <= bucket.paused_s <= 10
    pause_s = bucket.paused_s
    # No tokens come in during the pause, so the first one takes its full time after it.
    assert await bucket.take() - sent_at_s == pytest.approx(pause_s + 1 / 0.4)


async def test_answers_to_requests_that_were_under_way_together_are_one_lesson(time):
    bucket = bucket_of(time, rate_per_s=0.8)
    sent_at_s = [await bucket.take() for _ in range(10)]
    for moment in sent_at_s:
        bucket.slow_down(moment, None)
    assert bucket.rate_per_s == pytest.approx(0.4)


async def test_a_late_answer_after_the_pause_is_still_the_old_lesson(time):
    bucket = bucket_of(time, rate_per_s=0.8)
    early_s, late_s = await bucket.take(), await bucket.take()
    time.rest(1)
    bucket.slow_down(early_s, None)
    time.rest(60)
    bucket.slow_down(late_s, None)
    assert bucket.rate_per_s == pytest.approx(0.4)
    assert bucket.paused_s == 0


async def test_a_request_sent_after_the_pause_is_a_new_lesson_and_a_longer_pause(time):
    bucket = bucket_of(time, rate_per_s=0.8)
    pauses = []
    for _ in range(8):
        bucket.slow_down(await bucket.take(), None)
        pauses.append(bucket.paused_s)
    longest = [10, 20, 40, 80, 120, 120, 120, 120]
    assert all(bound / 2 <= pause <= bound for pause, bound in zip(pauses, longest, strict=True))
    assert bucket.rate_per_s == 0.1


async def test_a_good_answer_ends_the_doubling(time):
    bucket = bucket_of(time)
    for _ in range(4):
        bucket.slow_down(await bucket.take(), None)
    bucket.quicken(await bucket.take())
    bucket.slow_down(await bucket.take(), None)
    assert bucket.paused_s <= 10


async def test_retry_after_is_kept_even_when_it_comes_during_a_pause(time):
    bucket = bucket_of(time, rate_per_s=0.8)
    first_s, second_s = await bucket.take(), await bucket.take()
    bucket.slow_down(first_s, 0.0)
    assert bucket.paused_s <= 10
    bucket.slow_down(second_s, 300.0)
    assert bucket.paused_s == pytest.approx(300)
    bucket.slow_down(second_s, 30.0)
    assert bucket.paused_s == pytest.approx(300)
    assert bucket.rate_per_s == pytest.approx(0.4)


async def test_good_answers_add_a_little_up_to_the_ceiling(time):
    bucket = bucket_of(time, rate_per_s=0.85)
    bucket.quicken(await bucket.take())
    assert bucket.rate_per_s == pytest.approx(0.86)
    for _ in range(100):
        bucket.quicken(await bucket.take())
    assert bucket.rate_per_s == 0.95


async def test_good_answers_to_what_was_sent_before_the_pause_add_nothing(time):
    bucket = bucket_of(time, rate_per_s=0.8)
    early_s, sent_at_s = await bucket.take(), await bucket.take()
    time.rest(1)
    bucket.slow_down(sent_at_s, None)
    bucket.quicken(early_s)
    assert bucket.rate_per_s == pytest.approx(0.4)


OPERATIONS = st.one_of(
    st.tuples(st.just("take"), st.integers(1, 12)),
    st.tuples(st.just("rest"), st.floats(0, 300)),
    st.tuples(st.just("good"), st.just(0)),
    st.tuples(st.just("too much"), st.one_of(st.none(), st.floats(0, 600))),
    st.tuples(st.just("restart"), st.just(0)),
)


async def live(time, operations, seed, shape) -> list[float]:
    """Do all this to a bucket. Returns the moments at which tokens were taken."""
    bucket = bucket_of(time, seed=seed, **shape)
    moments = [await bucket.take()]
    for kind, value in operations:
        if kind == "take":
            for _ in range(value):
                not_before_s = time.now_s + bucket.paused_s
                moments.append(await bucket.take())
                assert moments[-1] >= not_before_s - CLOSE
        elif kind == "rest":
            time.rest(value)
        elif kind == "restart":
            bucket = bucket_of(time, bucket.learned(), seed, **shape)
        elif kind == "good":
            bucket.quicken(moments[-1])
        else:
            bucket.slow_down(moments[-1], value)
        assert 0.1 <= bucket.rate_per_s <= 0.95
    return moments


@given(st.lists(OPERATIONS, max_size=40), st.integers(1, 20), st.floats(0.1, 0.95), st.integers())
def test_no_stretch_of_time_has_more_than_the_burst_and_the_rate(jumping, operations, burst, rate, seed):
    time = jumping()
    moments = asyncio.run(live(time, operations, seed, {"burst": burst, "rate_per_s": rate}))
    for first, began_s in enumerate(moments):
        for last in range(first, len(moments)):
            taken = last - first + 1
            assert taken <= burst + 0.95 * (moments[last] - began_s) + CLOSE


# -- against a host with a bucket of its own ---------------------------------------------------------------


async def ask(bucket: Bucket, time, requests: int, *, burst: float, per_s: float) -> int:
    """Ask a host that gives ``burst`` and then ``per_s``; the number of times it was too much."""
    tokens, counted_to_s, refused, left = burst, time.now_s, 0, requests
    while left:
        sent_at_s = await bucket.take()
        tokens = min(burst, tokens + (sent_at_s - counted_to_s) * per_s)
        counted_to_s = sent_at_s
        if tokens < 1:
            refused += 1
            bucket.slow_down(sent_at_s, None)
        else:
            tokens -= 1
            left -= 1
            bucket.quicken(sent_at_s)
    return refused


async def test_the_real_hosts_measured_bucket_is_never_emptied(time):
    assert await ask(bucket_of(time), time, 4000, burst=115, per_s=1.0) == 0
    # As fast as that can be: 50 at once and then close to one per second.
    assert time.now_s - 1000 < 3950 / 0.94


async def test_a_host_four_times_as_strict_is_learned(time):
    bucket = bucket_of(time)
    refused = await ask(bucket, time, 4000, burst=30, per_s=0.25)
    assert refused < 4000 * 0.1
    assert bucket.rate_per_s < 0.5
    # What a perfect client would have needed, and a fifth more.
    assert time.now_s - 1000 < 1.2 * (4000 - 30) / 0.25


# -- between runs ------------------------------------------------------------------------------------------


async def test_a_run_goes_on_where_the_last_one_ended(time):
    bucket = bucket_of(time, burst=10, rate_per_s=0.8)
    for _ in range(10):
        await bucket.take()
    bucket.slow_down(time.now_s, 100.0)
    learned = bucket.learned()
    assert learned.paused_until_unix_s == pytest.approx(learned.at_unix_s + 100)
    time.rest(30)
    again = bucket_of(time, learned, burst=10, rate_per_s=0.8)
    assert again.rate_per_s == pytest.approx(0.4)
    assert again.paused_s == pytest.approx(70)


async def test_a_restart_is_no_second_burst(time):
    bucket = bucket_of(time, burst=10, rate_per_s=0.5)
    for _ in range(10):
        await bucket.take()
    again = bucket_of(time, bucket.learned(), burst=10, rate_per_s=0.5)
    before_s = time.now_s
    assert await again.take() - before_s == pytest.approx(2)


SENSIBLE = Learned(rate_per_s=0.4, tokens=0.0, at_unix_s=1_700_000_000.0)


@pytest.mark.parametrize(
    ("change", "rate_per_s", "wait_s"),
    [
        ({"rate_per_s": 1e9}, 0.95, 1 / 0.95),
        ({"rate_per_s": -1.0}, 0.1, 10.0),
        ({"rate_per_s": math.nan}, 0.85, 0.0),
        ({"tokens": 1e9}, 0.4, 0.0),
        ({"tokens": -5.0}, 0.4, 15.0),
        ({"tokens": -1e9}, 0.4, 15.0),
        ({"at_unix_s": 2e9}, 0.4, 2.5),
        ({"at_unix_s": 0.0}, 0.4, 0.0),
        ({"paused_until_unix_s": math.inf}, 0.85, 0.0),
        ({"paused_until_unix_s": 2e9}, 0.4, 602.5),
    ],
)
async def test_what_was_kept_is_believed_within_reason(time, change, rate_per_s, wait_s):
    bucket = bucket_of(time, replace(SENSIBLE, **change))
    assert bucket.rate_per_s == rate_per_s
    assert await bucket.take() - 1000.0 == pytest.approx(wait_s)
