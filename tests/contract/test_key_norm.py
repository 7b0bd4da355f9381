"""The batch norm of keys in parts keeps the contract in every method that has it, alone and with
opponents around."""

import pytest

from sparring.contract.method_checks import resumes_to_the_bit
from sparring.contract.opponent_checks import plays, vanishes
from sparring.contract.processes import by_two_processes, outcome, require_equal
from sparring.contract.toy import Subject
from sparring.methods import registry

METHODS = [
    name
    for name in registry.shipped("method")
    if "key_norm" in registry.method_class(name).settings_class.model_fields
]
FORMS = {
    "split": {"key_norm": {"parts": 4, "shuffled": False}},
    "shuffled": {"key_norm": {"parts": 4, "shuffled": True}},
}


def test_every_method_whose_negatives_are_keys_has_the_setting() -> None:
    assert {"mocov2", "mocov3", "adco", "caco", "acssl"} <= set(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_parts_change_the_game_and_one_part_does_not(method: str) -> None:
    whole = Subject(method)
    losses = {
        name: whole.play(whole.game(**settings), 0)["loss"]
        for name, settings in {**FORMS, "one": {"key_norm": {"parts": 1, "shuffled": True}}}.items()
    }
    assert losses["one"] == whole.play(whole.game(), 0)["loss"]
    assert len(set(losses.values())) == 3


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_run_in_parts_repeats_every_bit_when_resumed(method: str) -> None:
    resumes_to_the_bit(Subject(method, settings=FORMS["shuffled"]))


@pytest.mark.slow
def test_two_processes_share_the_parts_of_one() -> None:
    subjects = [Subject(name, settings=form) for name in METHODS for form in FORMS.values()]
    ranks = by_two_processes(subjects)
    for number, subject in enumerate(subjects):
        require_equal(subject, [rank[number] for rank in ranks], outcome(subject))


@pytest.mark.slow
@pytest.mark.parametrize("opponent", registry.shipped("opponent"))
@pytest.mark.parametrize("method", METHODS)
def test_opponents_play_around_parts_and_vanish_when_switched_off(
    method: str, opponent: str
) -> None:
    subject = Subject(method, (opponent,), settings=FORMS["shuffled"])
    plays(subject)
    vanishes(subject)
