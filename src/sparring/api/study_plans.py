"""The plan of a comparison from the arguments of `sparring.compare`, and whether it can be made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from sparring.config import leaves
from sparring.data.sources.addresses import is_address
from sparring.data.sources.public_sets import is_public_set
from sparring.data.sources.source import ImageData, open_source
from sparring.errors import ConfigError, DataError, unknown_name
from sparring.evaluation.catalogue import find
from sparring.studies.plan import Arm, ScoredSet, Study
from sparring.training.configure import stored_path

Twins: TypeAlias = bool | Sequence[str]
"""Which disarmed twins play: none, the primary one of each method, or those of these names."""
ArmsOf: TypeAlias = Callable[..., Sequence[Arm]]

LOOKS = (5, 8, 12)
"""Numbers of pairs at which a study that may stop early looks at its scores."""
NO_LABELS = "none"
"""What a protocol needs that takes images without labels; see `Protocol.labels`."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Arguments from which a plan is made.

    Attributes:
        data: images to train on.
        methods: methods to compare; METHOD+OPPONENT is a method with its opponent.
        twins: which disarmed twins play.
        tests: labelled images to be scored on, each PATH or NAME=PATH; a held-out fifth of `data`
            if there are none.
        stop_early: whether the study may stop after some of the pairs.
        fields: further fields of `Study`; those that are None are left out.
    """

    data: ImageData | None = None
    methods: str | Sequence[str] | None = None
    twins: Twins = False
    tests: Sequence[str] = ()
    stop_early: bool = False
    fields: Mapping[str, Any]

    def given(self) -> list[str]:
        """Names of the arguments that are given."""
        own = {
            "data": self.data,
            "methods": self.methods,
            "twins": self.twins,
            "tests": self.tests,
            "stop_early": self.stop_early,
        }
        return [
            name
            for name, value in {**own, **self.fields}.items()
            if value is not None and value is not False and value not in ((), [], {})
        ]


def planned(options: Options, arms_of: ArmsOf) -> Study:
    """The plan that the arguments make.

    Args:
        options: the arguments.
        arms_of: arms of methods, with their twins and controls.

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
    return Study.build(
        {
            "name": Path(path).name,
            "data": path,
            **({"tests": [test.model_dump() for test in tests]} if tests else {}),
            **fields,
            "arms": [arm.model_dump() for arm in arms_of(_names(options.methods), options.twins)],
        }
    )


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
    """Seeds and looks of a study that may stop early."""
    seeds = fields.get("seeds", LOOKS[-1])
    number = seeds if isinstance(seeds, int) else len(seeds)
    looks = [look for look in LOOKS if look <= number]
    if len(looks) < 2:
        raise ConfigError(
            f"--stop-early looks after {', '.join(map(str, LOOKS))} pairs, and there are {number} "
            f"seeds, so there is nothing to stop before; give --seeds {LOOKS[1]} or more"
        )
    return {"seeds": seeds, "looks": looks}


def _names(methods: str | Sequence[str]) -> list[str]:
    """Distinct names of methods, each given alone or separated by commas."""
    texts = [methods] if isinstance(methods, str) else list(methods)
    names = [name.strip() for text in texts for name in text.split(",")]
    return list(dict.fromkeys(name for name in names if name))


def difference(before: Study, now: Study) -> str:
    """First setting in which two plans differ, as `seeds: [0, 1], now [0, 1, 2]`; empty if none."""
    old, new = dict(leaves(before.tree())), dict(leaves(now.tree()))
    for key in [*old, *new]:
        if old.get(key) != new.get(key):
            return f"{key}: {_shown(old.get(key))}, now {_shown(new.get(key))}"
    return ""


def _shown(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def require_labels(study: Study) -> None:
    """Refuse a study whose scores need labels that its images do not have.

    Raises:
        DataError: for the first test set without labels, or if images are missing.
    """
    needs = {name: find(name)[0].labels for name in study.protocols}
    wanting = [name for name, labels in needs.items() if labels != NO_LABELS]
    if study.protocols[0] not in wanting:
        raise DataError(
            f"protocol '{study.protocols[0]}' gives no accuracy, so arms cannot be compared by it; "
            "name one that needs labels first, such as knn"
        )
    for test in study.tests:
        for data, part in ((test.train_data or study.data, "train"), (test.data, "test")):
            if data and needs[wanting[0]] in ("classes", "tags"):
                _require_labels(data, part, wanting[0], test)


def _require_labels(data: str, part: str, protocol: str, test: ScoredSet) -> None:
    if is_address(data) or is_public_set(data):  # their own packages say what is missing
        return
    source = open_source(data, part="test" if part == "test" else "train")
    if source.labels() is None:
        option = "--test PATH" if not test.data else f"another --test than '{test.name}'"
        raise DataError(
            f"{data} has no labels, and protocol '{protocol}' scores by them; put images into one "
            f"folder per class, or give {option}"
        )
