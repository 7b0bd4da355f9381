"""The data-efficiency protocol: how the score grows with the images that pretraining sees.

For every seed the run's training images are put in a random order, and its method is trained again
on the first part of them, so that smaller sets are part of larger ones. At every size the scores
use all labelled training images. A control is trained on the same images with the same seeds; the
share at which the run's method reaches the control's score on all images is the factor by which it
saves images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, field_validator

from sparring.config import Settings, merged, read_toml
from sparring.data.sources.dataset_subset import dataset_subset
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.features import extract_features
from sparring.evaluation.frozen.knn import KnnSettings
from sparring.evaluation.frozen.logistic import linear_probe
from sparring.evaluation.pretraining_again.image_saving import Line, saving, saving_sentence
from sparring.evaluation.pretraining_again.pretraining import (
    Pretrained,
    pretrained,
    require_batches,
    run_config,
)
from sparring.evaluation.protocol import Protocol, Result, curves, spread, table
from sparring.measures.knn import knn_accuracy
from sparring.models.encoder import Encoder
from sparring.seeding import generator
from sparring.training.encoder_names import start_name, start_phrase
from sparring.training.settings import RunConfig

PROTOCOL = Protocol(
    name="data-efficiency",
    function="data_efficiency",
    settings="DataEfficiencySettings",
    title="Data efficiency",
    question="how does the score grow with the unlabelled images?",
    labels="classes",
    measure="accuracy after pretraining on all images, mean over seeds",
    source="ours; the factor is read off the curves of a method and its control",
    variants={"same-steps": {"fixed": "steps"}},
    is_joint=True,
)


class DataEfficiencySettings(Settings):
    """Settings of `data-efficiency`."""

    shares: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (0.1, 0.2, 0.5, 1.0)
    """Shares of the training images; the whole set, 1.0, must be among them."""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0, 1, 2), min_length=1)
    """Seeds of the order of the images and of the pretraining; the spread is over them, so one seed
    costs a third and has no spread."""
    epochs: int | None = Field(default=None, ge=1)
    """Epochs of the pretraining on all images; None: the run's."""
    fixed: Literal["epochs", "steps"] = "epochs"
    """What smaller sets keep: `epochs`, with fewer steps; `steps`, as nearly as whole epochs allow,
    with each image seen more often."""
    score: Literal["knn", "linear"] = "knn"
    """Protocol that scores each encoder, with its default settings."""
    control: str | None = None
    """Name of another method, which takes its own defaults, or a TOML file with its settings;
    images, encoder, training are the run's."""

    @field_validator("shares")
    @classmethod
    def _with_the_whole(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if 1.0 not in shares:
            raise ValueError(f"must contain 1.0, the whole set, got {', '.join(map(str, shares))}")
        return tuple(sorted(set(shares)))


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """The pretrainings of one evaluation, and how they are scored."""

    configs: dict[str, RunConfig]
    """Configurations by name: the run's, then its control's."""
    counts: tuple[int, ...]
    """Number of images of each share."""
    available: npt.NDArray[np.int64]
    """Indices of the images that pretraining may see: all but those held out for the score."""
    data: EvaluationData
    settings: DataEfficiencySettings

    @property
    def start(self) -> str:
        """Name of the encoders from which the run's pretrainings start."""
        return start_name(next(iter(self.configs.values())).encoder.weights)

    def rows(self, count: int, seed: int) -> npt.NDArray[np.int64]:
        """Images of one pretraining, in rising order."""
        order = torch.randperm(
            len(self.available), generator=generator(seed, "data efficiency")
        ).numpy()
        return np.sort(self.available[order[:count]])

    def config(self, method: str, count: int, seed: int) -> RunConfig:
        """Configuration of one pretraining."""
        config = self.configs[method]
        batch = config.training.batch_size
        planned = config.training.total_epochs(self.counts[-1] // batch)
        epochs = self.settings.epochs or planned
        if self.settings.fixed == "steps":
            epochs = max(1, round(epochs * (self.counts[-1] // batch) / (count // batch)))
        return config.changed(seed=seed, training={"epochs": epochs, "num_steps": None})

    def pretrained(self, method: str, count: int, seed: int) -> Pretrained:
        """One pretraining, in its own folder."""
        images = dataset_subset(self.data.classes.train, self.rows(count, seed))
        same_steps = (
            "-same-steps" if self.settings.fixed == "steps" and count < self.counts[-1] else ""
        )
        place = f"data-efficiency/{method}/seed-{seed}/{count}-images{same_steps}"
        return pretrained(images, place, config=self.config(method, count, seed), data=self.data)


def data_efficiency(
    evaluated: EvaluatedEncoder, data: EvaluationData, settings: DataEfficiencySettings
) -> Result:
    """Scores after pretraining on growing shares of the images, and the share with which the method
    reaches the score of its control on all images.

    The evaluated encoder itself is not scored: everything is pretrained anew, so that all shares
    are treated alike.
    """
    experiment = _experiment(data, settings)
    total = len(experiment.configs) * len(settings.seeds) * len(settings.shares)
    data.report(
        f"data-efficiency: {total} pretrainings, one after the other; an interrupted "
        "evaluation goes on where it was"
    )
    lines: dict[str, Line] = {}
    for method in experiment.configs:
        lines[method] = [
            [
                _score(experiment.pretrained(method, count, seed).trained, experiment)
                for count in experiment.counts
            ]
            for seed in settings.seeds
        ]
    first = next(iter(experiment.configs))
    untrained = [
        _score(experiment.pretrained(first, experiment.counts[0], seed).untrained, experiment)
        for seed in settings.seeds
    ]
    return _result(experiment, lines, untrained)


def control_config(name: str, run: RunConfig) -> RunConfig:
    """Configuration of another method with the run's images, encoder and training.

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


def _experiment(data: EvaluationData, settings: DataEfficiencySettings) -> Experiment:
    config, known = run_config(data), data.classes
    configs = {_name(config): config}
    if settings.control is not None:
        control = control_config(settings.control, config)
        configs[f"control-{_name(control)}"] = control
    labels = known.train.labels
    assert labels is not None
    held_out = labels >= 0
    held_out[known.train_rows.numpy()] = False
    available = np.flatnonzero(~held_out)
    counts = tuple(round(share * len(available)) for share in settings.shares)
    for share, count in zip(settings.shares, counts, strict=True):
        require_batches(count, config, f"share {share:g} of {len(available):,} images")
    return Experiment(
        configs=configs, counts=counts, available=available, data=data, settings=settings
    )


def _name(config: RunConfig) -> str:
    return "+".join((config.method, *config.opponent))


def _score(encoder: Encoder, experiment: Experiment) -> float:
    """Test accuracy of an encoder, with all labelled training images to learn from."""
    data, known = experiment.data, experiment.data.classes
    sets = (
        dataset_subset(known.train, known.train_rows.numpy()),
        dataset_subset(known.test, known.test_rows.numpy()),
    )
    train, test = (
        extract_features(
            encoder, images, device=data.device, progress=data.progress("features")
        ).to(data.device)
        for images in sets
    )
    labels, targets = known.train_labels.to(data.device), known.test_labels.to(data.device)
    if experiment.settings.score == "linear":
        return linear_probe(train, labels, test, targets, seed=data.seed).accuracy
    defaults = KnnSettings()
    return knn_accuracy(
        train,
        labels,
        test,
        targets,
        num_neighbors=defaults.neighbors(labels),
        temperature=defaults.temperature,
    )


def _result(
    experiment: Experiment, lines: Mapping[str, Line], untrained: Sequence[float]
) -> Result:
    """Result of the protocol: headline, factor, table and curves."""
    settings, run = experiment.settings, next(iter(lines))
    accuracy, deviation = spread([scores[-1] for scores in lines[run]])
    result: Result = {
        "accuracy": accuracy,
        "spread": deviation,
        "score": settings.score,
        "fixed": settings.fixed,
        "seeds": list(settings.seeds),
        "shares": list(settings.shares),
        "images": list(experiment.counts),
        "scores": {**lines, experiment.start: list(untrained)},
        **experiment.data.classes.sizes,
        "table": _table(experiment, lines, untrained),
        "curves": _curves(experiment, lines, untrained),
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
        notes.append(saving_sentence(run, result["factor"], len(settings.seeds)))
        if spread([scores[-1] for scores in lines[control]])[0] <= spread(untrained)[0]:
            result["warning"] = (
                "the control on all images is no better than "
                f"{start_phrase(experiment.start)}, so reaching it says nothing"
            )
    return {**result, "note": "; ".join(notes)}


def _table(experiment: Experiment, lines: Mapping[str, Line], untrained: Sequence[float]) -> Result:
    """Table of the scores by share."""
    columns = [
        "share %",
        "images",
        *(name for method in lines for name in (f"{method} %", f"{method}, spread %")),
    ]
    rows: list[list[str | float | int | None]] = [
        [0.0, 0, *(value for _ in lines for value in spread(untrained))]
    ]
    for number, (share, count) in enumerate(
        zip(experiment.settings.shares, experiment.counts, strict=True)
    ):
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


def _curves(
    experiment: Experiment, lines: Mapping[str, Line], untrained: Sequence[float]
) -> Result:
    drawn = {
        method: [
            (float(count), spread([scores[number] for scores in line])[0])
            for number, count in enumerate(experiment.counts)
        ]
        for method, line in lines.items()
    }
    floor = spread(untrained)[0]
    drawn[experiment.start] = [
        (float(experiment.counts[0]), floor),
        (float(experiment.counts[-1]), floor),
    ]
    y = "kNN accuracy %" if experiment.settings.score == "knn" else "linear probe accuracy %"
    return curves(drawn, title="Accuracy by images seen without labels", x="training images", y=y)
