"""Contract of an opponent in image space: checks that it must pass around any method, whoever wrote
it."""

import re
from collections.abc import Callable, Sequence
from functools import partial

import torch

from sparring.config import Settings, merged
from sparring.contract.check import Check
from sparring.contract.device_reads import steps_read_nothing
from sparring.contract.held_checks import Promise, has_nats, held_checks, held_is_refused
from sparring.contract.method_checks import (
    encoder_needs_no_class,
    loss_moves_nothing,
    metrics_are_documented,
    resumes_to_the_bit,
    same_seed_same_bits,
    twin_plays_another_game,
)
from sparring.contract.method_checks import two_processes_play_as_one as play_as_one
from sparring.contract.processes import by_two_processes, outcome, require_equal
from sparring.contract.settings import models, require_explained
from sparring.contract.standstill import stands_still
from sparring.contract.toy import FILLED, Subject, changed, state, without_statistics
from sparring.methods import registry
from sparring.models.split_norm import SplitNorm
from sparring.models.teacher import Teacher
from sparring.opponents.opponent import Opponent, innermost
from sparring.strength.settings import has_dial
from sparring.training.metrics import metrics_of


def opponent_checks(opponent: str, around: Sequence[str]) -> list[Check]:
    """Independent checks of the contract for one opponent around some methods.

    Args:
        opponent: name of the opponent in a configuration.
        around: names of methods.
    """
    promises: list[tuple[str, Callable[[Subject], None]]] = [
        ("it plays, and says what it did", plays),
        ("it begins where the method begins", begins_where_the_method_begins),
        ("a step reads nothing from the device", steps_read_nothing),
        ("after a divergence nothing changes", stands_still),
        ("a resumed run repeats every bit", resumes_to_the_bit),
        ("what a run leaves behind is the clean network", encoder_needs_no_class),
    ]
    own = registry.opponent_class(opponent)
    if own.toy.off is not None:
        promises.append(("switched off, it vanishes", vanishes))
    checks = [Check("it introduces itself", partial(introduces_itself, opponent))]
    for method in around:
        subject = Subject(method, (opponent,))
        checks += [
            Check(f"around {method}, {name}", partial(run, subject), is_slow=True)
            for name, run in promises
        ]
    checks += _held(opponent, around)
    subjects = [Subject(method, (opponent,)) for method in around]
    together = partial(two_processes_play_as_one, subjects)
    checks.append(Check("two processes play as one", together, is_slow=True))
    for twin in registry.about("opponent", opponent).twins:
        armed = Subject(around[0], (opponent,))
        settings = {registry.section_of(opponent): twin.tree()}
        disarmed = Subject(around[0], (opponent,), settings=settings)
        checks += [
            Check(
                f"twin {twin.name} plays another game from the same start",
                partial(twin_plays_another_game, armed, disarmed),
                is_slow=True,
            ),
            Check(
                f"twin {twin.name} reads nothing from the device in a step",
                partial(steps_read_nothing, disarmed),
                is_slow=True,
            ),
            Check(
                f"twin {twin.name} repeats every bit when resumed",
                partial(resumes_to_the_bit, disarmed),
                is_slow=True,
            ),
        ]
    return checks


def _held(opponent: str, around: Sequence[str]) -> list[Check]:
    """Checks at a held strength: all around the first method whose loss is in nats, the dial's own
    around the others; around a method whose loss is not, that it is refused."""
    promises: list[Promise] = [
        ("a step reads nothing from the device", steps_read_nothing),
        ("after a divergence nothing changes", stands_still),
        ("computing a loss moves nothing", loss_moves_nothing),
        ("the same seed gives the same bits, another seed does not", same_seed_same_bits),
        ("a resumed run repeats every bit", resumes_to_the_bit),
        ("every metric is documented", metrics_are_documented),
        ("two processes play as one", play_as_one),
    ]
    checks: list[Check] = []
    if registry.opponent_class(opponent).toy.held is None:
        return checks
    for method in around:
        subject = Subject(method, (opponent,))
        if has_nats(method):
            found = held_checks(subject, promises, [])
            promises = []
        else:
            found = [Check("a held strength is refused", partial(held_is_refused, subject))]
        checks += [Check(f"around {method}, {one.name}", one.run, is_slow=True) for one in found]
    return checks


