"""The library as functions: plan, train, resume, load, evaluate, embed, export, report. The command
line is a thin layer over these."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from sparring import distributed
from sparring.config import merged
from sparring.data.dataset import open_dataset
from sparring.data.sources.public_sets import is_public_set
from sparring.data.sources.source import ImageData
from sparring.data.views.views import Views
from sparring.errors import DataError
from sparring.evaluation.catalogue import SCORED_IMAGES
from sparring.evaluation.choice import choose
from sparring.evaluation.data import Contestant, Material
from sparring.evaluation.features import extract_features
from sparring.evaluation.protocol import Result
from sparring.evaluation.protocols import evaluate as run_protocols
from sparring.formats.weights import export_weights
from sparring.models.encoder import Encoder
from sparring.planning.plan import plan as plan
from sparring.planning.resource_plan import ResourcePlan as ResourcePlan
from sparring.seeding import generator
from sparring.training.checkpoint import read_checkpoint, write_atomically
from sparring.training.configure import configure
from sparring.training.configure import find_recipe as find_recipe
from sparring.training.configure import recipes as recipes
from sparring.training.devices import choose_device
from sparring.training.run_folder import RunFolder
from sparring.training.settings import RunConfig
from sparring.training.start import (
    Listener,
    both_methods,
    counter,
    data_path,
    online_encoder,
    open_images,
    play,
    prepare,
    rehearse,
)


@dataclass(frozen=True)
class Run:
    """A run on disk."""

    path: Path

    @property
    def config(self) -> RunConfig:
        """The resolved configuration."""
        return RunFolder(self.path).read_config()

    @property
    def scores(self) -> dict[str, Any]:
        """Content of scores.json."""
        return RunFolder(self.path).read_scores()

    @property
    def encoder(self) -> Encoder:
        """The trained encoder in evaluation mode."""
        return load(self.path)


def _folder(run: str | Path | Run) -> RunFolder:
    return RunFolder(run.path if isinstance(run, Run) else run)


def train(
    data: ImageData,
    *,
    out: str | Path,
    method: str | None = None,
    opponent: str | Sequence[str] | None = None,
    recipe: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    backbone: nn.Module | None = None,
    listener: Listener | None = None,
    **training: int | str | None,
) -> Run:
    """Pretrain an encoder on images without labels.

    Args:
        data: folder, parquet, list of files, or images in memory. Labels, if any, serve scoring
            only.
        out: run folder to create.
        method: name of a method; default adco, or the recipe's.
        opponent: opponents in image space around the method by name, the innermost first, such as
            "perturbation"; default: the recipe's.
        recipe: shipped recipe by name, or a TOML file; explicit arguments go before it.
        settings: further settings as a nested dictionary, for example {"bank": {"size": 4096}}.
        backbone: a network of your own; resuming or loading such a run needs it again.
        listener: told what happens.
        training: fields of `TrainingSettings`, such as epochs=100, batch_size=128, max_steps=10,
            device="cpu"; and seed.

    Raises:
        UsageError: for wrong input; nothing has been written then.
        TrainingError: if the loss is not finite; the last checkpoint is kept.
    """
    config = configure(
        data,
        method=method,
        opponent=opponent,
        recipe=recipe,
        settings=settings,
        backbone=backbone,
        **training,
    )
    choose_device(config.training.device)  # before the images, which may take minutes
    distributed.start()
    folder = RunFolder(out)
    if distributed.is_main():
        folder.create()
    distributed.barrier()
    try:
        config, dataset = open_images(config, data, listener)
        training_run = prepare(config, dataset, folder, backbone=backbone, listener=listener)
        rehearse(training_run, listener, backbone=backbone)
    except BaseException:
        if distributed.is_main() and not any(folder.path.iterdir()):
            folder.path.rmdir()
        raise
    play(training_run, folder)
    return Run(folder.path)


def resume(
    run: str | Path | Run,
    *,
    data: ImageData | None = None,
    max_steps: int | None = None,
    backbone: nn.Module | None = None,
    listener: Listener | None = None,
) -> Run:
    """Continue a run to its end, to the bit as if it had never stopped.

    Args:
        run: run folder.
        data: only for a run on images in memory: the same images.
        max_steps: stop after this many steps in total; default: the whole plan.
        backbone: the network of your own with which the run was started, if any.
        listener: told what happens.
    """
    folder = _folder(run)
    config = folder.read_config()
    read_checkpoint(folder.checkpoint)
    config = RunConfig.from_tree(merged(config.tree(), {"training": {"max_steps": max_steps}}))
    distributed.start()
    config, dataset = open_images(config, data if data is not None else data_path(config), listener)
    training_run = prepare(config, dataset, folder, backbone=backbone, listener=listener)
    training_run.restore()
    if training_run.step >= training_run.last_step and listener is not None:
        listener.report(
            f"{folder.path} has made all its {training_run.step:,} steps; there is nothing "
            "left to train"
        )
    play(training_run, folder)
    return Run(folder.path)


def load(
    run: str | Path | Run, *, backbone: nn.Module | None = None, device: str = "cpu"
) -> Encoder:
    """The trained encoder of a run, in evaluation mode, with its gradients off.

    Args:
        run: run folder; an unfinished run gives the encoder of its last checkpoint.
        backbone: the network of your own with which the run was trained, if any.
        device: where to put it.
    """
    return online_encoder(both_methods(_folder(run), backbone=backbone, device=device)[0])


def evaluate(
    run: str | Path | Run,
    *,
    data: ImageData | None = None,
    train_data: ImageData | None = None,
    protocols: Sequence[str] = ("knn", "linear"),
    settings: Mapping[str, Any] | None = None,
    root: str | Path | None = None,
    seed: int | None = None,
    backbone: nn.Module | None = None,
    device: str = "auto",
    limit: int | None = None,
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Score a run's encoder beside the untrained one from which it started; each result is added to
    scores.json as soon as there is one.

    Args:
        run: run folder.
        data: images to be scored on, with the labels that the protocol needs; default: a part of
            `train_data`, not learned from.
        train_data: images to learn from, with labels; default: those of the run, or of a public set
            given by name as `data`.
        protocols: names of `sparring.evaluation.catalogue.PROTOCOLS`, perhaps with a variant:
            `linear:adco`.
        settings: of the protocols by name, for example {"semi-supervised": {"draws": 5}}.
        root: folder of the public sets that are given by name.
        seed: of every split and draw; default: the run's.
        backbone: the network of your own with which the run was trained, if any.
        device: where to compute.
        limit: look at no more images than this of each set.
        listener: told what happens.

    Returns:
        {"trained": {protocol: {...}}, "untrained": {protocol: {...}}, "test": what was scored on}
    """
    chosen = choose(protocols, settings)
    folder = _folder(run)
    config = folder.read_config()
    assert config.training.image_size is not None
    own = train_data is None and not is_public_set(data)
    limits = [
        number for number in (limit, config.data.limit if own else None) if number is not None
    ]
    size, seed = config.training.image_size, config.seed if seed is None else seed
    augment, draws = (
        Views(config.game.views.resolve(size), image_size=size),
        generator(seed, "evaluation views"),
    )
    encoders = [
        online_encoder(method) for method in both_methods(folder, backbone=backbone, device=device)
    ]
    material = Material(
        data_path(config) if own else train_data,
        data,
        image_size=size,
        seed=seed,
        device=encoders[0].mean.device,
        views=lambda images: augment(images, generator=draws)[:2],
        keep=config.data.model_copy(update={"limit": min(limits, default=None)}),
        limit=limit,
        config=config,
        folder=folder.path,
        root=Path(root) if root is not None else None,
        reporter=listener,
    )
    tested = (
        "held-out images"
        if data is None
        else str(data)
        if isinstance(data, str | Path)
        else "given images"
    )

    def keep_result(contestant: str, protocol: str, result: Result) -> None:
        """Write a result beside those that are there."""
        # A protocol's result is replaced whole, so that no old warning stays.
        before = folder.read_scores()
        folder.write_scores(
            {**before, contestant: {**before.get(contestant, {}), protocol: result}, "test": tested}
        )

    untrained = Contestant("untrained", encoders[1])
    contestants = [Contestant("trained", encoders[0], untrained), untrained]
    return {**run_protocols(contestants, material, chosen, done=keep_result), "test": tested}


