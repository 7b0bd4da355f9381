"""The library as functions: plan, train, resume, load, evaluate, embed, export, report. The command
line is a thin layer over these."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import nn

from sparring import distributed
from sparring.data.dataset import open_dataset
from sparring.data.sources.named import is_named
from sparring.data.sources.source import ImageData
from sparring.data.views.views import Views
from sparring.errors import DataError
from sparring.evaluation.catalogue import PROTOCOLS, SCORED_IMAGES, choose
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.features import extract_features
from sparring.evaluation.protocol import Protocol, Result
from sparring.evaluation.protocol import evaluate as run_protocols
from sparring.formats.weights import export_weights
from sparring.methods import registry
from sparring.methods.about import About
from sparring.methods.method import Method
from sparring.models.encoder import Encoder
from sparring.planning.outcome import Plan as Plan
from sparring.planning.plan import plan as plan
from sparring.seeding import generator
from sparring.training.checkpoint import read_checkpoint, write_atomically
from sparring.training.configure import configure
from sparring.training.configure import find_recipe as find_recipe
from sparring.training.configure import recipes as recipes
from sparring.training.devices import choose_device
from sparring.training.encoders import load_encoders
from sparring.training.listener import Listener, counter
from sparring.training.opening import data_path, open_images
from sparring.training.run import (
    prepare,
    pretrain_opponent,
    require_unchanged_classes,
    run_training,
)
from sparring.training.run_folder import RunFolder
from sparring.training.settings import RunConfig

if TYPE_CHECKING:
    from sparring.command.doctor import Finding


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
    method: str | type[Method] | None = None,
    opponent: str | type[Method] | Sequence[str | type[Method]] | None = None,
    recipe: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    backbone: nn.Module | None = None,
    listener: Listener | None = None,
    progress: bool = True,
    **training: int | str | None,
) -> Run:
    """Pretrain an encoder on images without labels.

    Args:
        data: folder, parquet, list of files, or images in memory. Labels, if any, serve scoring
            only.
        out: run folder to create.
        method: name of a method, its class, `"FILE.py:CLASS"` or `"package.module:CLASS"`;
            default: the recipe's, or adco.
        opponent: opponents in image space around the method, the innermost first, each by its name,
            such as "perturbation", or as a method is given; default: the recipe's.
        recipe: shipped recipe by name, or a TOML file; explicit arguments go before it.
        settings: further settings as a nested dictionary, for example {"bank": {"size": 4096}}.
        backbone: a network of your own; resuming or loading such a run needs it again.
        listener: told what happens; None: progress is shown on standard error.
        progress: False shows nothing.
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
    with _heard(listener, progress=progress) as heard:
        try:
            config, dataset = open_images(config, data, heard)
            training_run = prepare(config, dataset, folder, backbone=backbone, listener=heard)
            pretrain_opponent(training_run, heard, backbone=backbone)
        except BaseException:
            if distributed.is_main() and not any(folder.path.iterdir()):
                folder.path.rmdir()
            raise
        run_training(training_run, folder)
    return Run(folder.path)


def resume(
    run: str | Path | Run,
    *,
    data: ImageData | None = None,
    max_steps: int | None = None,
    method: str | type[Method] | None = None,
    opponent: str | type[Method] | Sequence[str | type[Method]] | None = None,
    backbone: nn.Module | None = None,
    listener: Listener | None = None,
    progress: bool = True,
) -> Run:
    """Continue a run to its end, to the bit as if it had never stopped.

    Args:
        run: run folder.
        data: only for a run on images in memory: the same images.
        max_steps: stop after this many steps in total; default: the whole plan.
        method: only for a method that is neither shipped nor installed: the same again, since a run
            folder never makes this library import code.
        opponent: likewise, the opponents that are neither shipped nor installed.
        backbone: the network of your own with which the run was started, if any.
        listener: told what happens; None: progress is shown on standard error.
        progress: False shows nothing.

    Raises:
        UsageError: if there is no run, no checkpoint, or a class of it is missing.
    """
    folder = _folder(run)
    _give_again(folder.read_config(), method, opponent)
    config = folder.read_config()
    read_checkpoint(folder.checkpoint)
    config = config.changed(training={"max_steps": max_steps})
    distributed.start()
    with _heard(listener, progress=progress) as heard:
        require_unchanged_classes(config, folder, heard)
        config, dataset = open_images(
            config, data if data is not None else data_path(config), heard
        )
        training_run = prepare(config, dataset, folder, backbone=backbone, listener=heard)
        training_run.restore()
        if training_run.step >= training_run.last_step and heard is not None:
            heard.report(
                f"{folder.path} has made all its {training_run.step:,} steps; there is nothing "
                "left to train"
            )
        run_training(training_run, folder)
    return Run(folder.path)


