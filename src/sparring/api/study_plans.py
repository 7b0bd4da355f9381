"""The plan of a comparison from the arguments of `sparring.compare`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from sparring.config import merged
from sparring.data.sources.public_sets import is_public_set
from sparring.data.sources.source import ImageData
from sparring.errors import ConfigError, unknown_name
from sparring.studies.configs import arm_config
from sparring.studies.plan import ScoredSet, Study
from sparring.studies.reading import with_arms
from sparring.training.configure import stored_path
from sparring.training.strengths import StrengthValue, strength_settings

Twins: TypeAlias = bool | str | Sequence[str]
"""Which disarmed twins play: none, the primary one of each method, `all`, or those of these
names."""

LOOKS = (5, 8, 12)
"""Numbers of pairs at which a study that may stop early looks at its scores, besides its end."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Arguments from which a plan is made.

    Attributes:
        data: images to train on.
        methods: methods to compare; METHOD+OPPONENT is a method with its opponent.
        twins: which disarmed twins play.
        controls: whether each method's control plays too.
        tests: labelled images to be scored on, each PATH or NAME=PATH; a held-out fifth of `data`
            if there are none.
        stop_early: whether the study may stop after some of the pairs.
        strength: strength of the opponents of all arms that have a dial, as `train` takes it.
        fields: further fields of `Study`; those that are None are left out.
    """

    data: ImageData | None = None
    methods: str | Sequence[str] | None = None
    twins: Twins = False
    controls: bool = False
    tests: Sequence[str] = ()
    stop_early: bool = False
    strength: StrengthValue | None = None
    fields: Mapping[str, Any]

    def given(self) -> list[str]:
        """Names of the arguments that are given."""
        own = {
            "data": self.data,
            "methods": self.methods,
            "twins": self.twins,
            "controls": self.controls,
            "tests": self.tests,
            "stop_early": self.stop_early,
            "strength": self.strength,
        }
        return [
            name
            for name, value in {**own, **self.fields}.items()
            if value is not None and value is not False and value not in ((), [], {})
        ]


def planned(options: Options) -> Study:
    """The plan that the arguments make.

    Raises:
        ConfigError: if an argument is missing or not accepted.
    """
    if options.data is None or options.methods is None:
        raise ConfigError(
            "a new study needs images and methods: --data PHOTOS --methods NAME,NAME, or a "
            "PLAN.toml; to go on with one, name its folder"
        )
    path = stored_path(options.data)
    if not path:
        raise ConfigError(
            "a study trains many times, perhaps on several machines, so its images must be files: "
            "give data= a folder, a file or an address"
        )
    unknown = [name for name in options.fields if name not in Study.model_fields]
    if unknown:
        raise ConfigError(unknown_name("argument", unknown[0], Study.model_fields))
    fields = {name: value for name, value in options.fields.items() if value is not None}
    if options.stop_early:
        fields |= _early_stopping(fields)
    tests = scored_sets(options.tests)
    methods = options.methods
    arms = {
        "methods": [methods] if isinstance(methods, str) else list(methods),
        "twins": options.twins,
        "controls": options.controls,
    }
    named = {"tests": [test.model_dump() for test in tests]} if tests else {}
    tree = {"name": Path(path).name, "data": path, **named, **fields, **arms}
    study = Study.build(with_arms(tree))
    return study if options.strength is None else with_strength(study, options.strength)


def with_strength(study: Study, strength: StrengthValue) -> Study:
    """The study with this strength of every arm that has a dial. A twin is given it too, on which
    it has no effect, so that game and twin differ in nothing else.

    Raises:
        ConfigError: if no arm has a dial, or one has two.
    """
    configs = [arm_config(study, arm) for arm in study.arms]
    held = strength_settings(configs, strength)
    arms = [
        arm.model_copy(update={"settings": merged(own, arm.settings)})
        for arm, own in zip(study.arms, held, strict=True)
    ]
    return study.model_copy(update={"arms": tuple(arms)})


def scored_sets(given: Sequence[str]) -> list[ScoredSet]:
    """Test sets from PATH or NAME=PATH each; a path without a name is called after its end.

    Raises:
        ConfigError: if two have the same name.
    """
    found: list[ScoredSet] = []
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or Path(text).exists():
            name, path = Path(text.rstrip("/")).name, text
        if not name or not path:
            raise ConfigError(f"--test {text}: expected PATH or NAME=PATH")
        if any(name == other.name for other in found):
            raise ConfigError(
                f"--test {text}: two test sets are called '{name}'; write NAME=PATH with a name of "
                "its own"
            )
        found.append(ScoredSet(name=name, data=path if is_public_set(path) else stored_path(path)))
    return found


def _early_stopping(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Seeds and looks of a study that may stop early, the last look at its end."""
    seeds = fields.get("seeds", LOOKS[-1])
    number = seeds if isinstance(seeds, int) else len(seeds)
    looks = [look for look in LOOKS if look < number]
    if not looks:
        raise ConfigError(
            f"--stop-early looks after {', '.join(map(str, LOOKS))} pairs, and there are {number} "
            f"seeds, so there is nothing to stop before; give --seeds {LOOKS[1]} or more"
        )
    return {"seeds": seeds, "looks": [*looks, number]}
