"""A run that starts from another: from the whole state of its checkpoint, with a schedule of its
own."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm

from sparring import distributed
from sparring.config import Tree, leaves, merged
from sparring.data.sources.addresses import is_address
from sparring.data.sources.source import ImageData
from sparring.errors import CheckpointError, ConfigError
from sparring.methods.learning import TellsImagesApart
from sparring.methods.method import Method
from sparring.methods.plugins import is_reference
from sparring.opponents.opponent import chain
from sparring.training.checkpoint import encoder_state, read_checkpoint, restore_game
from sparring.training.divergence import non_finite
from sparring.training.keep_best import evaluated_checkpoint
from sparring.training.loop import Training
from sparring.training.run_folder import RunFolder
from sparring.training.settings import RunConfig

Classes = str | type[Method] | Sequence[str | type[Method]] | None
"""Methods or opponents as a user gives them."""
QUEUE = "queue_epochs"
"""Setting of a method whose learned bank first plays as a queue for so many epochs."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a run starts from.

    Attributes:
        folder: run folder.
        path: checkpoint in it.
        content: content of the checkpoint.
        config: configuration of that run.
        keeps_optimizer: whether the optimisers' state is taken too.
        chosen_by: how the checkpoint was chosen; empty if it is the last one.
    """

    folder: RunFolder
    path: Path
    content: Mapping[str, Any]
    config: RunConfig
    keeps_optimizer: bool = False
    chosen_by: str = ""

    @property
    def step(self) -> int:
        """Number of steps that the state has learned."""
        return int(self.content["step"])

    def record(self) -> dict[str, object]:
        """What the new run's environment.json says of its start."""
        return {
            "run": str(self.folder.path.resolve()),
            "step": self.step,
            "checkpoint": self.path.name,
            "sha256": hashlib.sha256(self.path.read_bytes()).hexdigest(),
            "optimizer": "kept" if self.keeps_optimizer else "not kept",
            **({"chosen_by": self.chosen_by} if self.chosen_by else {}),
        }


def read_start(
    place: Path, *, keeps_optimizer: bool, report: Callable[[str], None] | None = None
) -> Start:
    """The start that a run folder gives: its last checkpoint, or that of its best look if it keeps
    one; or a certain checkpoint in it.

    Args:
        place: run folder, or a file of its folder `checkpoint`.
        keeps_optimizer: whether the optimisers' state is taken too.
        report: receives a line if a checkpoint cannot be read and another one is used.

    Raises:
        RunError: if there is no run.
        CheckpointError: if there is no checkpoint that can be read.
    """
    if place.parent.name == "checkpoint" and not place.is_dir():
        folder = RunFolder(place.parent.parent)
        config, content = folder.read_config(), read_checkpoint(place)
        return Start(
            folder=folder,
            path=place,
            content=content,
            config=config,
            keeps_optimizer=keeps_optimizer,
        )
    folder = RunFolder(place)
    config = folder.read_config()
    found = evaluated_checkpoint(folder, report)
    return Start(
        folder=folder,
        path=found.path,
        content=found.content,
        config=config,
        keeps_optimizer=keeps_optimizer,
        chosen_by=found.chosen_by,
    )


def settings_of_start(start: Start, *, data: ImageData | None) -> Tree:
    """Settings that a new run takes over: all but the length of a trial and the part of the images
    that was used.

    The seed is the next one, so that orders and views are not those of the run before once more. A
    bank that has been filled plays on, and not as a queue again.

    Args:
        start: what the run starts from.
        data: images that the user names, if any.
    """
    tree = continued_settings(start.config, data=data)
    encoder = {"weights": None, "weights_sha256": None}  # the state takes their place
    tree = merged(tree, {"seed": start.config.seed + 1, "encoder": encoder})
    if tree.get(QUEUE) and _is_past(start, float(tree[QUEUE])):
        tree[QUEUE] = 0.0
    return tree


def continued_settings(config: RunConfig, *, data: ImageData | None) -> Tree:
    """Settings of a run as the next command takes them over: of those of its images, only what may
    hold for the images that the user names, if any."""
    other: Tree = {}
    if data is not None:
        streaming = config.data.streaming and is_address(data)
        other = {
            "data": {"limit": None, "limit_seed": None, "num_images": None, "streaming": streaming}
        }
    return merged(config.tree(), {"training": {"max_steps": None}}, other)


def require_same_game(
    start: RunConfig,
    method: Classes,
    opponent: Classes,
    *,
    run: Path,
) -> None:
    """Refuse a method or opponents that the state of a run is not of.

    Args:
        start: configuration of that run.
        method: as the user gives it; a class is that of the run, since it was given again.
        opponent: likewise.
        run: folder of the run.

    Raises:
        ConfigError: if one of them is another.
    """
    around = [opponent] if isinstance(opponent, str | type) else list(opponent or ())
    asked: Tree = {"method": start.method, "opponent": list(start.opponent)}
    if isinstance(method, str) and not is_reference(method):
        asked["method"] = method
    if around and all(isinstance(name, str) and not is_reference(name) for name in around):
        asked["opponent"] = around
    found = RunConfig.from_tree(asked)
    _require(("method", start.method, found.method), run=run)
    _require(("opponent", start.opponent, found.opponent), run=run)