def introduces_itself(opponent: str) -> None:
    """Check that name, summary, opponent and explained settings are declared."""
    about, own = registry.about("opponent", opponent), registry.opponent_class(opponent)
    assert about.name, "about.name is empty"
    assert about.summary, "about.summary is empty: one line for `sparring methods`"
    assert issubclass(own.settings_class, Settings), "settings_class must be a settings model"
    is_told = own.toy.held is not None or not has_dial(own.settings_class)
    assert is_told, "toy.held is empty: settings under which `strength` is held"
    for model in models(own.settings_class):
        require_explained(model)


def plays(subject: Subject) -> None:
    """Check that losses are finite, that metrics have a meaning, and that both sets of norms are
    trained."""
    game = subject.game()
    assert isinstance(game.method, Opponent)
    assert type(innermost(game.method)) is subject.method_class
    before, found = state(game.method), {}
    for number in range(FILLED + 1):
        found = subject.play(game, number)
    moved = changed(before, state(game.method))
    assert all(torch.isfinite(torch.tensor(value)) for value in found.values())
    unknown = found.keys() - metrics_of(subject.method, subject.opponents).keys()
    assert not unknown, f"metrics without a meaning: {', '.join(sorted(unknown))}"
    for opponent in subject.opponents:
        section = registry.section_of(opponent)
        assert any(name.startswith(section) for name in found), f"no metric {section}/..."
    parts = list(game.method.modules())
    sides = ("clean", "adversarial") if any(isinstance(p, SplitNorm) for p in parts) else ("",)
    for side in sides:
        assert any(side in name and "encoder" in name for name in moved), f"encoder, {side}"
        if any(isinstance(part, Teacher) for part in parts):
            assert any(side in name and "teacher" in name for name in moved), f"teacher, {side}"


def begins_where_the_method_begins(subject: Subject) -> None:
    """Check that the method's own tensors start equal to those of the method alone, to the bit."""
    alone, around = Subject(subject.method).game(), subject.game()
    theirs = {
        re.sub(r"^(method\.)+", "", name).replace(".clean.", "."): value
        for name, value in state(around.method).items()
        if name.startswith("method.")
    }
    different = changed(state(alone.method), theirs)
    assert not different, f"{', '.join(sorted(different)[:5])} differ"


def vanishes(subject: Subject) -> None:
    """Check that with the opponent switched off, the method's clean tensors equal those of the
    method alone, to the bit."""
    (opponent,) = subject.opponents
    off = dict(registry.opponent_class(opponent).toy.off or {})
    # The norm of all gradients is a sum over more parameters, and rounds otherwise.
    free = {"players": {"encoder": {"clip_norm": None}}}
    section, settings = registry.section_of(opponent), merged(subject.settings, free)
    own = {key: value for key, value in settings.items() if key != section}
    disarmed = Subject(subject.method, subject.opponents, merged(settings, {section: off}))
    alone, around = Subject(subject.method, (), own), disarmed.game()
    game = alone.game()
    for number in range(FILLED + 1):
        alone.play(game, number)
        disarmed.play(around, number)
    theirs = {
        re.sub(r"^(method\.)+", "", name).replace(".clean.", "."): value
        for name, value in state(around.method).items()
        if name.startswith("method.")
    }
    moved = changed(state(game.method), theirs)
    # A teacher may be shown further views, whose statistics it follows; nothing else may differ.
    different = {name for name in moved if name.startswith("encoder.")} | without_statistics(moved)
    assert not different, f"{', '.join(sorted(different)[:5])} differ from the method alone"


def two_processes_play_as_one(subjects: Sequence[Subject]) -> None:
    """Check that two ranks are equal to the bit, and equal one process on the joint batch up to
    rounding."""
    ranks = by_two_processes(list(subjects))
    for number, subject in enumerate(subjects):
        require_equal(subject, [rank[number] for rank in ranks], outcome(subject))
