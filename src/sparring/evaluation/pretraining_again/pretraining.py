"""Pretraining inside an evaluation: the run's method on other images, in a folder of its own."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

from sparring import distributed
from sparring.config import Tree, leaves
from sparring.data.dataset import Dataset
from sparring.errors import ConfigError, RunError
from sparring.evaluation.data import EvaluationData
from sparring.files import write_atomically
from sparring.models.backbones import CUSTOM
from sparring.models.encoder import Encoder
from sparring.optim.schedule import Position
from sparring.training.build import StartWeights
from sparring.training.encoders import load_encoders
from sparring.training.loop import Training
from sparring.training.run import prepare, pretrain_opponent, run_training
from sparring.training.run_folder import RunFolder
from sparring.training.settings import RunConfig
from sparring.training.start_weights import start_of

# Where a pretraining computes and how often it is saved makes it no other pretraining.
_INDIFFERENT = {"training.device", "training.checkpoint_minutes"}
# What the images were: fingerprint of their content, beside the files of any run.
_IMAGES = "images.txt"


@dataclass(frozen=True)
class Pretrained:
    """Both encoders of a pretraining, in evaluation mode, their gradients off."""

    trained: Encoder
    untrained: Encoder
    """The encoder from which the pretraining started."""


def pretrained(
    images: Dataset, place: str, *, config: RunConfig, data: EvaluationData
) -> Pretrained:
    """The encoders of a pretraining with this configuration on these images: the trained one, and
    the untrained one.

    A pretraining that was finished is read, an interrupted one goes on: no step is made twice.

    Args:
        images: to pretrain on; their labels, if any, serve the online score in its metrics alone.
        place: folder below the run's, such as `domains/without-photo`; a whole run folder
            afterwards.
        config: see `run_config`.
        data: where to compute, whom to tell, and the run's folder; without a folder nothing is
            kept.

    Raises:
        ConfigError: with several processes, for a network of your own, or for fewer images than a
            batch.
        RunError: if the folder holds a pretraining of another configuration or of other images, or
            is in use.
        KeyboardInterrupt: after a signal that stops a run, when the current step is made and saved.
    """
    config = _plain(config, data)
    start = start_of(None if data.folder is None else RunFolder(data.folder), config)
    listener = None if data.progress(place) is None else _PretrainingListener(data, place)
    if data.folder is not None:
        own = RunFolder(data.folder / place)
        return _pretrained(images, own, config=config, listener=listener, start=start)
    with tempfile.TemporaryDirectory() as folder:
        own = RunFolder(folder)
        return _pretrained(images, own, config=config, listener=listener, start=start)


def run_config(
    data: EvaluationData, *, epochs: int | None = None, seed: int | None = None
) -> RunConfig:
    """The run's configuration, perhaps with another length or seed.

    Raises:
        ConfigError: if the protocol was not handed a run.
    """
    if data.config is None:
        raise ConfigError(
            "this protocol pretrains again as the run did; give it a run with a configuration"
        )
    origin = RunFolder(data.folder).read_environment() if data.folder is not None else {}
    if start := origin.get("started_from"):
        raise ConfigError(
            "this protocol pretrains again from the first step, and this run started from "
            f"{start.get('run')} at step {start.get('step')}; give it that run, or one trained "
            "without --from"
        )
    length = {"epochs": epochs, "num_steps": None}
    changes: Tree = {"training": length} if epochs is not None else {}
    if seed is not None:
        changes["seed"] = seed
    return data.config.changed(**changes)


def require_batches(num_images: int, config: RunConfig, what: str) -> None:
    """Check that a set has at least one batch of images, before hours are spent on other sets.

    Raises:
        ConfigError: if there are fewer images than a batch holds.
    """
    if num_images < config.training.batch_size:
        raise ConfigError(
            f"{what}: {num_images:,} images are fewer than the run's batch of "
            f"{config.training.batch_size:,}; "
            "leave it out, or evaluate a run with a smaller batch"
        )


class _PretrainingListener:
    """Listener of one pretraining, which puts its name before every line."""

    def __init__(self, data: EvaluationData, place: str) -> None:
        self._data, self._place = data, place
        self._warned = False

    def report(self, line: str) -> None:
        """Report a line with the pretraining's name before it."""
        self._data.report(f"{self._place}: {line}")

    def count(self, what: str, done: int, total: int) -> None:
        """Report the progress of a part of the pretraining."""
        if (progress := self._data.progress(f"{self._place}: {what}")) is not None:
            progress(done, total)

    def observe(self, position: Position, record: Mapping[str, float], warning: str | None) -> None:
        """Report each step as progress, and the first warning."""
        self.count("pretraining", position.step + 1, position.num_steps)
        if warning is not None and not self._warned:
            self._warned = True
            self.report(warning)


