"""What a protocol is, what it returns, and how protocols run on trained and untrained encoders.

A protocol is one file with three things: its settings, its declaration, and its function.

    class KnnSettings(Settings): ...

    PROTOCOL = Protocol(name="knn", function="knn", settings="KnnSettings", ...)

    def knn(evaluated: EvaluatedEncoder, data: EvaluationData, settings: KnnSettings) -> Result: ...

The protocols of the library are declared with literal arguments, since the list of protocols is
read from their files without running them. Elsewhere the function and the settings may be given
themselves: `function=knn`.

A result holds what JSON can hold. These keys have a meaning for whoever shows it, and a protocol
adds what else it found:

    the declared headline    a number in [0, 1]; what tables and bars quote
    interval                 its 95 % interval, two numbers, from the number of test images alone
    warning, note            a sentence that must, or may, stand beside the number
    table                    see `table`
    curves                   see `curves`
    predictions              what was said of each scored image: `data.classes.predictions(...)`, or
                             a `Predictions`; stored beside the scores and not in them

Importing this file does not import torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from sparring.config import Settings, Tree
from sparring.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from sparring.evaluation.data import EvaluatedEncoder, EvaluationData

    Function: TypeAlias = Callable[[EvaluatedEncoder, EvaluationData, Any], "Result"]

PREDICTIONS = "predictions"
"""Key of a result under which a protocol hands its predictions over."""

Result: TypeAlias = dict[str, Any]
"""What a protocol found about one encoder."""

Done: TypeAlias = Callable[[str, str, Result], None]
"""Called with the names of an encoder and of a protocol, and the result, when there is one, with
its predictions if it has any."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Declaration of a protocol: how it is called, what it needs, and how it is introduced.

    Attributes:
        name: for `--protocol` and scores.json: letters, digits, `-` and `_`.
        function: from an encoder, the images and the settings to a result; or its name in the file
            of the declaration.
        settings: class of its settings; or its name in that file.
        title: name in reports; empty: `name`.
        short: name within a sentence and in narrow tables; empty: the title.
        question: what its number answers.
        labels: what the images must carry: `none`, `classes`, `tags` (classes, perhaps several in
            one image), `boxes`, `outlines`, `masks` or `domains`.
        headline: key of the number that tables quote, in [0, 1]; empty if there is none.
        measure: what that number is, in words.
        source: authors, year and arXiv id.
        variants: settings by name, for `--protocol NAME:VARIANT`.
        is_frozen: the encoder does not learn.
        is_joint: scores both encoders in one call, so it runs once.
        is_for_colours: takes images of three channels only.
        module: dotted name of the declaration's file; filled in by whoever finds it.
    """

    name: str
    function: Function | str
    settings: type[Settings] | str = Settings
    title: str = ""
    short: str = ""
    question: str = ""
    labels: str = "classes"
    headline: str = "accuracy"
    measure: str = "accuracy"
    source: str = ""
    variants: Mapping[str, Tree] = field(default_factory=dict)
    is_frozen: bool = True
    is_joint: bool = False
    is_for_colours: bool = False
    module: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.name):
            raise ConfigError(
                f"a protocol's name has only letters, digits, '-' and '_', got '{self.name}'"
            )

    @property
    def is_of_the_library(self) -> bool:
        """Whether the protocol comes with this library."""
        return self.module.startswith("sparring.evaluation.")

    def load_function(self) -> Function:
        """The protocol's function; its file is imported now if need be."""
        return cast("Function", self._loaded(self.function, "function"))

    def load_settings(self) -> type[Settings]:
        """The class of the protocol's settings; its file is imported now if need be."""
        return cast("type[Settings]", self._loaded(self.settings, "settings"))

    def facts(self) -> dict[str, Any]:
        """The declaration as JSON can hold it."""
        values = {part.name: getattr(self, part.name) for part in fields(self)}
        return {key: getattr(value, "__name__", value) for key, value in values.items()}

    def _loaded(self, given: object, what: str) -> object:
        """An attribute of the declaration, or what it names in the declaration's file."""
        if not isinstance(given, str):
            return given
        if not self.module:
            raise ConfigError(
                f"protocol '{self.name}' has the name of its {what}, '{given}', and not the "
                f"{what}; declare it with {what}={given}, or ask for it as FILE.py:NAME"
            )
        module = import_module(self.module)
        if not hasattr(module, given):
            names = [name for name in vars(module) if not name.startswith("_")]
            raise ConfigError(unknown_name(f"{what} of protocol '{self.name}'", given, names))
        return getattr(module, given)


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A protocol as asked for.

    Attributes:
        name: the protocol's, perhaps with a variant: `linear:adco`.
        protocol: its declaration.
        settings: defaults, changed by the variant and by the user.
    """

    name: str
    protocol: Protocol
    settings: Settings

    def __call__(self, evaluated: EvaluatedEncoder, data: EvaluationData) -> Result:
        """The protocol's result on one encoder.

        A protocol from outside the library has the key of its headline in its result, so that
        scores.json can be shown without the code.
        """
        result = self.protocol.load_function()(evaluated, data, self.settings)
        if data.unreadable_images:
            result = {**result, "unreadable_images": data.unreadable_images}
        if self.protocol.is_of_the_library:
            return result
        return {"headline": self.protocol.headline, **result}


def evaluate(
    encoders: Sequence[EvaluatedEncoder],
    data: EvaluationData,
    protocols: Sequence[Chosen],
    *,
    done: Done | None = None,
) -> dict[str, dict[str, Result]]:
    """Results of every protocol on every encoder: {encoder: {protocol: result}}.

    Args:
        encoders: unchanged afterwards; the first is the run's encoder.
        data: the images.
        protocols: in the order to run.
        done: told each result at once, so that a later failure costs none of them. It alone gets
            the predictions.

    Raises:
        DataError: if a protocol needs labels that are missing or show a single class.
    """
    for chosen in protocols:
        if chosen.protocol.is_for_colours and data.channels != 3:
            raise ConfigError(
                f"protocol '{chosen.name}' takes images of three channels, and this run has "
                f"data.channels={data.channels}; leave it out"
            )
    if any(chosen.protocol.labels == "classes" for chosen in protocols):
        _ = data.classes  # before the minutes that features take
    results: dict[str, dict[str, Result]] = {evaluated.name: {} for evaluated in encoders}
    for chosen in protocols:
        data.sets = None
        for evaluated in encoders[:1] if chosen.protocol.is_joint else encoders:
            result = chosen(evaluated, data)
            if done is not None:
                done(evaluated.name, chosen.name, result)
            results[evaluated.name][chosen.name] = without_predictions(result)
    return results


def without_predictions(result: Result) -> Result:
    """The part of a result that JSON can hold."""
    found = result.get(PREDICTIONS)
    is_plain = found is None or isinstance(found, dict | list)
    return {key: value for key, value in result.items() if key != PREDICTIONS or is_plain}


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str | float | int | None]], *, title: str
) -> Result:
    """A table of a result, for its key `table`.

    Numbers between 0 and 1 in columns whose name ends in `%` are shown as percentages.

    Args:
        columns: names.
        rows: as many cells as columns; None is an empty cell.
        title: what the table shows.
    """
    assert all(len(row) == len(columns) for row in rows)
    return {"title": title, "columns": list(columns), "rows": [list(row) for row in rows]}


def curves(
    lines: Mapping[str, Sequence[tuple[float, float]]], *, title: str, x: str, y: str
) -> Result:
    """Curves of a result, for its key `curves`.

    Args:
        lines: points (x, y) by name, x rising.
        title: what the curves show.
        x: quantity on the horizontal axis, with its unit.
        y: quantity on the vertical axis; shown as a percentage if the name ends in `%`.
    """
    return {
        "title": title,
        "x": x,
        "y": y,
        "lines": {name: [list(point) for point in points] for name, points in lines.items()},
    }


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation of the values (n - 1 in the divisor; 0 for one value).

    Example:
        >>> spread([0.5, 0.7])
        (0.6, 0.1414...)
    """
    mean = sum(values) / len(values)
    return mean, (sum((value - mean) ** 2 for value in values) / max(len(values) - 1, 1)) ** 0.5
