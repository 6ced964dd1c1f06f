from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from thetascope.recording.thinning import is_kept, stride_for

lasts = st.integers(0, 5000)
limits = st.integers(2, 60)


def kept(last: int, limit: int | None) -> list[int]:
    return [ordinal for ordinal in range(last + 1) if is_kept(ordinal, last, limit)]


def test_an_example() -> None:
    assert [kept(last, 4) for last in range(8)] == [
        [0],
        [0, 1],
        [0, 1, 2],
        [0, 1, 2, 3],
        [0, 2, 4],
        [0, 2, 4, 5],
        [0, 2, 4, 6],
        [0, 4, 7],
    ]


@given(last=lasts)
def test_without_a_limit_all_are_kept(last: int) -> None:
    assert kept(last, None) == list(range(last + 1))


@given(last=lasts, limit=limits)
def test_the_first_and_the_last_are_kept_and_at_most_the_limit(last: int, limit: int) -> None:
    ordinals = kept(last, limit)
    assert ordinals[0] == 0
    assert ordinals[-1] == last
    assert len(ordinals) <= limit


@given(last=lasts, limit=limits)
def test_the_kept_are_evenly_spread_and_no_fewer_than_half(last: int, limit: int) -> None:
    ordinals = kept(last, limit)
    gaps = [later - earlier for earlier, later in pairwise(ordinals)]
    assert len(set(gaps[:-1])) <= 1
    assert not gaps or gaps[-1] <= gaps[0]
    assert len(ordinals) == last + 1 or len(ordinals) > limit / 2


@given(last=lasts, limit=limits)
def test_what_was_dropped_is_never_wanted_again(last: int, limit: int) -> None:
    assert set(kept(last + 1, limit)) <= {*kept(last, limit), last + 1}


@given(last=lasts, limit=limits)
def test_what_is_not_kept_beside_its_successor_is_never_kept(last: int, limit: int) -> None:
    """What the Recorder relies on when it leaves the newest state unwritten."""
    if not is_kept(last, last + 1, limit):
        assert not any(is_kept(last, later, limit) for later in range(last + 1, last + 200))


@given(last=lasts, limit=limits)
def test_the_stride_is_the_smallest_power_of_two_that_will_do(last: int, limit: int) -> None:
    stride = stride_for(last, limit)
    assert stride & (stride - 1) == 0
    halved = {*range(0, last + 1, max(1, stride // 2)), last}
    assert stride == 1 or len(halved) > limit
