"""The scores of a run: every result, with the images, the checkpoint and the settings it is of.

`scores.json` holds them twice. `results` is the complete record. Above it stand, for people and for
scripts, the latest results of the present checkpoint by protocol: `trained`, and those of the
encoder from which the run started (see `start_name`) where the same was asked on the same images.
"""

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from sparring.config import Tree
from sparring.errors import RunError
from sparring.training.encoder_names import ENCODERS, TRAINED, start_among
from sparring.training.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """The images that a result was learned from, or that it was scored on.

    Attributes:
        name: as the user gave them.
        fingerprint: of their content, equal wherever they lie; None if it is not known.
        images: how many were used; None if it is not known.
        rows: digest of which images of the set these are, in their order; None if it is not known.
    """

    name: str = ""
    fingerprint: str | None = None
    images: int | None = None
    rows: str | None = None

    @property
    def identity(self) -> tuple[str | int | None, ...]:
        """Values that are equal for equal images only; the name counts where nothing better is
        known."""
        return (self.fingerprint or self.name, self.images, self.rows)

    @classmethod
    def of(cls, fingerprint: str, keys: Sequence[str]) -> Self:
        """The images of a set that have these keys, in their order."""
        digest = hashlib.blake2b(digest_size=8)
        for key in keys:
            digest.update(key.encode("utf-8", "surrogatepass") + b"\0")
        return cls(fingerprint=fingerprint, images=len(keys), rows=digest.hexdigest())


@dataclass(frozen=True, kw_only=True)
class ScoredResult:
    """One protocol's result on one encoder, and what it is of.

    Attributes:
        encoder: one of `ENCODERS`.
        protocol: its name, perhaps with a variant.
        step: number of steps that the encoder had learned; None in files of version 0.1.
        settings: all settings of the protocol.
        seed: of the protocol's draws; None in files of version 0.1.
        train: images to learn from.
        test: images that were scored.
        chosen_by: how the encoder was chosen among those of its run; empty for the last one.
        version: of the library.
        time: when it was measured, ISO 8601.
        predictions: file of the predictions, relative to the run folder; empty if there is none.
        result: what the protocol found.
    """

    encoder: str
    protocol: str
    step: int | None = None
    settings: Tree = field(default_factory=dict)
    seed: int | None = None
    train: ImageSet = ImageSet()
    test: ImageSet = ImageSet()
    chosen_by: str = ""
    version: str = ""
    time: str = ""
    predictions: str = ""
    result: Tree = field(default_factory=dict)

    @property
    def question(self) -> str:
        """What was asked, whatever the encoder: results of one question stand side by side."""
        return json.dumps(
            [self.protocol, self.settings, self.seed, self.train.identity, self.test.identity],
            sort_keys=True,
        )

    @property
    def key(self) -> tuple[str, int | None, str]:
        """A later result of the same key replaces this one."""
        return self.encoder, self.step, self.question

    @property
    def file_name(self) -> str:
        """Name for a file of this result's own, without an ending; the same for the same key."""
        digest = hashlib.blake2b(json.dumps(self.key).encode(), digest_size=6).hexdigest()
        protocol = re.sub(r"[^\w.-]+", "-", self.protocol)
        encoder = self.encoder.replace(" ", "-")
        return f"{protocol}-{encoder}-step-{self.step}-{digest}"

    def shown(self) -> Tree:
        """The result as it stands under its protocol: it says its step, how the encoder was chosen,
        and its test images."""
        known = {"step": self.step, "chosen_by": self.chosen_by, "test": self.test.name}
        return self.result | {key: value for key, value in known.items() if value not in (None, "")}

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Self:
        """The result that `dataclasses.asdict` was called on."""
        sets = {name: ImageSet(**tree[name]) for name in ("train", "test")}
        return cls(**{**tree, **sets})


