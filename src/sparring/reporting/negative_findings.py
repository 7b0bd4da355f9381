"""What looks at a run's negatives say, in sentences: each with its number and a piece of advice.

Every threshold is a constant with its reason. Advice names a setting only if the run has it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sparring.config import Tree, leaves
from sparring.methods import registry
from sparring.reporting.sentences import listed, percent

LATE_LOOKS = 3
"""Looks at the end over which numbers are averaged; a single one scatters by some percent."""
NO_HARDER = 0.02
"""Lead over random keys, in cosine at the 99 % quantile, below which an opponent does nothing: two
sets of random keys differed by up to 0.011 in the example of docs/negatives.md."""
STALE = 0.05
"""Amount by which the 99 % quantile of a queue may fall below that of fresh keys; several times the
scatter of two sets of random keys."""
FEW_SHARE = 0.05
"""Share of the negatives in effect below which few count: with 1 of 20, a batch of 256 works like
one of 13."""
ALIKE_SHARE = 0.95
"""Share of the negatives in effect from which on hardness plays no part in the weights."""
MIN_NUMBER = 32
"""Negatives from which on their effective number is judged; of a handful, all may well count."""
MANY_FALSE = 0.25
"""Share of likely false negatives among the hardest from which on they are worth a correction: a
quarter of the strongest pushes separates what belongs together."""
ABOVE_CHANCE = 0.1
"""What that share must be above chance: with two classes, half of all pairs are of one class
whatever the encoder does."""
UNUSED_GAP = 0.15
"""Amount by which the used share of a bank may fall below that of random keys; two sets of these
differed by up to 0.11 in the same example."""
NARROW = 0.9
"""Median cosine of negatives from which on all embeddings lie in a narrow cone."""
RELEASED = "released"
"""Value of `strength` with which nothing is held."""
COINCIDES = 0.98
"""Mean cosine of the hardest negative from which on it is as good as the anchor itself."""


@dataclass(frozen=True, kw_only=True)
class NegativeFinding:
    """One finding about a run's negatives.

    Attributes:
        text: sentence with the number.
        advice: what to do, a sentence; empty if there is nothing to do.
    """

    text: str
    advice: str = ""

    @property
    def is_problem(self) -> bool:
        """Whether something is to be done."""
        return bool(self.advice)


@dataclass(frozen=True, kw_only=True)
class Patient:
    """A run, or several of one configuration, as its findings need it.

    Attributes:
        now: late values of metrics by their names without `negatives/`.
        settings: names of all settings of the run.
        is_held: whether `strength` holds what supplies the negatives, instead of its released
            constants.
    """

    now: Mapping[str, float]
    settings: frozenset[str]
    is_held: bool = False

    @property
    def noun(self) -> str:
        """Word for what the opponent has: bank, queue, or negatives."""
        if self.now.get("stored"):
            return "bank" if "bank.size" in self.settings else "queue"
        return "mined negatives" if "random_higher" in self.now else "negatives"

    @property
    def subject(self) -> str:
        """Beginning of a sentence about it: `The bank is`, `The mined negatives are`."""
        return f"The {self.noun} {'are' if self.noun.endswith('s') else 'is'}"

    @property
    def pace(self) -> str:
        """The setting that says how far a step moves a learned bank; empty without one."""
        return self.first_setting(
            "bank.turn_degrees" if self.is_held else "players.bank.learning_rate"
        )

    def first_setting(self, *names: str) -> str:
        """The first of these settings that the run has; empty if it has none."""
        return next((name for name in names if name in self.settings), "")


def looks(records: Sequence[Mapping[str, float | None]]) -> list[dict[str, float]]:
    """Records of looks at negatives, in order, with all finite values.

    Args:
        records: lines of metrics.jsonl.
    """
    return [
        {name: value for name, value in record.items() if value is not None}
        for record in records
        if record.get("negatives/number") is not None
    ]


def late(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over the last looks, by names without `negatives/`; of those alone at which as much
    was played as at the last.

    Args:
        found: looks, at least one.
    """
    state = found[-1].get("negatives/is_played")
    same = [look for look in found[-LATE_LOOKS:] if look.get("negatives/is_played") == state]
    return {
        name.removeprefix("negatives/"): sum(values) / len(values)
        for name in found[-1]
        if name.startswith("negatives/")
        and (values := [look[name] for look in same if name in look])
    }