def score_after_training(run: Run, *, listener: Listener | None = None) -> dict[str, Any]:
    """Scores with which a run ends: kNN, linear probe and geometry where there are labels, else
    geometry alone."""
    if not run.config.data.path:
        return {}
    try:
        return evaluate(
            run, protocols=("knn", "linear", "geometry"), limit=SCORED_IMAGES, listener=listener
        )
    except DataError:  # no labels, or a single class
        return evaluate(run, protocols=("geometry",), limit=SCORED_IMAGES, listener=listener)


def embed(
    run: str | Path | Run,
    data: ImageData,
    *,
    out: str | Path,
    backbone: nn.Module | None = None,
    device: str = "auto",
    listener: Listener | None = None,
) -> tuple[int, int]:
    """Write an .npz file with `features` (images, channels), `keys`, and `labels` where known.

    Returns:
        Number of images and of channels.
    """
    config = Run(run.path if isinstance(run, Run) else Path(run)).config
    assert config.training.image_size is not None
    encoder = load(run, backbone=backbone, device=device)
    keep = config.data.model_copy(update={"limit": None})
    dataset = open_dataset(data, keep, image_size=config.training.image_size)
    features = extract_features(
        encoder, dataset, device=encoder.mean.device, progress=counter("features", listener)
    )
    content = io.BytesIO()
    arrays: dict[str, Any] = {"features": features.numpy(), "keys": np.array(list(dataset.keys))}
    if dataset.labels is not None:
        arrays["labels"] = dataset.labels
    np.savez(content, allow_pickle=False, **arrays)
    write_atomically(Path(out), content.getvalue())
    return len(features), features.shape[1]


def export(
    run: str | Path | Run, *, out: str | Path, form: str = "timm", backbone: nn.Module | None = None
) -> str:
    """Write the backbone's weights for another library; returns the Python lines that load them.

    Args:
        run: run folder.
        out: file to write.
        form: `timm`, `torchvision` or `safetensors`.
        backbone: the network of your own with which the run was trained, if any.
    """
    folder = _folder(run)
    return export_weights(
        load(run, backbone=backbone), folder.read_config(), form=form, out=Path(out)
    )


def report(
    runs: Sequence[str | Path | Run],
    *,
    out: str | Path = "report.html",
    data: ImageData | None = None,
    backbone: nn.Module | None = None,
    listener: Listener | None = None,
) -> Path:
    """Write one self-contained HTML page about one or several runs.

    Args:
        runs: run folders, in the order of the page.
        out: HTML file to write.
        data: images to show; default: each run's own.
        backbone: the network of your own with which the runs were trained, if any.
        listener: told what happens.
    """
    from sparring.reporting.illustration import (
        illustrated,
    )  # brings matplotlib, for which no training should wait
    from sparring.reporting.report import write_report

    summaries = []
    for number, run in enumerate(runs):
        folder = _folder(run)
        folder.require()
        summaries.append(illustrated(folder, data, backbone=backbone))
        if listener is not None:
            listener.count("reading runs", number + 1, len(runs))
    return write_report(summaries, out)