def _plain(config: RunConfig, data: EvaluationData) -> RunConfig:
    """The configuration for images that are open already, on the evaluation's device."""
    if distributed.num_processes() > 1:
        raise ConfigError(
            "evaluations that pretrain again take a single process, got "
            f"{distributed.num_processes()}; start without torchrun"
        )
    if config.encoder.backbone.startswith(CUSTOM):
        raise ConfigError(
            f"encoder.backbone={config.encoder.backbone}: evaluations that pretrain again "
            "need a backbone that can be made by name; "
            "train the run with a model of timm"
        )
    return config.changed(
        data={
            "path": "",
            "limit": None,
            "limit_seed": None,
            "streaming": False,
            "num_images": None,
        },
        training={"device": str(data.device), "sync_batch_norm": False},
    )


def _pretrained(
    images: Dataset,
    folder: RunFolder,
    *,
    config: RunConfig,
    listener: "_PretrainingListener | None",
    start: StartWeights | None,
) -> Pretrained:
    """Both encoders of the pretraining in this folder, which is begun, continued or only read."""
    run = prepare(config, images, folder, backbone=None, listener=None, start=start)
    _restore(run, images)
    if run.step < run.last_step:
        with folder.locked():
            is_begun = _restore(run, images)  # another evaluation may have finished it meanwhile
            if run.step < run.last_step:
                _train(run, images, listener, is_begun=is_begun)
    return Pretrained(*load_encoders(folder, device=config.training.device))


def _restore(run: Training, images: Dataset) -> bool:
    """Restore a pretraining that was begun in the folder; returns whether there was one."""
    is_begun = run.folder.checkpoint.exists()
    if is_begun:
        _refuse_another(run.folder, run.config, images)
        run.restore()
    return is_begun


def _train(
    run: Training, images: Dataset, listener: _PretrainingListener | None, *, is_begun: bool
) -> None:
    """Begin or continue the pretraining, up to its last step."""
    if listener is not None:
        run.observe = listener.observe
        listener.report(
            f"pretraining on {len(images):,} images, {run.last_step - run.step:,} steps"
        )
    if not is_begun:
        write_atomically(run.folder.path / _IMAGES, images.content_fingerprint.encode())
        pretrain_opponent(run, listener)
    run_training(run, run.folder)


def _refuse_another(folder: RunFolder, config: RunConfig, images: Dataset) -> None:
    """Check that the folder holds a pretraining of this configuration on these images."""
    before, now = (dict(leaves(one.tree())) for one in (folder.read_config(), config))
    changed = [
        key
        for key in {**before, **now}
        if before.get(key) != now.get(key) and key not in _INDIFFERENT
    ]
    if changed:
        key = changed[0]
        raise RunError(
            f"{folder.path} holds a pretraining with {key}={before.get(key)}, and now "
            f"{now.get(key)} is asked for; "
            "ask for the same again, or remove that folder"
        )
    path = folder.path / _IMAGES
    # Version 0.1 wrote a fingerprint that also changed with the place of the images.
    known = {images.content_fingerprint, images.fingerprint}
    if not path.is_file() or path.read_text() not in known:
        raise RunError(
            f"{folder.path} holds a pretraining on other images; give the same images again, "
            "or remove that folder"
        )