def findings(
    records: Sequence[Mapping[str, float | None]], config: Tree
) -> tuple[NegativeFinding, ...]:
    """Findings about a run's negatives late in training; empty if no look saw any.

    Args:
        records: lines of metrics.jsonl.
        config: resolved configuration of the run.
    """
    found = looks(records)
    if not found:
        return ()
    patient = Patient(
        now=late(found),
        settings=frozenset(name for name, _ in leaves(config)),
        is_held=config.get("strength", RELEASED) != RELEASED and not config.get("disarmed"),
    )
    rules: tuple[Callable[[Patient], NegativeFinding | None], ...] = (
        _cone,
        _strength,
        _false_negatives,
        _effective_number,
        _usage,
    )
    return tuple(one for rule in rules if (one := rule(patient)) is not None)


def verdict(found: Sequence[NegativeFinding]) -> str:
    """Sentence on all findings of a run together."""
    problems = sum(one.is_problem for one in found)
    if not problems:
        return "Nothing unusual."
    return f"{problems} of {len(found)} findings ask for something."


def _cone(patient: Patient) -> NegativeFinding | None:
    now = patient.now
    if now["median"] >= NARROW:
        return NegativeFinding(
            text=f"The median cosine of negatives is {now['median']:.2f}: hardness collapses to 1, "
            "since all embeddings lie in a narrow cone.",
            advice=_advised(
                patient.first_setting("temperature", "triplet.temperature"),
                "A lower {} spreads embeddings; see also the label-free measures.",
                "See the label-free measures: the encoder may have collapsed.",
            ),
        )
    lead = now["hardest"] - now.get("random_hardest", now["hardest"])
    if now["hardest"] >= COINCIDES and lead >= NO_HARDER:
        return NegativeFinding(
            text=f"The hardest of the {patient.noun} coincides with the anchor: cosine "
            f"{now['hardest']:.2f} beside {now['random_hardest']:.2f} of random play and "
            f"{now['positive']:.2f} of the positive. It is too hard: a false negative.",
            advice=_advised(
                patient.first_setting("mining.skip") or patient.pace,
                "Skip the hardest or slow the opponent down: {}.",
                "Weaken the opponent.",
            ),
        )
    return None


def _strength(patient: Patient) -> NegativeFinding | None:
    now, subject = patient.now, patient.subject
    if "random_higher" not in now:
        return NegativeFinding(
            text="The negatives are other images of the batch as they come, which is random play; "
            f"the 99 % quantile of their cosine is {now['higher']:.3f}."
        )
    numbers = (
        f"{now['higher']:.3f} against {now['random_higher']:.3f} at the 99 % quantile of the cosine"
    )
    lead = now["higher"] - now["random_higher"]
    if now.get("is_played"):
        return _played(patient, lead, numbers)
    if lead < -STALE:
        return NegativeFinding(
            text=f"{subject} easier than fresh keys ({numbers}): stale.",
            advice=_advised(
                patient.first_setting("queue.size", "bank.size"),
                "A smaller {} holds newer keys; so does a higher teacher_momentum.",
                "Fewer stored keys are newer ones.",
            ),
        )
    return NegativeFinding(
        text=f"No opponent plays: {subject[0].lower()}{subject[1:]} as hard as random keys "
        f"({numbers})."
    )


