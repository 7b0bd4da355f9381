"""What the metrics of a dial say, in sentences: its numbers, and what to do about them.

Every threshold is a constant with its reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sparring.strength.dial import FLOOR, SMALLEST

OUTER, INNER = "opponent/", "opponent/inner/"
"""Beginnings of the names of a dial's metrics: of the outermost opponent, and of the one inside."""
ALL = 0.995
"""Share from which on an opponent plays with all it has, allowing for rounding."""
MISSED = 0.2
"""Distance of the mean excess loss from its target, as a share of the target, from which on it is
told. A dial inside its bounds holds 0.15 (tests/strength/test_dial.py)."""
SWINGING = 0.5
"""Swing from which on an excess loss oscillates. In simulations, noise as large as the target gives
0.3 at most, a plant that answers 20 measurements late 0.8 to 1.0."""
NOTHING = 0.01
"""Nats per query, up or down, within which an opponent is as hard as its twin; half of the spread
of single measurements on small images."""


@dataclass(frozen=True, kw_only=True)
class DialFinding:
    """One finding about an opponent's excess loss.

    Attributes:
        text: clause with the numbers, without a full stop.
        advice: what to do, a clause; empty if there is nothing to do.
    """

    text: str
    advice: str = ""


@dataclass(frozen=True, kw_only=True)
class DialState:
    """What a dial measured and did, about one moment.

    Attributes:
        noun: `the opponent`, or `the opponent inside`.
        excess: excess loss, nats per query.
        target: excess loss at which the opponent is held; None: it is not held.
        share: share of it that plays.
        swing: see `Dial.swing`.
    """

    noun: str
    excess: float
    target: float | None = None
    share: float = 1.0
    swing: float = 0.0


def dial_states(record: Mapping[str, float | int]) -> list[DialState]:
    """What the dials of a run say in a record of metrics; empty without a dial.

    Args:
        record: metrics by name.
    """
    return [
        DialState(
            noun=noun,
            excess=record[f"{start}excess_loss"],
            target=record.get(f"{start}target"),
            share=record.get(f"{start}share", 1.0),
            swing=record.get(f"{start}swing", 0.0),
        )
        for start, noun in ((OUTER, "the opponent"), (INNER, "the opponent inside"))
        if f"{start}excess_loss" in record
    ]


def dial_finding(state: DialState) -> DialFinding:
    """What an opponent adds to the encoder's loss, and whether it is held where it was asked to."""
    return _missed(state) or _plain(state)


def dial_alarm(record: Mapping[str, float | int]) -> str | None:
    """A warning if a dial does not hold its opponent at the target; None otherwise.

    Args:
        record: metrics by name.

    Example:
        >>> now = {"excess_loss": 0.12, "target": 0.4, "share": 1.0, "swing": 0.0}
        >>> dial_alarm({f"opponent/{name}": value for name, value in now.items()})
        'the opponent adds 0.12 nats with all it has and does not reach strength=0.4; ask for less'
    """
    for state in dial_states(record):
        if (found := _missed(state)) is not None:
            return f"{found.text}; {found.advice}"
    return None


def _missed(state: DialState) -> DialFinding | None:
    """What keeps a held opponent away from its target; None if nothing does."""
    target, excess = state.target, state.excess
    if not target:  # not held, or held at 0, where the twin plays
        return None
    asked, missed = f"strength={target:.3g}", _allowed(target)
    if state.swing > SWINGING:
        return DialFinding(
            text=f"the excess loss of {state.noun} swings about {asked} by "
            f"{100 * state.swing:.0f} % of it",
            advice="the opponent answers too slowly to be held: strength=released ends it, and a "
            "bank may do with a smaller bank.turn_degrees",
        )
    if state.share >= ALL and excess < target - missed:
        return DialFinding(
            text=f"{state.noun} adds {_text(excess)} nats with all it has and does not reach "
            f"{asked}",
            advice="ask for less",
        )
    if state.share <= SMALLEST * 1.01 and excess > target + missed:
        return DialFinding(
            text=f"{state.noun} adds {_text(excess)} nats with the smallest share of it, more than "
            f"{asked}",
            advice="ask for more, or for 0, where its disarmed twin plays",
        )
    return None


def _plain(state: DialState) -> DialFinding:
    """What an opponent adds, where nothing keeps it away from its target."""
    target, excess = state.target, state.excess
    adds = f"{state.noun} adds {_text(excess)} nats per query above its disarmed twin"
    if target is None and excess < NOTHING:
        easier = (
            f"{state.noun} is easier than its disarmed twin, by {_text(-excess)} nats per query"
        )
        return DialFinding(
            text=easier if excess < -NOTHING else f"{adds}, which is nothing",
            advice="hold it where it is harder, as by --strength 0.1, or train the twin, which "
            "costs less",
        )
    if target is None:
        return DialFinding(text=f"{adds}, by its released constants")
    if target == 0:
        return DialFinding(text=f"{state.noun} is held at strength=0, where its twin plays")
    asked, share = f"strength={target:.3g}", f"{100 * state.share:.1f} % of what it has"
    if abs(excess - target) > _allowed(target):
        side = "short of" if excess < target else "more than"
        return DialFinding(text=f"{adds}, {side} {asked}, with {share}")
    return DialFinding(text=f"{adds}, held at {asked} by {share}")


def _allowed(target: float) -> float:
    """Distance from a target within which an opponent counts as held there."""
    return max(MISSED * target, FLOOR / 2)


def _text(nats: float) -> str:
    return f"{round(nats, 2) + 0.0:.2f}"  # adding 0 makes 0 of -0
