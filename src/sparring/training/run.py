"""Stages of a run: preparation, pretraining of its opponents, and the training itself."""

from typing import Literal

from torch import nn

from sparring import distributed
from sparring.acceleration.compiled import Compiler
from sparring.data.dataset import Dataset, StoredDataset
from sparring.data.store import cache_folder
from sparring.errors import ConfigError, TrainingError
from sparring.methods import registry
from sparring.methods.learning import OpponentCache
from sparring.methods.method import Method
from sparring.models.backbones import CUSTOM
from sparring.training.build import StartWeights, build
from sparring.training.checkpoint import restore_game
from sparring.training.compilation import compile_networks, decision
from sparring.training.determinism import as_configured
from sparring.training.devices import device_note
from sparring.training.given_network import given_again, keep_start
from sparring.training.keep_best import evaluated_checkpoint
from sparring.training.listener import Listener
from sparring.training.loop import Training
from sparring.training.opponent_pretraining import PretrainingCache, lasting
from sparring.training.required_views import needs_images
from sparring.training.resuming import changes
from sparring.training.run_folder import RunFolder
from sparring.training.settings import RunConfig
from sparring.wording import counted

TIMED_STEPS = 2


def prepare(
    config: RunConfig,
    dataset: Dataset,
    folder: RunFolder,
    *,
    backbone: nn.Module | None,
    listener: Listener | None,
    start: StartWeights | None = None,
) -> Training:
    """Training of a configuration at its first step.

    Args:
        config: configuration with a resolved image size.
        dataset: training images.
        folder: run folder to write to.
        backbone: your own network, copied and used instead of `encoder.backbone`.
        listener: receives a description of the training.
        start: weights of `encoder.weights`; None: a checkpoint replaces those of the seed.
    """
    observe = listener.observe if listener is not None else None
    training = Training(
        config=config,
        game=build(config, backbone, start),
        dataset=dataset,
        folder=folder,
        observe=observe,
        compiler=Compiler(report=listener.report if listener is not None else None),
    )
    game, compiler = training.game, training.compiler
    if _compilation(training) == "on" and compile_networks(
        game.method, compiler, config.training, game.device
    ):
        own = config.training.batch_size // distributed.num_processes()
        training.views.compile(compiler.compiled, batch_size=own)
    # Only now, so that a wrong batch size or device is reported before it.
    if listener is not None:
        if config.data.channels != 3:
            listener.report(
                f"data.channels is {config.data.channels}: views change no saturation and no hue, "
                "and make nothing grey; these need red, green and blue"
            )
        if note := device_note(training.game.device):
            listener.report(note)
        listener.report(_summary(config, dataset))
        for line in () if start is None else start.lines:
            listener.report(line)
    return training


@as_configured
def pretrain_opponent(
    training: Training,
    listener: Listener | None,
    *,
    backbone: nn.Module | None = None,
    cache: OpponentCache | None = None,
) -> None:
    """Pretrain the opponents on the images before the first step.

    Nothing is written to the run's folder.

    Args:
        training: training at its first step.
        listener: receives in advance the cost of a step with such opponents.
        backbone: your own network with which the run is trained, if any.
        cache: stores the result; None: the cache of the configuration.
    """
    config, game = training.config, training.game
    is_heard = distributed.share(listener is not None)  # all processes measure, or none
    if is_heard and needs_images(game.method) and training.last_step > TIMED_STEPS:
        cost = _cost_of_opponents(training, backbone)
        if listener is not None:
            listener.report(cost)
    kept = PretrainingCache(
        training.dataset,
        cache=cache_folder(config.data.cache),
        listener=listener,
        seed=config.seed,
    )
    game.method.pretrain_opponent(
        training.dataset, kept if cache is None else cache, device=game.device
    )
    distributed.broadcast([*game.method.parameters(), *game.method.buffers()])


@as_configured
def run_training(training: Training, folder: RunFolder) -> None:
    """Train to the end in the folder, which is locked against other processes.

    Args:
        training: training at its first step, or restored from a checkpoint.
        folder: run folder.
    """
    if distributed.is_main():
        with folder.locked():
            folder.write_config(training.config)
            folder.write_environment(training.game.device, further=_origin(training))
            encoder = training.config.encoder
            is_given = encoder.backbone.startswith(CUSTOM) or encoder.weights is not None
            if training.step == 0 and (is_given or training.started_from):
                keep_start(training.game.encoder.backbone, folder, name=encoder.backbone)
            training.run()
    else:
        training.run()
    distributed.barrier()


