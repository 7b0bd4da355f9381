"""The data-efficiency protocol: how the score grows with the images that pretraining sees.

For every seed the run's training images are put in a random order, and its game is played again on
the first part of them, so smaller sets lie within larger ones. All labelled training images serve
the scoring at every size: only pretraining is starved. A control plays on the same images with the
same seeds; the share at which the run's method reaches the control's score on all images is the
factor by which it saves them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, field_validator

from sparring.config import Settings, merged, read_toml
from sparring.data.sources.dataset_subset import dataset_subset
from sparring.evaluation.data import Contestant, Material
from sparring.evaluation.features import extract_features
from sparring.evaluation.frozen.knn import KnnSettings
from sparring.evaluation.frozen.logistic import linear_probe
from sparring.evaluation.pretraining_again.crossing import crossing
from sparring.evaluation.pretraining_again.pretraining import (
    Pretrained,
    pretrained,
    require_batches,
    run_config,
)
from sparring.evaluation.protocol import Result, curves, spread, table
from sparring.measures.knn import knn_accuracy
from sparring.models.encoder import Encoder
from sparring.seeding import generator
from sparring.training.settings import RunConfig


class DataEfficiencySettings(Settings):
    """Settings of `data-efficiency`."""

    shares: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (0.1, 0.2, 0.5, 1.0)
    """Of the training images; the whole set, 1.0, must be among them."""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0, 1, 2), min_length=1)
    """Of the order of the images and of the pretraining; the spread is over them, so one seed costs
    a third and tells no spread."""
    epochs: int | None = Field(default=None, ge=1)
    """Of the pretraining on all images; None: the run's."""
    fixed: Literal["epochs", "steps"] = "epochs"
    """What smaller sets keep: `epochs`, with fewer steps; `steps`, as nearly as whole epochs allow,
    with each image seen more often."""
    score: Literal["knn", "linear"] = "knn"
    """With the defaults of the protocol of that name."""
    control: str | None = None
    """Name of another method, which takes its own defaults, or a TOML file with its settings;
    images, encoder, training are the run's."""

    @field_validator("shares")
    @classmethod
    def _with_the_whole(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if 1.0 not in shares:
            raise ValueError(f"must contain 1.0, the whole set, got {', '.join(map(str, shares))}")
        return tuple(sorted(set(shares)))


Line: TypeAlias = list[list[float]]
"""Scores of one game: for each seed, one per share."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is pretrained and how it is scored."""

    games: dict[str, RunConfig]
    """The run's configuration by its name, then its control's."""
    counts: tuple[int, ...]
    """Images of each share."""
    available: npt.NDArray[np.int64]
    """Indices of the images that pretraining may see: all but those held out for the score."""
    material: Material
    settings: DataEfficiencySettings

    def rows(self, count: int, seed: int) -> npt.NDArray[np.int64]:
        """Images of one pretraining, in rising order."""
        order = torch.randperm(
            len(self.available), generator=generator(seed, "data efficiency")
        ).numpy()
        return np.sort(self.available[order[:count]])

    def config(self, game: str, count: int, seed: int) -> RunConfig:
        """Configuration of one pretraining."""
        config = self.games[game]
        epochs, batch = self.settings.epochs or config.training.epochs, config.training.batch_size
        if self.settings.fixed == "steps":
            epochs = max(1, round(epochs * (self.counts[-1] // batch) / (count // batch)))
        return RunConfig.from_tree(
            merged(config.tree(), {"seed": seed, "training": {"epochs": epochs}})
        )

    def pretrained(self, game: str, count: int, seed: int) -> Pretrained:
        """One pretraining, in its own folder."""
        images = dataset_subset(self.material.classes.train, self.rows(count, seed))
        same_steps = (
            "-same-steps" if self.settings.fixed == "steps" and count < self.counts[-1] else ""
        )
        place = f"data-efficiency/{game}/seed-{seed}/{count}-images{same_steps}"
        return pretrained(
            images, place, config=self.config(game, count, seed), material=self.material
        )


def data_efficiency(
    contestant: Contestant, material: Material, settings: DataEfficiencySettings
) -> Result:
    """Score after pretraining on every share of the images, and the share that equals the control
    on all of them.

    The contestant itself is not looked at: everything is pretrained anew, so that all shares are
    treated alike.
    """
    plan = _plan(material, settings)
    total = len(plan.games) * len(settings.seeds) * len(settings.shares)
    material.report(
        f"data-efficiency: {total} pretrainings, one after the other; an interrupted "
        "evaluation goes on where it was"
    )
    lines: dict[str, Line] = {}
    for game in plan.games:
        lines[game] = [
            [_score(plan.pretrained(game, count, seed).trained, plan) for count in plan.counts]
            for seed in settings.seeds
        ]
    first = next(iter(plan.games))
    untrained = [
        _score(plan.pretrained(first, plan.counts[0], seed).untrained, plan)
        for seed in settings.seeds
    ]
    return _result(plan, lines, untrained)


def control_config(name: str, run: RunConfig) -> RunConfig:
    """Another method with the run's images, encoder and training.

    Args:
        name: of a method, which then has its own defaults; or a TOML file with its settings, whose
            general sections do not count.
        run: the run's configuration.

    Raises:
        ConfigError: for an unknown method, or a file that is missing or wrong.
    """
    own = read_toml(Path(name).expanduser()) if name.endswith(".toml") else {"method": name}
    general = {
        key: value
        for key, value in run.tree().items()
        if key in ("seed", "data", "encoder", "training")
    }
    return RunConfig.from_tree(merged(own, general))


def _plan(material: Material, settings: DataEfficiencySettings) -> Plan:
    config, known = run_config(material), material.classes
    games = {_name(config): config}
    if settings.control is not None:
        control = control_config(settings.control, config)
        games[f"control-{_name(control)}"] = control
    labels = known.train.labels
    assert labels is not None
    held_out = labels >= 0
    held_out[known.train_rows.numpy()] = False
    available = np.flatnonzero(~held_out)
    counts = tuple(round(share * len(available)) for share in settings.shares)
    for share, count in zip(settings.shares, counts, strict=True):
        require_batches(count, config, f"share {share:g} of {len(available):,} images")
    return Plan(
        games=games, counts=counts, available=available, material=material, settings=settings
    )


def _name(config: RunConfig) -> str:
    return "+".join((config.method, *config.opponent))


def _score(encoder: Encoder, plan: Plan) -> float:
    """Accuracy on the test images, learned from all labelled training images."""
    material, known = plan.material, plan.material.classes
    sets = (
        dataset_subset(known.train, known.train_rows.numpy()),
        dataset_subset(known.test, known.test_rows.numpy()),
    )
    train, test = (
        extract_features(
            encoder, images, device=material.device, progress=material.progress("features")
        ).to(material.device)
        for images in sets
    )
    labels, targets = known.train_labels.to(material.device), known.test_labels.to(material.device)
    if plan.settings.score == "linear":
        return linear_probe(train, labels, test, targets, seed=material.seed).accuracy
    defaults = KnnSettings()
    return knn_accuracy(
        train,
        labels,
        test,
        targets,
        num_neighbors=defaults.num_neighbors,
        temperature=defaults.temperature,
    )


def saving(shares: Sequence[float], line: Line, control: Line) -> Result:
    """Share of the images with which a method equals its control on all of them, seed by seed.

    Args:
        shares: rising, the last 1.
        line: scores of the method.
        control: scores of the control, of the same seeds and shares.

    Returns:
        `shares`: of each seed, None where the method does not get there; `share`: their mean, None
        if any seed does not; `range`: smallest and largest of those that do; `reached`: number of
        those; `at_most`: some seed gets there with the smallest share measured, so that the truth
        may be less.
    """
    found = [
        crossing(list(zip(shares, own, strict=True)), other[-1])
        for own, other in zip(line, control, strict=True)
    ]
    reached = [share for share in found if share is not None]
    return {
        "shares": found,
        "share": spread(reached)[0] if len(reached) == len(found) else None,
        "range": [min(reached), max(reached)] if reached else None,
        "reached": len(reached),
        "at_most": any(share == shares[0] for share in reached),
    }


def _result(plan: Plan, lines: Mapping[str, Line], untrained: Sequence[float]) -> Result:
    settings, run = plan.settings, next(iter(lines))
    accuracy, deviation = spread([scores[-1] for scores in lines[run]])
    result: Result = {
        "accuracy": accuracy,
        "spread": deviation,
        "score": settings.score,
        "fixed": settings.fixed,
        "seeds": list(settings.seeds),
        "shares": list(settings.shares),
        "images": list(plan.counts),
        "scores": {**lines, "untrained": list(untrained)},
        **plan.material.classes.sizes,
        "table": _table(plan, lines, untrained),
        "curves": _curves(plan, lines, untrained),
    }
    notes = (
        ["smaller sets have fewer steps too"]
        if settings.fixed == "epochs"
        else ["all sets have about as many steps"]
    )
    for control in list(lines)[1:]:
        result["factor"] = {
            "control": control,
            **saving(settings.shares, lines[run], lines[control]),
        }
        notes.append(_sentence(run, result["factor"], len(settings.seeds)))
        if spread([scores[-1] for scores in lines[control]])[0] <= spread(untrained)[0]:
            result["warning"] = (
                "the control on all images is no better than the untrained encoder, so "
                "reaching it says nothing"
            )
    return {**result, "note": "; ".join(notes)}


def _sentence(run: str, factor: Mapping[str, Any], seeds: int) -> str:
    control = factor["control"].removeprefix("control-")
    if factor["share"] is None:
        return (
            f"{run} reaches its control {control} on all images in {factor['reached']} of {seeds} "
            "seeds"
        )
    low, high = factor["range"]
    most = "at most " if factor["at_most"] else ""
    over = f" ({low:.0%} to {high:.0%} over {seeds} seeds)" if seeds > 1 else " (one seed)"
    return (
        f"{run} on {most}{factor['share']:.0%} of the images{over} equals its control {control} "
        "on all of them"
    )


def _table(plan: Plan, lines: Mapping[str, Line], untrained: Sequence[float]) -> Result:
    columns = [
        "share %",
        "images",
        *(name for game in lines for name in (f"{game} %", f"{game}, spread %")),
    ]
    rows: list[list[str | float | int | None]] = [
        [0.0, 0, *(value for _ in lines for value in spread(untrained))]
    ]
    for number, (share, count) in enumerate(zip(plan.settings.shares, plan.counts, strict=True)):
        measured = [
            value
            for line in lines.values()
            for value in spread([scores[number] for scores in line])
        ]
        rows.append([share, count, *measured])
    return table(
        columns,
        rows,
        title=(
            f"Accuracy by images seen without labels; mean and spread over {len(untrained)} seeds"
        ),
    )


def _curves(plan: Plan, lines: Mapping[str, Line], untrained: Sequence[float]) -> Result:
    drawn = {
        game: [
            (float(count), spread([scores[number] for scores in line])[0])
            for number, count in enumerate(plan.counts)
        ]
        for game, line in lines.items()
    }
    floor = spread(untrained)[0]
    drawn["untrained"] = [(float(plan.counts[0]), floor), (float(plan.counts[-1]), floor)]
    y = "kNN accuracy %" if plan.settings.score == "knn" else "linear probe accuracy %"
    return curves(drawn, title="Accuracy by images seen without labels", x="training images", y=y)
