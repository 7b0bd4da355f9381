"""Which runs a command with a limit of time still starts."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from toy_calls import pids, saves_when_asked, succeeds, toy_order, toy_record

from sparring.errors import ConfigError
from sparring.studies.attempts import AttemptLog, Failure
from sparring.studies.durations import Durations
from sparring.studies.engines import run_orders
from sparring.studies.engines.time_limit import TimeLimit, next_place
from sparring.studies.orders import RunOrder
from sparring.studies.records import RunName

WHOLE = 600.0


def waiting(*names: str) -> list[RunOrder]:
    """Orders of ARM SEED each."""
    pairs = [name.split() for name in names]
    return [toy_order(Path("study"), int(seed), arm=arm) for arm, seed in pairs]


def started(
    orders: list[RunOrder], seconds: Mapping[str, float | None], *, left: float
) -> list[str]:
    """Runs that a command with one worker starts, one after the other."""
    found = []
    while True:
        place = next_place(
            orders, expected=lambda one: seconds[one.name.arm], left=left, whole=WHOLE
        )
        if place is None:
            return found
        order = orders.pop(place)
        found.append(f"{order.name.arm} {order.name.seed}")
        left -= seconds[order.name.arm] or 0.0


ORDER = ("long 0", "short 0", "long 1", "short 1", "long 2", "short 2")


def test_runs_are_started_in_their_order_while_they_fit() -> None:
    seconds = {"long": 100.0, "short": 50.0}
    assert started(waiting(*ORDER), seconds, left=WHOLE) == list(ORDER)
    assert started(waiting(*ORDER), seconds, left=150) == ["long 0", "short 0"]


def test_a_run_that_just_fits_is_started_and_none_once_the_time_is_over() -> None:
    assert started(waiting("long 0"), {"long": 100.0}, left=100) == ["long 0"]
    assert started(waiting("long 0"), {"long": 100.0}, left=99.9) == []
    assert started(waiting("long 0"), {"long": None}, left=0) == []


def test_a_shorter_run_uses_the_time_that_a_longer_one_leaves() -> None:
    seconds = {"long": 100.0, "short": 20.0}
    found = started(waiting(*ORDER), seconds, left=175)
    assert found == ["long 0", "short 0", "short 1", "short 2"]
    # The next command begins with the run that was passed over.
    rest = [name for name in ORDER if name not in found]
    assert started(waiting(*rest), seconds, left=WHOLE) == ["long 1", "long 2"]


def test_a_run_that_fits_into_no_command_lets_no_later_seed_pass() -> None:
    seconds = {"long": WHOLE + 1, "short": 20.0}
    assert started(waiting(*ORDER), seconds, left=WHOLE) == ["short 0"]


def test_a_run_of_which_nothing_is_known_is_started() -> None:
    assert started(waiting("new 0", "short 0"), {"new": None, "short": 1.0}, left=5) == [
        "new 0",
        "short 0",
    ]


def test_a_run_that_was_stopped_needs_only_the_rest_of_its_time(tmp_path: Path) -> None:
    order = toy_order(tmp_path)
    limit = TimeLimit(WHOLE, durations=Durations({order.name: 700.0}), began=0, clock=lambda: 0)
    assert limit.next_place([order], workers=1, room=1) is None
    log = AttemptLog(order)
    log.begin()
    log._close("stopped by a signal", 300.0)
    assert limit.next_place([order], workers=1, room=1) == 0


def test_a_run_that_has_taken_longer_than_was_known_goes_on(tmp_path: Path) -> None:
    order = toy_order(tmp_path)
    log = AttemptLog(order)
    log.begin()
    log._close("stopped by a signal", WHOLE)
    limit = TimeLimit(1.0, durations=Durations({order.name: 500.0}), began=0, clock=lambda: 0)
    assert limit.next_place([order], workers=1, room=1) == 0


def test_time_is_counted_from_the_beginning_of_the_command() -> None:
    now = 100.0
    limit = TimeLimit(60.0, durations=Durations(), clock=lambda: now)
    assert limit.left == 60
    now = 130.0
    assert limit.left == 30
    now = 500.0
    assert limit.left == 0
    assert TimeLimit(60.0, durations=Durations(), began=470.0, clock=lambda: now).left == 30


def test_an_answer_that_is_a_failure_tells_no_duration(tmp_path: Path) -> None:
    order = toy_order(tmp_path)
    limit = TimeLimit(60.0, durations=Durations())
    limit.learn(Failure(reason="no luck"))
    assert limit.durations.seconds(order.name, workers=1, room=1) is None
    limit.learn(toy_record(order))
    assert limit.durations.seconds(order.name, workers=1, room=1) == 0


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that an engine starts find the toy calls."""
    places = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))


@pytest.mark.slow
@pytest.mark.usefixtures("importable")
def test_the_engine_makes_what_fits_and_leaves_the_rest(tmp_path: Path) -> None:
    orders = [toy_order(tmp_path, seed, arm=arm) for seed in (0, 1) for arm in ("long", "short")]
    estimates = {RunName(arm="long", seed=seed): 500.0 for seed in (0, 1)}
    limit = TimeLimit(WHOLE, durations=Durations(estimates), began=0, clock=lambda: 200.0)
    records = run_orders(orders, call=succeeds, workers=1, limit=limit)
    assert [str(one.name) for one in records] == ["short, seed 0", "short, seed 1"]
    assert limit.durations.seconds(orders[1].name, workers=1, room=1) is not None
    assert [pids(one) for one in orders if one.name.arm == "long"] == [[], []]


@pytest.mark.slow
@pytest.mark.usefixtures("importable")
def test_the_engine_stops_a_run_when_the_time_is_over(tmp_path: Path) -> None:
    order = toy_order(tmp_path, steps=10_000)
    # The time is over as soon as the run has begun.
    limit = TimeLimit(
        0.2, durations=Durations(), began=0, clock=lambda: 1e9 if pids(order) else 0.0
    )
    assert run_orders([order], call=saves_when_asked, limit=limit) == []
    assert [one.outcome for one in AttemptLog(order).read()] == ["stopped by a signal"]


@pytest.mark.parametrize("engine", ["dask", "slurm"])
def test_other_engines_take_no_limit(engine: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--minutes belongs to --engine local"):
        run_orders(
            [toy_order(tmp_path)],
            call=succeeds,
            engine=engine,
            limit=TimeLimit(1.0, durations=Durations()),
        )