def _give_again(
    config: RunConfig,
    method: str | type[Method] | None,
    opponent: str | type[Method] | Sequence[str | type[Method]] | None,
) -> None:
    """Let the classes that a stored configuration names be those that are given now."""
    if method is not None:
        registry.give("method", method, name=config.method)
    around = [opponent] if isinstance(opponent, str | type) else list(opponent or ())
    missing = [name for name in config.opponent if not registry.is_known("opponent", name)]
    for name, given in zip(missing, around, strict=False):
        registry.give("opponent", given, name=name)


@contextmanager
def _heard(listener: Listener | None, *, progress: bool) -> Iterator[Listener | None]:
    """The listener, or one that shows progress on standard error."""
    if listener is not None or not progress:
        yield listener
        return
    from sparring.command.display import Display

    with Display() as display:
        yield display


def load(
    run: str | Path | Run, *, backbone: nn.Module | None = None, device: str = "cpu"
) -> Encoder:
    """The trained encoder of a run, in evaluation mode, with its gradients off.

    Args:
        run: run folder; an unfinished run gives the encoder of its last checkpoint.
        backbone: the network of your own with which the run was trained, if any.
        device: where to put it.
    """
    return load_encoders(_folder(run), backbone=backbone, device=device)[0]


def evaluate(
    run: str | Path | Run,
    *,
    data: ImageData | None = None,
    train_data: ImageData | None = None,
    protocols: str | Protocol | Sequence[str | Protocol] = ("knn", "linear"),
    settings: Mapping[str, Any] | None = None,
    root: str | Path | None = None,
    seed: int | None = None,
    backbone: nn.Module | None = None,
    device: str = "auto",
    limit: int | None = None,
    listener: Listener | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Score a run's encoder beside the untrained one from which it started; each result is added to
    scores.json as soon as there is one.

    Args:
        run: run folder.
        data: images to be scored on, with the labels that the protocol needs; default: a part of
            `train_data`, not learned from.
        train_data: images to learn from, with labels; default: those of the run, or of a public set
            given by name as `data`.
        protocols: names as `sparring protocols` lists them, perhaps with a variant (`linear:adco`),
            `FILE.py:NAME` or `package.module:NAME`, or a `Protocol`.
        settings: of the protocols by name, for example {"semi-supervised": {"draws": 5}}.
        root: folder of the public sets that are given by name.
        seed: of every split and draw; default: the run's.
        backbone: the network of your own with which the run was trained, if any.
        device: where to compute.
        limit: look at no more images than this of each set.
        listener: told what happens; None: progress is shown on standard error.
        progress: False shows nothing.

    Returns:
        {"trained": {protocol: {...}}, "untrained": {protocol: {...}}, "test": what was scored on}
    """
    asked = [protocols] if isinstance(protocols, str | Protocol) else protocols
    chosen = choose(asked, settings)
    folder = _folder(run)
    config = folder.read_config()
    own = train_data is None and not is_named(data)
    limits = [
        number for number in (limit, config.data.limit if own else None) if number is not None
    ]
    size, seed = config.image_size, config.seed if seed is None else seed
    augment, draws = (
        Views(config.method_settings.views.resolve(size), image_size=size),
        generator(seed, "evaluation views"),
    )
    encoders = load_encoders(folder, backbone=backbone, device=device)
    tested = (
        "held-out images"
        if data is None
        else str(data)
        if isinstance(data, str | Path)
        else "given images"
    )

    def keep_result(encoder: str, protocol: str, result: Result) -> None:
        """Write a result beside those that are there."""
        # A protocol's result is replaced whole, so that no old warning stays.
        before = folder.read_scores()
        folder.write_scores(
            {**before, encoder: {**before.get(encoder, {}), protocol: result}, "test": tested}
        )

    untrained = EvaluatedEncoder("untrained", encoders[1])
    evaluated = [EvaluatedEncoder("trained", encoders[0], untrained), untrained]
    with _heard(listener, progress=progress) as heard:
        evaluation_data = EvaluationData(
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
            listener=heard,
        )
        results = run_protocols(evaluated, evaluation_data, chosen, done=keep_result)
    return {**results, "test": tested}


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


@dataclass(frozen=True)
class Embedded:
    """Features of images.

    Attributes:
        features: the backbone's output, float32 (images, channels).
        keys: what a user recognises each image by: its path, or file and row.
        labels: class numbers, -1 where unknown; None without labels.
    """

    features: npt.NDArray[np.float32]
    keys: list[str]
    labels: npt.NDArray[np.int64] | None = None


def embed(
    run: str | Path | Run,
    data: ImageData,
    *,
    out: str | Path | None = None,
    backbone: nn.Module | None = None,
    device: str = "auto",
    listener: Listener | None = None,
    progress: bool = True,
) -> Embedded:
    """Features of images, by a run's trained encoder.

    Args:
        run: run folder.
        data: images.
        out: an .npz file to write, with `features`, `keys`, and `labels` where known; None: none.
        backbone: the network of your own with which the run was trained, if any.
        device: where to compute.
        listener: told what happens; None: progress is shown on standard error.
        progress: False shows nothing.
    """
    config = _folder(run).read_config()
    encoder = load(run, backbone=backbone, device=device)
    keep = config.data.model_copy(update={"limit": None})
    dataset = open_dataset(data, keep, image_size=config.image_size)
    with _heard(listener, progress=progress) as heard:
        shown = counter("features", heard)
        features = extract_features(encoder, dataset, device=encoder.mean.device, progress=shown)
    labels = None if dataset.labels is None else np.asarray(dataset.labels)
    found = Embedded(features.numpy(), list(dataset.keys), labels)
    if out is not None:
        content = io.BytesIO()
        arrays: dict[str, Any] = {"features": found.features, "keys": np.array(found.keys)}
        if labels is not None:
            arrays["labels"] = labels
        np.savez(content, allow_pickle=False, **arrays)
        write_atomically(Path(out), content.getvalue())
    return found


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
    runs: str | Path | Run | Sequence[str | Path | Run],
    *,
    out: str | Path = "report.html",
    data: ImageData | None = None,
    backbone: nn.Module | None = None,
    listener: Listener | None = None,
    progress: bool = True,
) -> Path:
    """Write one self-contained HTML page about one or several runs.

    Args:
        runs: one run folder, or several in the order of the page.
        out: HTML file to write.
        data: images to show; default: each run's own.
        backbone: the network of your own with which the runs were trained, if any.
        listener: told what happens; None: progress is shown on standard error.
        progress: False shows nothing.
    """
    # They bring matplotlib, for which no training should wait.
    from sparring.reporting.illustration import illustrated
    from sparring.reporting.report import write_report

    summaries, runs = [], [runs] if isinstance(runs, str | Path | Run) else list(runs)
    with _heard(listener, progress=progress) as heard:
        for number, run in enumerate(runs):
            folder = _folder(run)
            folder.require()
            summaries.append(illustrated(folder, data, backbone=backbone))
            if heard is not None:
                heard.count("reading runs", number + 1, len(runs))
    return write_report(summaries, out)


def list_methods() -> dict[str, About]:
    """Introductions of all methods and of all opponents around them, by name.

    Shipped ones come first, then those of installed packages.
    """
    return {
        name: registry.about(kind, name) for kind in registry.KINDS for name in registry.names(kind)
    }


def list_protocols() -> dict[str, Protocol]:
    """Evaluation protocols that the library ships, by name, in the order of its lists."""
    return dict(PROTOCOLS)


def doctor() -> "list[Finding]":
    """Findings about this installation: versions that fit together, devices, decoding, disk."""
    from sparring.command.doctor import examine

    return list(examine())