def _origin(training: Training) -> dict[str, object]:
    """What a run comes from besides its machine, and its planned length."""
    before = training.folder.read_environment() if training.folder.has_checkpoint() else {}
    return {
        "images": training.conditions["images"],
        "content": training.conditions["content"],
        "classes": _hashes(training.config),
        "planned_steps": training.num_steps,
        "compiled": _compilation(training),
        "changes": [*before.get("changes", []), *changes(training.changed, step=training.step)],
        "started_from": training.started_from or before.get("started_from"),
    }


def _compilation(training: Training) -> Literal["on", "off"]:
    """Whether this run's networks are compiled."""
    return decision(
        training.config.training,
        training.game.device,
        num_steps=training.num_steps,
        environment=training.folder.read_environment(),
    )


def require_unchanged_classes(
    config: RunConfig, folder: RunFolder, listener: Listener | None
) -> None:
    """Refuse a run whose classes are not available; report classes whose files have changed.

    Args:
        config: configuration of the run.
        folder: run folder, which stores the files' hashes.
        listener: receives the names of changed files.

    Raises:
        ConfigError: if a class must be given again; the message names it.
    """
    config.require_classes()
    before = folder.read_classes()
    for name, found in _hashes(config).items():
        if name in before and before[name] != found and listener is not None:
            listener.report(
                f"the file of {name} has changed since this run began: the rest of the run follows "
                "the new one"
            )


def load_method(
    folder: RunFolder, *, backbone: nn.Module | None = None, device: str = "cpu"
) -> Method | None:
    """Method of the checkpoint that is evaluated, in evaluation mode and without gradients.

    Args:
        folder: run folder.
        backbone: your own network with which the run was trained, if any.
        device: device of the method.

    Returns:
        None if the method's class is not available.
    """
    config = folder.read_config()
    try:
        config.require_classes()
    except ConfigError:
        return None
    config = config.changed(training={"device": device, "sync_batch_norm": False})
    game = build(config, given_again(folder, backbone))
    found = evaluated_checkpoint(folder)
    restore_game(game, found.path, found.content)
    return game.method.eval().requires_grad_(False)


def _hashes(config: RunConfig) -> dict[str, str]:
    """Hash of the file of each given class, by its name in the configuration."""
    given = {
        config.method: registry.source_hash("method", config.method),
        **{name: registry.source_hash("opponent", name) for name in config.opponent},
    }
    return {name: found for name, found in given.items() if found is not None}


def _summary(config: RunConfig, dataset: Dataset) -> str:
    size, bad = config.image_size, len(dataset.quarantine)
    steps = len(dataset) // config.training.batch_size
    left_out = f"; {bad:,} unreadable files left out, see quarantine.txt" if bad else ""
    plan = (
        f"{' + '.join((config.method, *config.opponent))}, {config.encoder.backbone}, "
        f"{config.training.length()}{' in epochs' if config.training.num_steps else ''} of "
        f"{counted(steps, 'step')}{_trial_end(config, steps)}"
    )
    resident = dataset.resident if isinstance(dataset, StoredDataset) else None
    where = "" if resident is None else f", kept on {resident.device}"
    return f"{len(dataset):,} images of {size} x {size} px{where}{left_out}; {plan}"


def _trial_end(config: RunConfig, steps_per_epoch: int) -> str:
    """Where a trial stops; empty for a run that makes all its steps."""
    last = config.training.max_steps
    if last is None or last >= config.training.total_steps(steps_per_epoch):
        return ""
    return f", stopped after {counted(last, 'step')} (max_steps)"


def _cost_of_opponents(training: Training, backbone: nn.Module | None) -> str:
    """Sentence about the time of a step with the opponents and without them, measured on separate
    games."""
    config, seconds = training.config, []
    sections = [registry.section_of(name) for name in config.opponent]
    alone = {key: value for key, value in config.tree().items() if key not in sections}
    for shown in (config, RunConfig.from_tree({**alone, "opponent": []})):
        trial = Training(
            config=shown,
            game=build(shown, backbone),
            dataset=training.dataset,
            folder=training.folder,
        )
        try:
            seconds.append(trial.seconds_per_step(TIMED_STEPS))
        except TrainingError:  # in all processes; the run itself will name step and player
            return f"{', '.join(config.opponent)}: a trial of {TIMED_STEPS} steps diverged"
    both, bare = seconds
    return (
        f"{', '.join(config.opponent)}: a step takes {both:.2g} s here, {both / bare:.1f} times "
        f"one of {config.method} alone ({TIMED_STEPS} timed); all {training.last_step:,} steps at "
        f"most {lasting(both * training.last_step)}"
    )