def with_networks_of(start: Start, config: RunConfig) -> RunConfig:
    """Configuration in which the encoder is built as the state needs it, whatever the image size.

    Raises:
        ConfigError: if the encoder, the method or an opponent was set to another one.
    """
    if config.encoder.weights is not None:
        raise ConfigError(
            f"encoder.weights={config.encoder.weights} and --from {start.folder.path} both give "
            "weights; leave one of them out"
        )
    before, now = (dict(leaves(one.tree())) for one in (start.config, config))
    for name in {**before, **now}.keys() - {"encoder.weights", "encoder.weights_sha256"}:
        if name.startswith(("encoder.", "method", "opponent")):
            _require((name, before.get(name), now.get(name)), run=start.folder.path)
    backbone = config.encoder.backbone
    is_resnet = backbone in timm.list_models() and timm.models.is_model_in_modules(
        backbone, ["resnet"]
    )
    is_other_size = config.training.image_size != start.config.training.image_size
    if is_resnet and is_other_size and config.encoder.small_images is None:
        stem = encoder_state(start.content).get("backbone.network.conv1.weight")
        is_small = stem is not None and stem.shape[-1] == 3
        return config.changed(encoder={"small_images": is_small})
    return config


def take_state(start: Start, training: Training, report: Callable[[str], None]) -> None:
    """Give a training at its first step the state of another run, and say what was taken.

    Args:
        start: what the run starts from.
        training: training at its first step.
        report: receives the line.

    Raises:
        ConfigError: if a setting was changed that the state does not fit.
        CheckpointError: if the state is not finite.
    """
    game, run = training.game, start.folder.path
    # An attention mask, for instance, may hold infinity from the start.
    allowed = set(non_finite(game.method.state_dict()))
    try:
        restore_game(
            game,
            start.path,
            start.content,
            own_settings=True,
            players=start.keeps_optimizer,
        )
    except CheckpointError as error:
        raise ConfigError(f"{error}; put the setting back, or {_advice(run)}") from None
    if lost := [name for name in non_finite(game.method.state_dict()) if name not in allowed]:
        raise CheckpointError(
            f"the state in {start.path} is not finite ({lost[0]}): that run had diverged; start "
            "from another one"
        )
    is_other = _conditions(start).get("content") != training.conditions["content"]
    met = [
        name.rpartition(".")[2]
        for name, module in game.method.named_modules()
        if isinstance(module, TellsImagesApart)
        and module.start_over(training.dataset, is_other=is_other)
    ]
    distributed.broadcast([*game.method.parameters(), *game.method.buffers()])
    training.started_from = start.record()
    report(_taken(start, training, forgotten=met))


def _taken(start: Start, training: Training, *, forgotten: Sequence[str]) -> str:
    config, before = training.config, start.config
    which = f" ({start.chosen_by})" if start.chosen_by else ""
    kept = "kept" if start.keeps_optimizer else "not kept"
    parts = [name for name in _parts(training.game.method) if name not in forgotten]
    clauses = [
        f"from {start.folder.path} at step {start.step:,}{which}: {', '.join(parts)}",
        f"optimiser state {kept}",
        f"schedule fresh over {config.training.length()}",
        f"seed {config.seed}",
    ]
    if config.training.image_size != before.training.image_size:
        sizes = f"{config.image_size} px instead of {before.training.image_size}"
        clauses.append(f"views of {sizes}")
    own, old = (getattr(one.method_settings, QUEUE, None) for one in (config, before))
    if own != old:
        clauses.append(f"{QUEUE}={own:g} instead of {old:g}")
    if forgotten:
        clauses.append(f"begun anew: {', '.join(forgotten)}")
    return "; ".join(clauses)


def _parts(method: Method) -> list[str]:
    """Names of what has a state, the encoder first."""
    found = [
        name
        for part in chain(method)
        for name, child in part.named_children()
        if name != "method" and child.state_dict()
    ]
    return sorted(dict.fromkeys(found), key=lambda name: name != "encoder")


def _is_past(start: Start, epochs: float) -> bool:
    """Whether a run has made so many epochs."""
    images = _conditions(start).get("images")
    if not isinstance(images, int):
        return False
    return start.step >= epochs * (images // start.config.training.batch_size)


def _conditions(start: Start) -> dict[str, Any]:
    """What that run computed with, as far as it is known."""
    return {**start.folder.read_environment(), **start.content.get("conditions", {})}


def _require(change: tuple[str, object, object], *, run: Path) -> None:
    name, old, new = change
    if old != new:
        shown = [
            ", ".join(value) or "none" if isinstance(value, tuple | list) else value
            for value in (old, new)
        ]
        raise ConfigError(
            f"the state of {run} does not fit: {name} was {shown[0]} and is {shown[1]}; put it "
            f"back, or {_advice(run)}"
        )


def _advice(run: Path) -> str:
    return f"take the encoder alone: --set encoder.weights={run} in place of --from"
