"""Every shipped opponent around every method against the public contract, and opponents nested in
each other."""

import itertools
from pathlib import Path

import pytest
from torch import Tensor

from sparring.contract import learning
from sparring.contract.check import Check
from sparring.contract.method_checks import encoder_needs_no_class, resumes_to_the_bit
from sparring.contract.opponent_checks import begins_where_the_method_begins, plays, vanishes
from sparring.contract.processes import by_two_processes, outcome, require_equal
from sparring.contract.toy import Subject
from sparring.methods import registry
from sparring.models.split_norm import SplitNorm
from sparring.opponents.opponent import chain, innermost
from sparring.testing import opponent_checks
from sparring.training.configure import find_recipe
from sparring.training.run import pretrain_opponent
from sparring.training.settings import RunConfig

METHODS = list(registry.shipped("method"))
OPPONENTS = list(registry.shipped("opponent"))
NESTED = list(itertools.permutations(OPPONENTS, 2))

CHECKS = [
    pytest.param(check, id=f"{name}: {check.name}", marks=[pytest.mark.slow] * check.is_slow)
    for name in OPPONENTS
    for check in opponent_checks(name)
]


@pytest.mark.parametrize("check", CHECKS)
def test_an_opponent_keeps_the_contract(check: Check) -> None:
    check.run()


@pytest.mark.slow
@pytest.mark.parametrize("opponents", NESTED)
@pytest.mark.parametrize("method", METHODS)
def test_opponents_nest_in_either_order(method: str, opponents: tuple[str, ...]) -> None:
    subject = Subject(method, opponents)
    plays(subject)
    begins_where_the_method_begins(subject)


@pytest.mark.slow
@pytest.mark.parametrize("opponents", NESTED)
def test_a_nested_run_resumes_and_leaves_the_clean_network(opponents: tuple[str, ...]) -> None:
    subject = Subject(registry.DEFAULT_METHOD, opponents)
    resumes_to_the_bit(subject)
    encoder_needs_no_class(subject)


@pytest.mark.slow
@pytest.mark.parametrize("opponents", NESTED)
def test_an_opponent_that_learned_beforehand_plays_inside_another(
    opponents: tuple[str, ...], tmp_path: Path
) -> None:
    # The norms of an opponent's own networks are no business of another one's attacked images.
    lessons = {
        registry.section_of(name): {"pretraining": {"steps": 2, "batch_size": 8}}
        for name in opponents
        if "pretraining" in registry.opponent_class(name).settings_class.model_fields
    }
    subject = Subject(registry.DEFAULT_METHOD, opponents, lessons)
    run = subject.training(
        tmp_path / "run", training={"max_steps": 2}, data={"cache": str(tmp_path)}
    )
    pretrain_opponent(run, None)
    run.run()
    parts = [part for part in chain(run.game.method) if part is not innermost(run.game.method)]
    for part in parts:
        own = [child for name, child in part.named_children() if name != "method"]
        assert not any(isinstance(m, SplitNorm) for child in own for m in child.modules())


@pytest.mark.slow
def test_two_processes_play_nested_opponents_as_one() -> None:
    subjects = [Subject(registry.DEFAULT_METHOD, opponents) for opponents in NESTED]
    ranks = by_two_processes(subjects)
    for number, subject in enumerate(subjects):
        require_equal(subject, [rank[number] for rank in ranks], outcome(subject))


def of_its_recipe(name: str) -> Subject:
    """A published pairing with the settings of its small recipe that are not sizes."""
    method, opponent = registry.pairings()[name]
    section = registry.section_of(opponent)
    recipe = find_recipe(f"{name}-small")[section]
    own = {key: value for key, value in recipe.items() if not isinstance(value, dict)}
    return Subject(method, (opponent,), settings={section: own})


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.pairings())
def test_an_opponent_keeps_the_contract_as_in_its_recipe(name: str) -> None:
    subject = of_its_recipe(name)
    plays(subject)
    vanishes(subject)
    resumes_to_the_bit(subject)
    encoder_needs_no_class(subject)


@pytest.mark.slow
def test_two_processes_play_opponents_of_the_recipes_as_one() -> None:
    subjects = [of_its_recipe(name) for name in registry.pairings()]
    ranks = by_two_processes(subjects)
    for number, subject in enumerate(subjects):
        require_equal(subject, [rank[number] for rank in ranks], outcome(subject))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_opponent_takes_part_in_what_the_encoder_minimises(method: str) -> None:
    losses: set[float] = set()
    around = [(), *((name,) for name in OPPONENTS), *NESTED[:1]]
    for opponents in around:
        subject = Subject(method, opponents)
        losses.add(subject.play(subject.game(), 0)["loss"])
    assert len(losses) == len(around)


@pytest.mark.parametrize("name", registry.pairings())
def test_a_published_pairing_is_its_method_and_its_opponent(name: str) -> None:
    run = RunConfig.from_tree({"method": name, "training": {"image_size": 16}})
    method, opponent = registry.pairings()[name]
    assert (run.method, run.opponent) == (method, (opponent,))
    assert RunConfig.from_tree(run.tree()) == run


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.pairings())
def test_the_encoder_of_a_pairing_learns_what_views_share(name: str, tmp_path: Path) -> None:
    method, opponent = registry.pairings()[name]
    run = learning.training(Subject(method, (opponent,)), tmp_path)
    before = learning.score(learning.untrained(run))
    run.run()
    assert before < learning.UNTRAINED
    assert learning.score(run.game.encoder) > before + learning.GAIN


@pytest.mark.slow
def test_the_generators_of_two_processes_learn_as_one() -> None:
    from pretrained_generator import pretrained, pretrained_by_two_processes

    first, second = pretrained_by_two_processes()
    alone: dict[str, Tensor] = pretrained()
    assert not [name for name in first if not first[name].equal(second[name])]
    # Batch norm sees half a batch in each process: no more than near what one would learn, but from
    # the same draws.
    name = "average.start.weight"
    distance = (first[name] - alone[name]).abs().mean()
    assert distance < 0.02 * alone[name].abs().mean()
