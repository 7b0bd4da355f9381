"""Checks of a method or an opponent whose strength is held by a dial (`Toy.held`)."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch

from sparring.config import Tree, merged
from sparring.contract.check import Check
from sparring.contract.toy import FILLED, Subject
from sparring.errors import ConfigError
from sparring.methods import registry
from sparring.methods.method import Method
from sparring.strength.dial import STRENGTH_METRICS, Dial

Promise: TypeAlias = tuple[str, Callable[[Subject], None]]

OUT_OF_REACH = 1000.0
"""Nats per query that no opponent adds, so that its excess loss is below the target."""
STEPS = 2 * FILLED
"""Steps over which strength 0 is compared with the twin."""
MOST_STEPS = 40
"""Steps within which a dial measures three times at least."""


def held_checks(
    subject: Subject, promises: Sequence[Promise], slow: Sequence[Callable[[Subject], None]]
) -> list[Check]:
    """Checks of the outermost opponent, or of the method without one, at a held strength; empty if
    it has no dial.

    Args:
        subject: method, with the opponent around it.
        promises: names and functions of the contract that must hold then too.
        slow: those of them that take a second or more.
    """
    held = owner(subject).toy.held
    if held is None:
        return []
    dialled = Subject(
        subject.method, subject.opponents, merged(subject.settings, in_section(subject, held))
    )
    own: list[Promise] = [
        ("0 nats are the disarmed twin, to the bit", zero_is_the_twin),
        ("an excess loss below the target raises the share", share_rises),
    ]
    return [
        Check(
            f"held at a strength, {name}", partial(run, dialled), run in (*slow, zero_is_the_twin)
        )
        for name, run in [*promises, *own]
    ]


def held_is_refused(subject: Subject) -> None:
    """Check that a held strength is refused in a clear error around a method whose loss is no
    negative log-likelihood."""
    held = owner(subject).toy.held or {}
    said = "nothing"
    try:
        subject.game(**in_section(subject, held))
    except ConfigError as error:
        said = str(error)
    assert "dial" in said, f"expected an error that says that there is no dial, got: {said}"


def owner(subject: Subject) -> type[Method]:
    """Class whose dial is checked: the outermost opponent's, or the method's."""
    if subject.opponents:
        return registry.opponent_class(subject.opponents[-1])
    return subject.method_class


def in_section(subject: Subject, settings: Mapping[str, Any]) -> Tree:
    """Settings of that class where they stand in a configuration."""
    if subject.opponents:
        return {registry.section_of(subject.opponents[-1]): dict(settings)}
    return dict(settings)


def has_nats(method: str) -> bool:
    """Whether a method's loss is in nats in its toy game."""
    own = registry.method_class(method)
    return own.nats is not Method.nats and Subject(method).game().method.nats is not None


def zero_is_the_twin(subject: Subject) -> None:
    """Check that at strength 0 the losses and the encoder's parameters are those of the disarmed
    twin, to the bit."""
    kind: registry.Kind = "opponent" if subject.opponents else "method"
    name = subject.opponents[-1] if subject.opponents else subject.method
    toy, primary = owner(subject).toy, [t for t in registry.about(kind, name).twins if t.primary]
    assert toy.undialled is not None or primary, "no twin to compare with: see Toy.undialled"
    # A disarmed twin keeps its strength, which has no effect then.
    twin = (
        primary[0].tree()
        if toy.undialled is None
        else {"strength": "released", **dict(toy.undialled)}
    )
    games = [
        subject.game(**in_section(subject, settings)) for settings in ({"strength": 0.0}, twin)
    ]
    for number in range(STEPS):
        losses = [subject.play(game, number)["loss"] for game in games]
        assert losses[0] == losses[1], f"step {number}: loss {losses[0]}, of the twin {losses[1]}"
    for (name, ours), theirs in zip(
        games[0].encoder.named_parameters(), games[1].encoder.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs), f"{name} of the encoder differs from the twin's"


def share_rises(subject: Subject) -> None:
    """Check that the share of the opponent that plays rises while its excess loss is below the
    target, and that the dial's metrics are told."""
    game = subject.game(**in_section(subject, {"strength": OUT_OF_REACH}))
    dials = [part for part in game.method.modules() if isinstance(part, Dial) and part.is_held]
    assert len(dials) == 1, f"expected one held Dial among the modules, found {len(dials)}"
    (dial,) = dials
    first, told = float(dial.log_share), set[str]()
    for number in range(MOST_STEPS):
        told |= subject.play(game, number).keys()
        if dial.num_measured >= 3:
            break
    assert dial.num_measured >= 3, f"{dial.num_measured} measurements in {MOST_STEPS} steps"
    assert float(dial.log_share) > first, "the share did not rise"
    lacking = STRENGTH_METRICS.keys() - told
    assert not lacking, f"no metric {', '.join(sorted(lacking))}"