def _played(patient: Patient, lead: float, numbers: str) -> NegativeFinding:
    """What an opponent that plays is worth beside random play.

    A bank that is much easier was left behind by the encoder: its gradient vanishes with its
    distance (docs/log/learned-bank-dies.md), so a higher rate or a later start brings it back, and
    a lower rate makes it worse (docs/negatives.md).
    """
    subject, rate = patient.subject, patient.pace
    twin = "Train the disarmed twin, which has the same negatives for less."
    if lead >= NO_HARDER:
        return NegativeFinding(text=f"{subject} harder than random keys ({numbers}).")
    if lead <= -STALE and patient.now.get("stored"):
        later = patient.first_setting("queue_epochs")
        more = f", or {later}, so that it begins to learn later" if later else ""
        return NegativeFinding(
            text=f"{subject} easier than random keys ({numbers}): left behind by the encoder.",
            advice=_advised(rate, f"Raise {{}}{more}.", twin),
        )
    if lead <= -STALE:
        return NegativeFinding(
            text=f"{subject} easier than random keys ({numbers}): random play is the harder game.",
            advice=twin,
        )
    if patient.is_held:
        return NegativeFinding(
            text=f"{subject} no harder than random keys ({numbers}); strength holds the loss, not "
            "the cosine."
        )
    return NegativeFinding(
        text=f"{subject} no harder than random keys ({numbers}): the opponent does nothing here.",
        advice=_advised(
            rate,
            "Raise {}, or train the disarmed twin, which has the same negatives for less.",
            twin,
        ),
    )


def _false_negatives(patient: Patient) -> NegativeFinding:
    now = patient.now
    if "false_by_label" in now:
        share, chance = now["false_by_label"], now.get("same_class", 0.0)
        what = f"share the anchor's class ({percent(chance)} by chance)"
    else:
        share, chance = now["false_by_neighbours"], 0.0
        what = "are mutual nearest neighbours of the anchor by features, without labels"
    text = f"{percent(share)} of the hardest 1 % {what}"
    if share < MANY_FALSE or share - chance < ABOVE_CHANCE:
        return NegativeFinding(text=f"{text}: nothing unusual.")
    names = [name for name in patient.settings if name.rpartition(".")[2] == "tau_plus"]
    skip = patient.first_setting("mining.skip")
    if names or skip:
        advice = f"Raise {listed(sorted(filter(None, [skip, *names])))}."
    else:
        advice = f"Nothing in this run corrects for them; {_correcting()}, by tau_plus."
    return NegativeFinding(text=f"{text}: likely false negatives.", advice=advice)


def _effective_number(patient: Patient) -> NegativeFinding:
    now = patient.now
    number, effective = now["number"], now["effective_number"]
    text = f"{effective:,.0f} effective negatives of {number:,.0f}"
    name = patient.first_setting("temperature", "triplet.temperature")
    if number >= MIN_NUMBER and effective < FEW_SHARE * number:
        return NegativeFinding(
            text=f"{text}: the temperature is so low that few count.",
            advice=_advised(name, "Raise {}.", "Fewer negatives would do."),
        )
    if number >= MIN_NUMBER and effective > ALIKE_SHARE * number and name:
        return NegativeFinding(
            text=f"{text}: all count alike, so hardness plays no part.",
            advice=f"A lower {name} gives hard negatives more weight.",
        )
    return NegativeFinding(text=f"{text}: nothing unusual.")


def _usage(patient: Patient) -> NegativeFinding | None:
    now = patient.now
    if "used" not in now:
        return None
    unused, random = 1 - now["used"], 1 - now["random_used"]
    text = (
        f"{percent(unused)} of the {patient.noun} is among the hardest 1 % of no anchor "
        f"({percent(random)} of random keys)"
    )
    if unused - random < UNUSED_GAP:
        return NegativeFinding(text=f"{text}: nothing unusual.")
    name = patient.first_setting("bank.size", "queue.size")
    rate = patient.pace if now.get("is_played") else ""
    higher = f"A higher {rate} brings more of it into play; else a" if rate else "A"
    return NegativeFinding(
        text=f"{text}.",
        advice=_advised(name, f"{higher} smaller {{}} would do.", "Fewer would do."),
    )


def _advised(name: str, known: str, unknown: str) -> str:
    return known.format(name) if name else unknown


def _correcting() -> str:
    """Names of the shipped methods that correct for false negatives."""
    names = [
        name
        for name in registry.shipped("method")
        if "tau_plus" in registry.method_class(name).settings_class.model_fields
    ]
    return f"the methods {listed(names)} do" if names else "a method that has it does"
