"""The plan of a study: which arms, on which images, with which seeds, at which budget, scored how.

A plan is written down before the first run. `sparring compare` makes one from its options, or reads
it from a TOML file; in Python it is `sparring.Study(...)`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, ValidationError, field_validator, model_validator

from sparring.config import Settings, Tree
from sparring.errors import unknown_name

Role: TypeAlias = Literal["game", "twin", "control"]
Budget: TypeAlias = Literal["images", "time"]
Allowed: TypeAlias = Literal["one seed", "seen test set", "unequal budgets", "unequal twins"]
"""What a plan is refused for unless it says that it means it; every output then says so too."""


MOST_PAIRS = 1000
"""Most pairs that a number of seeds stands for; more is taken for a seed."""


class Tuning(Settings):
    """How an arm's settings were chosen, before the study."""

    trials: int = Field(default=0, ge=0)
    """Number of settings that were tried for this arm; 0: none, or not known."""
    images: str = ""
    """Images on which the trials were scored; empty: not known."""


class Arm(Settings):
    """One way to train, compared with the others of its study."""

    name: str = Field(min_length=1)
    """Name in tables and figures, unique in the study, such as `adco` or `adco/queue`."""
    method: str
    """Method, as `sparring train --method` takes it."""
    opponent: tuple[str, ...] = ()
    """Opponents around the method, the innermost first."""
    recipe: str | None = None
    """Recipe of this arm; None: that of the study."""
    settings: Tree = Field(default_factory=dict)
    """Settings of this arm, which go before those of the study and of the recipe."""
    role: Role = "game"
    """What the arm is for: a game has an opponent, a twin has it disarmed, a control has none."""
    twin_of: str = ""
    """Name of the game whose disarmed twin this arm is; empty unless it is a twin."""
    control: str = ""
    """Name of the arm that is this game's control; empty: none."""
    tuning: Tuning = Tuning()


class ScoredSet(Settings):
    """Images on which every run is scored."""

    name: str = Field(min_length=1)
    """Name in tables, unique in the study."""
    data: str
    """Labelled images, as `sparring evaluate --data` takes them; empty: a held-out fifth of the
    study's own."""
    train_data: str = ""
    """Labelled images to learn from, as `--train-data`; empty: the run's own."""


class Contrast(Settings):
    """The difference of two arms, first minus second."""

    first: str
    second: str
    is_primary: bool = False
    """Whether this is the study's main question; early stopping looks at it alone."""

    @property
    def name(self) -> str:
        """Name in tables: `adco minus adco/queue`."""
        return f"{self.first} minus {self.second}"


class Study(Settings):
    """Plan of a study."""

    name: str = ""
    """Title of the study."""
    data: str
    """Images without labels on which every run trains, as `sparring train --data` takes them."""
    arms: tuple[Arm, ...] = Field(min_length=1)
    contrasts: tuple[Contrast, ...] = ()
    """Planned contrasts, the primary one first; empty: every game minus its twins and minus its
    control."""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0, 1, 2, 3, 4), min_length=1)
    """Seeds; every arm is trained with each, which makes one pair. A number N means 0 to N - 1."""
    looks: tuple[Annotated[int, Field(ge=2)], ...] = ()
    """Numbers of pairs at which the study may stop early; empty: all pairs are run."""
    shares: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(default=(1.0,), min_length=1)
    """Shares of the images to train on, drawn anew for each seed."""
    equal: Literal["images", "time", "both"] = "images"
    """What arms have in common: images seen, training time, or one set of runs of each."""
    epochs: int | None = Field(default=None, ge=1)
    """Epochs of every arm; None: those of the recipes, which must be equal."""
    recipe: str | None = None
    """Recipe of all arms that name none; None: `METHOD-small` where there is one."""
    settings: Tree = Field(default_factory=dict)
    """Settings of all arms."""
    protocols: tuple[str, ...] = Field(default=("knn", "linear"), min_length=1)
    """Protocols by which every run is scored; the first one is primary."""
    protocol_settings: Tree = Field(default_factory=dict)
    """Settings of the protocols, by their names."""
    tests: tuple[ScoredSet, ...] = (ScoredSet(name="held-out fifth", data=""),)
    """Test sets; the first one is primary."""
    margin: float = Field(default=0.5, gt=0)
    """Smallest difference that matters, in points (percent of accuracy)."""
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Probability of claiming any difference among the planned contrasts where there is none."""
    threads: int = Field(default=1, ge=1)
    """Threads of each run; bits depend on it."""
    device: str = "auto"
    """Device of each run: auto, cpu, cuda."""
    allowed: tuple[Allowed, ...] = ()
    """Faults for which the plan would be refused, and which it has on purpose."""

    def __init__(self, **fields: Any) -> None:
        """Study of these fields, by name.

        Raises:
            ConfigError: for a field or value that is not accepted, in one line.
        """
        try:
            super().__init__(**fields)
        except ValidationError:
            type(self).build(fields)
            raise

    # Else `build`, which validates without it, would come back here.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @field_validator("seeds", mode="before")
    @classmethod
    def _numbered(cls, given: Any) -> Any:
        if not isinstance(given, int) or isinstance(given, bool):
            return given
        if not 1 <= given <= MOST_PAIRS:
            raise ValueError(
                f"expected a number of pairs from 2 to {MOST_PAIRS:,}, or a list of seeds, got "
                f"{given}"
            )
        return tuple(range(given))

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        names = [arm.name for arm in self.arms]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"arms: two are called '{repeated[0]}'; give each a name of its own")
        for contrast in self.contrasts:
            for name in (contrast.first, contrast.second):
                if name not in names:
                    raise ValueError(unknown_name("arm", name, names))
        return self

    def arm(self, name: str) -> Arm:
        """The arm of this name."""
        return next(arm for arm in self.arms if arm.name == name)

    @property
    def primary_budget(self) -> Budget:
        """Budget of the primary measure."""
        return "time" if self.equal == "time" else "images"

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """Budgets at which every arm runs."""
        return ("images", "time") if self.equal == "both" else (self.equal,)

    def planned_contrasts(self) -> tuple[Contrast, ...]:
        """The plan's contrasts, or every game minus its twins and minus its control; the primary
        one first."""
        if self.contrasts:
            return tuple(sorted(self.contrasts, key=lambda one: not one.is_primary))
        found: list[tuple[str, str]] = []
        for arm in self.arms:
            if arm.role == "game":
                others = [other.name for other in self.arms if other.twin_of == arm.name]
                found += [(arm.name, name) for name in [*others, *filter(None, [arm.control])]]
        return tuple(
            Contrast(first=first, second=second, is_primary=number == 0)
            for number, (first, second) in enumerate(found)
        )

    def tree(self) -> Mapping[str, Any]:
        """The plan as plain values, which `build` reads."""
        return self.model_dump(mode="json", exclude_none=True)