@dataclass(frozen=True, kw_only=True)
class Scores:
    """All results of a run, the latest last.

    Attributes:
        results: at most one of each key.
        step: number of steps of the run's checkpoint; None in files of version 0.1.
        test: name of the images that were scored last.
    """

    results: tuple[ScoredResult, ...] = ()
    step: int | None = None
    test: str = ""

    def at(self, step: int) -> "Scores":
        """Results beside a checkpoint of so many steps."""
        return replace(self, step=step)

    def added(self, one: ScoredResult) -> "Scores":
        """The results with one more, which replaces that of its key."""
        others = [result for result in self.results if result.key != one.key]
        return replace(self, results=(*others, one), test=one.test.name)

    def present(self) -> dict[str, dict[str, ScoredResult]]:
        """The latest results of the present checkpoint by encoder and protocol.

        A result of the encoder from which the run started stands here only beside one of the
        trained encoder that answers the same question.
        """
        start = start_among([one.encoder for one in self.results])
        shown: dict[str, dict[str, ScoredResult]] = {TRAINED: {}, start: {}}
        for one in self.results:
            if one.encoder == TRAINED and one.step == self.step:
                shown[TRAINED].pop(one.protocol, None)
                shown[TRAINED][one.protocol] = one
        beside = {one.question: one for one in self.results if one.encoder == start}
        for protocol, one in shown[TRAINED].items():
            if one.question in beside:
                shown[start][protocol] = beside[one.question]
        return shown

    def tree(self) -> Tree:
        """Content of scores.json; empty without results."""
        if not self.results:
            return {}
        shown = {
            encoder: {protocol: one.shown() for protocol, one in found.items()}
            for encoder, found in self.present().items()
        }
        record = [asdict(one) for one in self.results]
        return {**shown, "test": self.test, "step": self.step, "results": record}

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Self:
        """Results of a scores.json, also of version 0.1, where they are of the run's checkpoint as
        far as is known."""
        if "results" in tree:
            results = [ScoredResult.from_tree(one) for one in tree["results"]]
            return cls(results=tuple(results), step=tree["step"], test=tree["test"])._checked()
        old = [
            ScoredResult(encoder=encoder, protocol=protocol, result=result)
            for encoder in ENCODERS
            for protocol, result in dict(tree.get(encoder, {})).items()
        ]
        return cls(results=tuple(old), test=str(tree.get("test", "")))._checked()

    def _checked(self) -> Self:
        """These scores, if their fields have their types.

        Raises:
            TypeError: if they have not.
        """
        _require_types(self, (int, None), "step")
        _require_types(self, (str,), "test")
        for one in self.results:
            _require_types(one, (dict,), "result", "settings")
            _require_types(one, (int, None), "step", "seed")
            _require_types(one, (str,), "protocol", "chosen_by", "version", "time", "predictions")
            for images in (one.train, one.test):
                _require_types(images, (str,), "name")
                _require_types(images, (str, None), "fingerprint", "rows")
                _require_types(images, (int, None), "images")
            if one.encoder not in ENCODERS:
                raise TypeError("a result of an encoder that no run has")
        return self

    def dated(self, step: int) -> "Scores":
        """Results of version 0.1 get the step of the checkpoint beside which they were found."""
        if self.step is not None:
            return self.at(step)
        results = tuple(
            replace(one, step=step if one.encoder == TRAINED else 0) for one in self.results
        )
        return replace(self, results=results, step=step)


def _require_types(one: object, kinds: tuple[type | None, ...], *fields: str) -> None:
    """Raise a TypeError if a field is of none of these types; None stands for a missing value, and
    a truth value is no whole number."""
    for name in fields:
        value = getattr(one, name)
        if (None if value is None else type(value)) not in kinds:
            raise TypeError(f"{name} is {value!r}")


def read_scores(folder: RunFolder) -> Scores:
    """All results of a run; none before its first evaluation.

    Raises:
        RunError: if the file is damaged.
    """
    try:
        return Scores.from_tree(folder.read_scores())
    except (KeyError, TypeError, ValueError, AttributeError):
        raise RunError(
            f"{folder.scores} is damaged; remove it and use `sparring evaluate`"
        ) from None


def write_scores(folder: RunFolder, scores: Scores) -> None:
    """Replace the results of a run."""
    folder.write_scores(scores.tree())


def add_result(folder: RunFolder, one: ScoredResult, *, step: int) -> None:
    """Add a result to those of a run; evaluations that run at the same time lose none.

    Args:
        folder: of the run.
        one: the result.
        step: number of steps of the run's checkpoint.

    Raises:
        RunError: if the file is damaged.
        StorageError: if it cannot be written.
    """
    with _alone(folder):
        write_scores(folder, read_scores(folder).dated(step).added(one))


def mark_scores(folder: RunFolder, step: int) -> None:
    """Take the results of another step from the top of scores.json, before a checkpoint of this
    step is written; the record keeps them."""
    if folder.scores.exists():
        # A damaged file says nothing, and no training stops for it.
        with suppress(RunError), _alone(folder):
            write_scores(folder, read_scores(folder).at(step))


@contextmanager
def _alone(folder: RunFolder) -> Iterator[None]:
    """Keep other processes from changing the scores; where folders cannot be locked, as on some
    network disks, nothing does."""
    lock = os.open(folder.path, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
