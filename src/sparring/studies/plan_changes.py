"""What changed in a plan, in words, with the old and the new values."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sparring.config import Tree, leaves

_SHOWN = 80
_NAMED: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "arms": lambda one: str(one["name"]),
    "tests": lambda one: str(one["name"]),
    "contrasts": lambda one: f"{one['first']} minus {one['second']}",
}
"""Parts of a plan that are lists, and what each of their entries is called."""

_OF_THE_QUESTION = (
    *("seeds: ", "looks: ", "alpha: ", "margin: ", "protocols: ", "shares: ", "equal: "),
    *("contrast ", "order of contrasts", "test ", "order of tests"),
)
"""Beginnings of changes after which the numbers answer another question, or by other pairs, while
the runs may stay."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change of a plan after it was first written.

    Attributes:
        time: when it was noticed, ISO 8601.
        what: what changed, with the old and the new value.
        num_records: runs that had a record by then.
        by_hand: whether plan.toml itself had been edited.
    """

    time: str
    what: str
    num_records: int
    by_hand: bool = False

    @property
    def is_of_the_question(self) -> bool:
        """Whether it could have been chosen for the scores that were there."""
        return self.num_records > 0 and self.what.startswith(_OF_THE_QUESTION)

    def __str__(self) -> str:
        runs = f"{self.num_records:,} run{'s' * (self.num_records != 1)}"
        when = f"after {runs} had ended" if self.num_records else "before any run had ended"
        how = ", in plan.toml by hand" if self.by_hand else ""
        return f"{self.what} (changed on {self.time}, {when}{how})"


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What two plans differ in, a text each with the old and the new value."""
    for key, name in _NAMED.items():
        old, new = ({name(one): one for one in tree.get(key, ())} for tree in (before, now))
        for one in old.keys() - new.keys():
            yield f"{key[:-1]} '{one}' was taken out: {_shown(old[one])}"
        for one in new.keys() - old.keys():
            yield f"{key[:-1]} '{one}' was added: {_shown(new[one])}"
        for one in [one for one in old if one in new]:
            yield from _changed_leaves(old[one], new[one], f"{key[:-1]} '{one}', ")
        if old.keys() == new.keys() and list(old) != list(new):
            yield f"order of {key}: {_shown(list(old))} became {_shown(list(new))}"
    yield from _changed_leaves(_without_named(before), _without_named(now), "")


def _without_named(tree: Mapping[str, Any]) -> Tree:
    return {key: value for key, value in tree.items() if key not in _NAMED}


def _changed_leaves(before: Mapping[str, Any], now: Mapping[str, Any], where: str) -> Iterator[str]:
    old, new = dict(leaves(before)), dict(leaves(now))
    for name in dict.fromkeys([*old, *new]):
        if name not in new:
            yield f"{where}{name}: {_shown(old[name])} was taken out"
        elif name not in old:
            yield f"{where}{name}: {_shown(new[name])} was added"
        elif old[name] != new[name]:
            yield f"{where}{name}: {_shown(old[name])} became {_shown(new[name])}"


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
