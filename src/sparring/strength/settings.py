"""The setting `strength`: how much an opponent may add to the encoder's loss, in nats per query."""

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, Field

from sparring.config import Settings
from sparring.errors import ConfigError
from sparring.optim.schedule import Position


class StrengthSchedule(Settings):
    """Strength that changes over a run."""

    nats: float = Field(ge=0, allow_inf_nan=False)
    """Excess loss at which the opponent is held, in nats per query; of `rising` and `falling` the
    largest."""
    schedule: Literal["constant", "rising", "falling"] = "constant"
    """`constant`; `rising`, in proportion from 0 at the first step of the run to `nats` at the
    last; `falling`, from `nats` to 0."""


Strength: TypeAlias = (
    Literal["released"]
    | Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
    | StrengthSchedule
)
"""`released`: the paper's constants decide how strong the opponent is. A number: nats per query at
which its excess loss is held. A table: such a number that changes over the run."""


def has_dial(settings: type[BaseModel]) -> bool:
    """Whether a settings model has the setting `strength` of this file; one of another type under
    that name is no dial."""
    field = settings.model_fields.get("strength")
    return field is not None and field.annotation == Strength


def is_held(strength: Strength) -> bool:
    """Whether feedback holds an opponent at a strength, instead of the paper's constants."""
    return strength != "released"


def nats_at(strength: Strength, position: Position) -> float:
    """Excess loss at which an opponent is held at this position, in nats per query.

    Args:
        strength: a number or a schedule; not `released`.
        position: position within the run.

    Example:
        >>> half = Position(step=50, num_steps=101, steps_per_epoch=10)
        >>> nats_at(0.2, half), nats_at(StrengthSchedule(nats=0.2, schedule="rising"), half)
        (0.2, 0.1)
    """
    assert strength != "released"
    if not isinstance(strength, StrengthSchedule):
        return float(strength)
    passed = position.step / max(1, position.num_steps - 1)
    share = {"constant": 1.0, "rising": passed, "falling": 1.0 - passed}[strength.schedule]
    return strength.nats * share


def require_nats(
    strength: Strength, nats: float | None, *, section: str, whose: str, instead: str
) -> None:
    """Refuse a held strength where the loss has no unit in which it could be held.

    Args:
        strength: the setting.
        nats: factor from the loss to nats per query, see `Method.nats`; None: it has none.
        section: name of the setting.
        whose: whose loss it is, such as `the loss of BYOL`.
        instead: what sets the size of the opponent there.

    Raises:
        ConfigError: if a strength is to be held that does not exist.
    """
    if not is_held(strength) or nats is not None:
        return
    shown = f".nats={strength.nats}" if isinstance(strength, StrengthSchedule) else f"={strength}"
    raise ConfigError(
        f"{section}{shown}: no dial here, since {whose} is no negative log-likelihood and the "
        f"opponent has no strength in nats against it; leave out {section}, and {instead}"
    )
