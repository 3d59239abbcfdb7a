from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bootwright.smp.pace import CEILING_MS, FLOOR_MS, WHOLE, Pace


def test_credit_grows_a_line_a_round_up_to_its_cap() -> None:
    pace = Pace(5, 1, 3)
    seen = []
    for _ in range(4):
        pace.went_well(20)
        seen.append(pace.credit)
    assert seen == [2, 3, 3, 3]


def test_a_loss_drops_the_credit_and_lets_it_grow_more_slowly() -> None:
    pace = Pace(5, 1, 7)
    pace.went_well(20)
    pace.went_wrong()
    assert pace.credit == pace.ahead == 0
    pace.went_well(20)
    assert pace.credit == 0
    pace.went_well(20)
    assert pace.credit == 1


def test_whole_messages_go_ahead_once_an_answer_came_faster_than_a_uart_could_carry_the_question() -> None:
    pace = Pace(5, 1, 7)
    pace.went_well(5, 1353)
    assert (pace.credit, pace.ahead) == (2, 2)
    pace.went_well(4, 1353)
    assert (pace.credit, pace.ahead) == (3, WHOLE)
    pace.went_well(300, 1353)
    assert pace.ahead == WHOLE


def test_a_short_question_shows_nothing() -> None:
    pace = Pace(5, 1, 7)
    pace.went_well(0, 200)
    assert not pace.fast


def test_a_whole_message_lost_ahead_is_not_tried_again_for_longer_each_time() -> None:
    pace = Pace(0, 1, 7)
    pace.went_well(1, 1353)
    waited = []
    for _ in range(2):
        pace.went_wrong()
        rounds = 0
        while pace.ahead != WHOLE:
            pace.went_well(1)
            rounds += 1
        waited.append(rounds)
    assert waited == [9, 25]


def test_nothing_goes_ahead_to_a_device_of_which_nothing_is_known() -> None:
    pace = Pace(0, 1, 0)
    pace.went_well(0, 1353)
    assert pace.ahead == 0


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=60))
def test_the_timeout_exceeds_the_last_round_trip_and_stays_in_bounds(round_trips: list[int]) -> None:
    pace = Pace(5, 0, 0)
    for rtt in round_trips:
        pace.went_well(rtt)
        assert FLOOR_MS <= pace.timeout_ms <= CEILING_MS
        assert pace.timeout_ms > min(rtt, CEILING_MS - 1)
