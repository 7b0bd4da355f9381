"""From a configuration and images to a training that plays in its folder, and back from the folder
to its encoders."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from typing import Protocol

from torch import nn

from sparring import distributed
from sparring.config import merged
from sparring.data.dataset import Dataset, open_dataset
from sparring.data.sources.sampling import typical_size
from sparring.data.sources.source import ImageData, open_source
from sparring.data.store import cache_folder
from sparring.errors import DataError
from sparring.methods.method import Method
from sparring.methods.registry import section
from sparring.methods.stage import Stage
from sparring.models.backbones import Backbone
from sparring.models.encoder import Encoder
from sparring.models.split_norm import join_norms
from sparring.optim.schedule import Progress
from sparring.training.build import make_contest
from sparring.training.checkpoint import load_checkpoint
from sparring.training.loop import Training, needs_images
from sparring.training.opponent_pretraining import Rehearsal, lasting
from sparring.training.run_folder import RunFolder
from sparring.training.settings import RunConfig

TIMED_STEPS = 2
IMAGE_SIZES = (32, 64, 96, 224)
"""To choose from when none is given: the nearest to the images' own."""


class Listener(Protocol):
    """Is told what happens while a function works; the library never prints."""

    def report(self, line: str) -> None:
        """One line worth reading."""

    def count(self, what: str, done: int, total: int) -> None:
        """Something long has come so far."""

    def observe(self, position: Progress, record: Mapping[str, float], warning: str | None) -> None:
        """A record of training, with a warning or None."""


def open_images(
    config: RunConfig, data: ImageData, listener: Listener | None
) -> tuple[RunConfig, Dataset]:
    """Data set and configuration with its image size resolved."""
    source = open_source(data)
    size = config.training.image_size
    if size is None:
        typical = typical_size(source)
        size = min(IMAGE_SIZES, key=lambda candidate: abs(candidate - typical))
        config = RunConfig.from_tree(merged(config.tree(), {"training": {"image_size": size}}))
    return config, open_dataset(
        source, config.data, image_size=size, progress=counter("reading images", listener)
    )


def _summary(config: RunConfig, dataset: Dataset) -> str:
    size, bad = config.training.image_size, len(dataset.quarantine)
    steps = len(dataset) // config.training.batch_size
    left_out = f"; {bad:,} unreadable files left out, see quarantine.txt" if bad else ""
    plan = (
        f"{' + '.join((config.method, *config.opponent))}, {config.encoder.backbone}, "
        f"{config.training.epochs} epochs of {steps:,} steps"
    )
    return f"{len(dataset):,} images of {size} x {size} px{left_out}; {plan}"


def counter(what: str, listener: Listener | None) -> Callable[[int, int], None] | None:
    """Progress function of one long piece of work."""
    return None if listener is None else partial(listener.count, what)


def data_path(config: RunConfig) -> str:
    """Where the run's images are.

    Raises:
        DataError: if they were handed over in memory.
    """
    if not config.data.path:
        raise DataError(
            "this run was trained on images in memory; hand them over again as data=..."
        )
    return config.data.path


def _wrapped(backbone: nn.Module | None, config: RunConfig) -> Backbone | None:
    size = config.training.image_size
    assert size is not None
    return None if backbone is None else Backbone(backbone, image_size=size)


def prepare(
    config: RunConfig,
    dataset: Dataset,
    folder: RunFolder,
    *,
    backbone: nn.Module | None,
    listener: Listener | None,
) -> Training:
    """Training at its first step, from a configuration with a resolved image size."""
    contest = make_contest(config, _wrapped(backbone, config))
    observe = listener.observe if listener is not None else None
    training_run = Training(
        config=config, contest=contest, dataset=dataset, folder=folder, observe=observe
    )
    if listener is not None:  # only now: a wrong batch size or device is told without it
        listener.report(_summary(config, dataset))
    return training_run


def rehearse(
    training_run: Training,
    listener: Listener | None,
    *,
    backbone: nn.Module | None = None,
    stage: Stage | None = None,
) -> None:
    """Let the method learn from the images what it wants to know before the first step; nothing is
    written to the run's folder.

    Args:
        training_run: at its first step.
        listener: is told before what a step of such a method costs.
        backbone: the network of your own with which the run is trained, if any.
        stage: where the method learns; None: to its end, kept for later runs.
    """
    config, contest = training_run.config, training_run.contest
    is_heard = distributed.share(listener is not None)  # all processes measure, or none
    if is_heard and needs_images(contest.method) and training_run.last_step > TIMED_STEPS:
        cost = _cost_of_opponents(training_run, backbone)
        if listener is not None:
            listener.report(cost)
    kept = Rehearsal(
        training_run.dataset,
        contest.device,
        cache=cache_folder(config.data.cache),
        listener=listener,
    )
    contest.method.rehearse(kept if stage is None else stage)
    distributed.broadcast([*contest.method.parameters(), *contest.method.buffers()])


def _cost_of_opponents(training_run: Training, backbone: nn.Module | None) -> str:
    """What a step with the opponents takes and one without, measured on contests that are thrown
    away."""
    config, seconds = training_run.config, []
    alone = {
        key: value
        for key, value in config.tree().items()
        if key not in map(section, config.opponent)
    }
    for tree in (config.tree(), {**alone, "opponent": []}):
        shown = RunConfig.from_tree(tree)
        contest = make_contest(shown, _wrapped(deepcopy(backbone), shown))
        trial = Training(
            config=shown, contest=contest, dataset=training_run.dataset, folder=training_run.folder
        )
        seconds.append(trial.seconds_per_step(TIMED_STEPS))
    both, bare = seconds
    return (
        f"{', '.join(config.opponent)}: a step takes {both:.2g} s here, {both / bare:.1f} "
        f"times one of {config.method} alone "
        f"({TIMED_STEPS} timed); all {training_run.last_step:,} steps at most "
        f"{lasting(both * training_run.last_step)}"
    )


def play(training_run: Training, folder: RunFolder) -> None:
    """Train to the end in the folder, which no other process may use meanwhile."""
    if distributed.is_main():
        with folder.locked():
            folder.write_config(training_run.config)
            folder.write_environment(training_run.contest.device)
            training_run.play()
    else:
        training_run.play()
    distributed.barrier()


def both_methods(
    folder: RunFolder, *, backbone: nn.Module | None = None, device: str = "cpu"
) -> tuple[Method, Method]:
    """The trained method of a run and the untrained one from which it started, in evaluation mode,
    gradients off.

    Args:
        folder: an unfinished run gives the method of its last checkpoint.
        backbone: the network of your own with which the run was trained, if any.
        device: where to put them.
    """
    config = folder.read_config()
    config = RunConfig.from_tree(
        merged(config.tree(), {"training": {"device": device, "sync_batch_norm": False}})
    )
    contests = [make_contest(config, _wrapped(deepcopy(backbone), config)) for _ in range(2)]
    load_checkpoint(folder.checkpoint, contests[0])
    trained, untrained = (contest.method.eval().requires_grad_(False) for contest in contests)
    return trained, untrained


def online_encoder(method: Method) -> Encoder:
    """The encoder that is evaluated and exported: without the batch norms that attacked images go
    through, in this method from here on."""
    join_norms(method.encoder)
    return method.encoder
