"""An opponent's excess loss in a run's report."""

import pytest

from sparring.reporting import negative_doctor, sections
from sparring.reporting.dial_figures import dial_findings, dial_plots, no_dial
from sparring.reporting.summary import RunSummary

HELD = {"excess_loss": 0.2, "target": 0.2, "share": 0.34, "swing": 0.03}


def records(count: int = 3, **changes: float) -> tuple[dict[str, float | None], ...]:
    """Records of a run whose opponent is held."""
    own = {f"opponent/{name}": value for name, value in {**HELD, **changes}.items()}
    return tuple({"step": n, "epoch": n / 2, "loss": 1.0, **own} for n in range(count))


def test_a_held_opponent_is_told_with_its_target_and_share() -> None:
    (found,) = dial_findings(records())
    assert found.text == (
        "The opponent adds 0.20 nats per query above its disarmed twin, held at strength=0.2 by "
        "34.0 % of what it has."
    )
    assert not found.is_problem


@pytest.mark.parametrize(("excess", "side"), [(0.1, "short of"), (0.3, "more than")])
def test_an_opponent_off_its_target_is_not_called_held(excess: float, side: str) -> None:
    (found,) = dial_findings(records(excess_loss=excess))
    assert found.text.endswith(f"twin, {side} strength=0.2, with 34.0 % of what it has.")


def test_a_target_out_of_reach_asks_for_something() -> None:
    (found,) = dial_findings(records(target=0.8, share=1.0))
    assert found.text.endswith("with all it has and does not reach strength=0.8.")
    assert found.advice == "Ask for less."


@pytest.mark.parametrize(("excess", "is_problem"), [(0.0, True), (0.3, False)])
def test_a_released_opponent_that_adds_nothing_is_told(excess: float, is_problem: bool) -> None:
    released: tuple[dict[str, float | None], ...] = ({"opponent/excess_loss": excess},)
    (found,) = dial_findings(released)
    assert found.is_problem == is_problem


def test_an_opponent_easier_than_its_twin_is_told_without_a_sign() -> None:
    (easier,) = dial_findings(({"opponent/excess_loss": -0.3},))
    (nothing,) = dial_findings(({"opponent/excess_loss": -0.001},))
    assert easier.text.endswith("is easier than its disarmed twin, by 0.30 nats per query.")
    assert "adds 0.00 nats" in nothing.text


def test_only_a_held_opponent_has_a_target_in_its_caption() -> None:
    released: tuple[dict[str, float | None], ...] = ({"step": 0, "opponent/excess_loss": 0.1},)
    assert "where it is held" in dial_plots("adco", records(), number=0)
    assert "where it is held" not in dial_plots("adco", released, number=0)


def test_the_axis_of_the_excess_loss_shows_the_twin_at_0() -> None:
    html = dial_plots("adco", records()[1:], number=0)  # from epoch 0.5 on, all values are 0.2
    assert html.count(">0.00</text>") + html.count(">0</text>") == 2


def test_excess_loss_and_target_share_a_figure_beside_the_share() -> None:
    html = dial_plots("adco", records(), number=0)
    assert html.count("<figure>") == 2
    assert "Excess loss, nats" in html
    assert "target: 0.2 at epoch 0, 0.2 at epoch 1" in html
    assert 'data-name="share" data-points="0,34 0.5,34 1,34"' in html


def test_the_opponent_inside_has_figures_of_its_own() -> None:
    inside = tuple(
        {name.replace("opponent/", "opponent/inner/"): value for name, value in record.items()}
        for record in records()
    )
    html = dial_plots("adco", inside, number=0)
    assert "Excess loss of the opponent inside, nats" in html
    assert "Share of the opponent inside that plays, %" in html
    assert len(dial_findings(inside)) == 1


def test_a_method_without_nats_says_that_there_is_no_dial() -> None:
    assert no_dial("byol", []) == "byol: no dial: its loss is no negative log-likelihood."


def test_the_doctor_shows_the_excess_loss_and_no_curve_shows_it_twice() -> None:
    run = RunSummary(path="run", label="adco", config={"method": "adco"}, metrics=records())
    doctor = negative_doctor.section([run])
    assert "held at strength=0.2" in doctor
    assert "Excess loss, nats" in doctor
    assert "opponent/" not in sections.training([run])


def test_a_run_without_a_dial_has_neither_figures_nor_findings() -> None:
    plain: tuple[dict[str, float | None], ...] = ({"step": 0, "loss": 1.0},)
    assert dial_plots("byol", plain, number=0) == ""
    assert dial_findings(plain) == ()
