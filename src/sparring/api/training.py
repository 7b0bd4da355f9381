"""Public functions that train: train, resume."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from torch import nn

from sparring import distributed, peers
from sparring.api.common import Run, folder_of, give_classes, heard_by
from sparring.api.starting import Beginning, beginning
from sparring.data.dataset import Dataset
from sparring.data.sources.source import ImageData
from sparring.loggers.choosing import ChosenLogger, Logs, choose_loggers
from sparring.loggers.logged_training import logged
from sparring.methods.method import Method
from sparring.training.arguments import ArgumentValue, argument_settings
from sparring.training.checkpoint import newest_checkpoint
from sparring.training.configure import configure, network_of, stored_path
from sparring.training.continuing import layer_lines
from sparring.training.devices import choose_device
from sparring.training.given_network import given_again
from sparring.training.listener import Listener
from sparring.training.loop import Training
from sparring.training.opening import data_path, open_images
from sparring.training.profiling import profiled
from sparring.training.resuming import Difference, conditions, require_same, require_same_run
from sparring.training.run import (
    prepare,
    pretrain_opponent,
    require_unchanged_classes,
    run_training,
)
from sparring.training.run_folder import RunFolder
from sparring.training.settings import RunConfig
from sparring.training.small_sets import cautions, gives_batch_size, with_fitting_batch
from sparring.training.start_weights import with_start_weights
from sparring.training.strengths import StrengthValue


def train(
    data: ImageData | None = None,
    *,
    out: str | Path,
    method: str | type[Method] | None = None,
    opponent: str | type[Method] | Sequence[str | type[Method]] | None = None,
    recipe: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    strength: StrengthValue | None = None,
    backbone: nn.Module | str | None = None,
    start_from: str | Path | Run | None = None,
    keep_optimizer: bool = False,
    resume_if_exists: bool = False,
    listener: Listener | None = None,
    progress: bool = True,
    profile: int | None = None,
    log: Logs = (),
    **arguments: ArgumentValue,
) -> Run:
    """Pretrain an encoder on images without labels.

    Args:
        data: images in any form of `ImageData`: a folder, parquet, a list, arrays, PIL images, a
            dataset (docs/data.md); None: those of `start_from`. Labels, if any, serve scoring only,
            and `training.keep_best="knn_accuracy"`.
        out: run folder to create.
        method: name of a method, its class, `"FILE.py:CLASS"` or `"package.module:CLASS"`;
            default: the recipe's, or adco.
        opponent: opponents in image space around the method, the innermost first, each by its name,
            such as "perturbation", or as a method is given; default: the recipe's.
        recipe: shipped recipe by name, or a TOML file; explicit arguments go before it.
        settings: further settings as a nested dictionary, for example {"bank": {"size": 4096}};
            they win over all other arguments.
        strength: what the run's opponent adds to the loss, in nats per query, held by feedback
            (docs/strength.md); a table such as {"nats": 0.2, "schedule": "rising"}; "released": as
            the paper's constants make it. The setting `strength` of whatever has a dial.
        backbone: name of a model of timm, such as "resnet50"; or a network of your own, of which a
            copy is trained and whose parameters that require no gradient stay as they are.
            Resuming or loading such a run needs the network again, with any weights.
        start_from: run, or a checkpoint in its folder, from whose state this one starts: encoder,
            heads, teachers, banks, queues, opponents. Its settings hold where nothing else is
            given, and schedules begin anew. A run that keeps its best look gives that one.
        keep_optimizer: whether to take the optimisers' state of `start_from` too.
        resume_if_exists: whether to continue the run that `out` holds, if its settings and images
            are these; one without a checkpoint is begun anew, and a finished one left as it is.
        listener: told what happens; None: progress is shown on standard error.
        progress: False shows nothing.
        profile: number of steps, after ten others, of which a table shows where the time goes; the
            trace is written to `trace.json.gz` in the run folder.
        log: where curves are shown besides, such as ["tensorboard"] or "wandb:PROJECT", or loggers
            of your own (docs/logging.md).
        arguments: fields of `TrainingSettings`, such as epochs=100, batch_size=128, max_steps=10,
            device="cpu", precision="bfloat16"; seed; weights, from which the backbone starts; lr,
            the encoder's peak learning rate; workers, threads that decode images.

    Raises:
        UsageError: for wrong input; nothing has been written then.
        TrainingError: if the loss is not finite; the last checkpoint is kept.
    """
    chosen: list[str] = []
    logs = choose_loggers(log)
    folder, given = RunFolder(out), (method, opponent, recipe)
    begun = beginning(
        data, folder, start_from, given, keep_optimizer=keep_optimizer, goes_on=resume_if_exists
    )
    network = network_of(backbone)
    config = configure(
        begun.data,
        method=method,
        opponent=opponent,
        recipe=recipe,
        settings=settings,
        strength=strength,
        backbone=backbone,
        report=chosen.append,
        base=begun.base,
        **arguments,
    )
    _train(
        begun.fitted(config),
        begun,
        folder,
        network,
        chosen=chosen,
        gives_batch=gives_batch_size(settings, arguments),
        goes_on=resume_if_exists,
        heard=heard_by(listener, progress=progress),
        profile=profile,
        logs=logs,
    )
    return Run(folder.path)


def _train(
    config: RunConfig,
    begun: Beginning,
    folder: RunFolder,
    backbone: nn.Module | None,
    *,
    chosen: Sequence[str],
    gives_batch: bool,
    goes_on: bool,
    heard: AbstractContextManager[Listener | None],
    profile: int | None,
    logs: Sequence[ChosenLogger],
) -> None:
    """Train a configuration in a folder, or go on with the run that it holds; see `train`."""
    asked = config.encoder.model_fields_set
    distributed.start(config.training.device)
    with (
        peers.watched(),
        folder.claimed(goes_on=goes_on) if distributed.is_main() else nullcontext(),
        heard as listener,
    ):
        distributed.barrier()
        choose_device(config.training.device)  # before the images, which may take minutes
        config, dataset = open_images(config, config.data.path or begun.data, listener)
        asked_batch = config.training.batch_size
        if not gives_batch:
            config = with_fitting_batch(config, len(dataset))
        report = listener.report if listener is not None else lambda _: None
        config, start = with_start_weights(
            config, backbone, asked=asked, folder=folder if goes_on else None, report=report
        )
        if goes_on and _is_continued(folder, config, dataset, listener):
            training = _restored(config, dataset, folder, backbone, listener)
        else:
            training = prepare(
                config, dataset, folder, backbone=backbone, listener=listener, start=start
            )
            _warn(training, listener, asked_batch=asked_batch, chosen=chosen)
            if not begun.take(training, listener):
                pretrain_opponent(training, listener, backbone=backbone)
        with (
            profiled(training, profile, report=report),
            logged(training, logs, report=report),
        ):
            run_training(training, folder)
        _tell_end(training, listener)


def resume(
    run: str | Path | Run,
    *,
    data: ImageData | None = None,
    max_steps: int | None = None,
    workers: int | None = None,
    changed_on_purpose: str | Sequence[str] = (),
    method: str | type[Method] | None = None,
    opponent: str | type[Method] | Sequence[str | type[Method]] | None = None,
    backbone: nn.Module | None = None,
    listener: Listener | None = None,
    progress: bool = True,
    log: Logs = (),
) -> Run:
    """Continue a run to its end.

    On the same device, number of threads and processes, processor and versions it goes on to the
    bit as if it had never stopped, on CUDA with `training.deterministic=true` only; if one of them
    has changed, a line says so. Other images or settings are refused unless they are meant.

    Args:
        run: run folder.
        data: the same images again, if they are in memory or have moved; compared by content.
        max_steps: stop after this many steps in total; default: the whole plan.
        workers: threads that decode images, >= 0; 0: one per core, at most 8; default: as before.
        changed_on_purpose: names of settings that were changed in config.toml, such as
            "training.batch_size", and "images" if these are others; the rest of the run follows
            them.
        method: only for a method that is neither shipped nor installed: the same again, since a run
            folder never makes this library import code.
        opponent: likewise, the opponents that are neither shipped nor installed.
        backbone: the network of your own with which the run was started, if any.
        listener: told what happens; None: progress is shown on standard error.
        progress: False shows nothing.
        log: where curves are shown besides, as in `train`; those of this run go on, and new ones
            get its earlier records too.

    Raises:
        UsageError: if there is no run, a class of it is missing, or its images or settings have
            changed.
        CheckpointError: if there is no checkpoint, or it does not fit the configuration.
    """
    logs = choose_loggers(log)
    folder = folder_of(run)
    give_classes(folder.read_config(), method, opponent)
    config = folder.read_config()
    newest_checkpoint(folder.checkpoint)
    config = config.changed(training={"max_steps": max_steps})
    if workers is not None:
        config = config.changed(**argument_settings({"workers": workers}))
    distributed.start(config.training.device)
    with (
        peers.watched(),
        folder.locked() if distributed.is_main() else nullcontext(),
        heard_by(listener, progress=progress) as heard,
    ):
        require_unchanged_classes(config, folder, heard)
        if data is None:
            data = data_path(config)
        config = config.changed(data={"path": stored_path(data)})
        config, dataset = open_images(config, data, heard)
        report = heard.report if heard is not None else lambda _: None
        changed = require_same(
            folder,
            config,
            conditions(dataset, choose_device(config.training.device)),
            on_purpose=_names(changed_on_purpose),
            report=report,
        )
        training_run = _restored(config, dataset, folder, backbone, heard, changed=changed)
        with logged(training_run, logs, report=report):
            run_training(training_run, folder)
        _tell_end(training_run, heard)
    return Run(folder.path)


def _is_continued(
    folder: RunFolder, config: RunConfig, dataset: Dataset, heard: Listener | None
) -> bool:
    """Whether the folder holds a run of this configuration with a checkpoint.

    Raises:
        RunError: if it holds a run of another configuration.
    """
    holds_run, has_checkpoint = distributed.share((folder.config.exists(), folder.has_checkpoint()))
    if holds_run:
        require_unchanged_classes(config, folder, heard)
        require_same_run(
            folder,
            config,
            conditions(dataset, choose_device(config.training.device)),
            report=heard.report if heard is not None else lambda _: None,
        )
        if heard is not None:
            is_of = "goes on" if has_checkpoint else "has no checkpoint and begins anew"
            heard.report(f"the run in {folder.path} {is_of}")
    return has_checkpoint


def _warn(
    training: Training, heard: Listener | None, *, asked_batch: int, chosen: Sequence[str]
) -> None:
    """Report what was chosen, and what in the configuration does not suit the images."""
    if heard is not None:
        steps, count = training.loader.steps_per_epoch, len(training.dataset)
        config = training.config
        few = cautions(config, count, steps_per_epoch=steps, asked_batch=asked_batch)
        for line in (*chosen, *layer_lines(config, training.game), *few):
            heard.report(line)


def _restored(
    config: RunConfig,
    dataset: Dataset,
    folder: RunFolder,
    backbone: nn.Module | None,
    heard: Listener | None,
    *,
    changed: Mapping[str, Difference] | None = None,
) -> Training:
    """Training at the last checkpoint of its folder; says so if there is nothing left to train."""
    network = given_again(folder, backbone)
    training = prepare(config, dataset, folder, backbone=network, listener=heard)
    training.changed = changed or {}
    training.restore()
    is_told = training.best.stops_at is not None  # at the end
    if training.step >= training.last_step and heard is not None and not is_told:
        heard.report(
            f"{folder.path} has made all its {training.step:,} steps; there is nothing left to "
            "train"
        )
    return training


def _tell_end(training: Training, heard: Listener | None) -> None:
    """Say which look was the best, if it is kept, and whether the stop rule has ended the run."""
    if heard is None or not distributed.is_main():
        return
    looks = training.best.looks
    if looks is not None and looks.best:
        chosen = looks.sentence(steps=training.step)
        heard.report(f"the encoder of {training.folder.path}: {chosen}")
    if (line := training.best.stop_sentence(training.num_steps)) is not None:
        heard.report(line)


def _names(given: str | Sequence[str]) -> list[str]:
    """Names of a list, each of which may hold several, separated by commas."""
    texts = [given] if isinstance(given, str) else given
    return [name.strip() for text in texts for name in text.split(",") if name.strip()]
