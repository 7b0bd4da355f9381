"""How long runs take, by those that are finished."""

import time
from dataclasses import replace

import pytest

from sparring.studies.attempts import host
from sparring.studies.durations import Durations, side_by_side
from sparring.studies.records import Attempt, RunName, RunRecord

GAME, TWIN = RunName(arm="game", seed=3), RunName(arm="twin", seed=3)
ALONE = {"workers": 1, "room": 1}


def attempt(
    seconds: float, *, after: float = 0.0, where: str = "", outcome: str = "finished"
) -> Attempt:
    began = time.localtime(1_700_000_000 + after)
    return Attempt(
        started=time.strftime("%Y-%m-%dT%H:%M:%S%z", began),
        host=where or host(),
        seconds=seconds,
        outcome=outcome,
    )


def record(*attempts: Attempt, name: RunName = GAME, training: float = 0.0) -> RunRecord:
    return RunRecord(name=name, key="k", status="finished", seconds=training, attempts=attempts)


def test_the_longest_run_of_the_arm_counts_with_all_that_its_attempts_took() -> None:
    known = Durations()
    known.learn(record(attempt(50)), beside=1)
    known.learn(record(attempt(30, outcome="stopped by a signal"), attempt(40)), beside=1)
    known.learn(record(attempt(90), name=TWIN), beside=1)
    known.learn(record(attempt(500, outcome="RuntimeError: no luck"), attempt(45)), beside=1)
    assert known.seconds(GAME, **ALONE) == 70
    assert known.seconds(TWIN, **ALONE) == 90
    assert known.seconds(RunName(arm="third", seed=0), **ALONE) is None


def test_an_estimate_counts_only_until_a_run_is_finished() -> None:
    known = Durations({GAME: 20.0})
    assert known.seconds(GAME, **ALONE) == 20
    assert known.seconds(GAME, workers=6, room=2) == 60, "three share a processor"
    assert known.seconds(GAME, workers=2, room=4) == 20
    known.learn(record(attempt(50)), beside=1)
    assert known.seconds(GAME, **ALONE) == 50


def test_a_failed_run_and_one_of_another_kind_of_device_tell_nothing() -> None:
    known = Durations(is_cuda=True)
    known.learn(replace(record(attempt(50)), status="failed", environment={"device": "a GPU"}))
    known.learn(replace(record(attempt(50)), environment={"device": "cpu"}))
    assert known.seconds(GAME, **ALONE) is None
    known.learn(replace(record(attempt(50)), environment={"device": "a GPU"}))
    assert known.seconds(GAME, **ALONE) == 50


@pytest.mark.parametrize(
    ("then", "workers", "room", "expected"),
    [(1, 1, 1, 60), (1, 4, 1, 240), (4, 4, 1, 60), (4, 2, 1, 30), (2, 2, 2, 60), (1, 2, 2, 60)],
)
def test_a_run_takes_longer_where_more_runs_share_a_processor(
    then: float, workers: int, room: int, expected: float
) -> None:
    known = Durations()
    known.learn(record(attempt(60)), beside=then)
    assert known.seconds(GAME, workers=workers, room=room) == pytest.approx(expected)


def test_runs_with_as_many_others_beside_them_are_asked_first() -> None:
    known = Durations()
    known.learn(record(attempt(60)), beside=1)
    known.learn(record(attempt(100)), beside=4)
    known.learn(record(attempt(104)), beside=3.9)
    assert known.seconds(GAME, **ALONE) == 60
    assert known.seconds(GAME, workers=4, room=1) == pytest.approx(104 * 4 / 3.9)


def test_a_run_of_another_machine_counts_where_there_is_no_other() -> None:
    known = Durations()
    known.learn(record(attempt(200, where="elsewhere")), beside=8)
    assert known.seconds(GAME, **ALONE) == 200, "whatever was beside it there"
    known.learn(record(attempt(50)), beside=1)
    assert known.seconds(GAME, **ALONE) == 50


def test_scoring_of_a_run_without_attempts_is_taken_from_others() -> None:
    known = Durations()
    known.learn(record(training=40))
    assert known.seconds(GAME, **ALONE) == 40
    known.learn(record(attempt(33), name=TWIN, training=25), beside=1)
    assert known.seconds(GAME, **ALONE) == 40 + 8


def test_a_share_of_the_images_takes_its_share_of_the_training() -> None:
    known = Durations()
    known.learn(record(attempt(50), training=40), beside=1)
    tenth = replace(GAME, share=0.1)
    assert known.seconds(tenth, **ALONE) == pytest.approx(4 + 10)
    assert known.seconds(replace(GAME, budget="time"), **ALONE) is None


def test_runs_side_by_side_are_counted_by_their_times() -> None:
    first = attempt(100)
    others = [
        attempt(100, after=50),
        attempt(25, after=25),
        attempt(100, where="elsewhere"),
        attempt(100, after=500),
        replace(first, started="yesterday"),
    ]
    assert side_by_side(first, [first, *others[:4]]) == pytest.approx(1.75)
    assert side_by_side(first, [first]) == 1
    assert side_by_side(others[4], others) == 1


def test_runs_of_a_study_tell_what_was_beside_them() -> None:
    one, other = record(attempt(60)), record(attempt(60), name=TWIN)
    known = Durations()
    known.learn_all([one, other], [*one.attempts, *other.attempts])
    assert known.seconds(GAME, workers=2, room=1) == pytest.approx(60)
    assert known.seconds(GAME, **ALONE) == pytest.approx(30)
