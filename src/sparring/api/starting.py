"""Where `sparring.train` begins: at the first step of a method, or at the state of another run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparring.api.common import Run, give_classes
from sparring.data.sources.source import ImageData
from sparring.errors import ConfigError, RunError
from sparring.training.configure import configure
from sparring.training.listener import Listener
from sparring.training.loop import Training
from sparring.training.opening import data_path
from sparring.training.run_folder import RunFolder
from sparring.training.settings import RunConfig
from sparring.training.starting import (
    Classes,
    Start,
    continued_settings,
    read_start,
    require_same_game,
    settings_of_start,
    take_state,
    with_networks_of,
)


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """Where a run begins.

    Attributes:
        data: its images, as the user gives them or as another run names them.
        start: state of another run that it takes; None: none, or the folder holds the run already.
        base: settings of a run, before which the user's own go.
        notes: lines about what was read.
    """

    data: ImageData
    start: Start | None = None
    base: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def fitted(self, config: RunConfig) -> RunConfig:
        """Configuration with which the state can be taken."""
        return config if self.start is None else with_networks_of(self.start, config)

    def take(self, training: Training, listener: Listener | None) -> bool:
        """Give a training at its first step the state of the other run; returns whether there is
        one."""
        if self.start is not None:
            report = listener.report if listener is not None else lambda _: None
            for line in self.notes:
                report(line)
            take_state(self.start, training, report)
        return self.start is not None


def beginning(
    data: ImageData | None,
    folder: RunFolder,
    start_from: str | Path | Run | None,
    asked: tuple[Classes, Classes, str | Path | None],
    *,
    keep_optimizer: bool,
    goes_on: bool,
) -> Beginning:
    """Where a run begins, from the arguments of `sparring.train`.

    Args:
        data: images; None: those of `start_from`.
        folder: folder of the new run.
        start_from: run, or a checkpoint in its folder.
        asked: method, opponents and recipe.
        keep_optimizer: whether the optimisers' state is taken too.
        goes_on: whether the folder may hold the run already.

    Raises:
        UsageError: if the arguments do not go together, or the folder holds a run with another
            start.
        CheckpointError: if there is no checkpoint that can be read.
    """
    place = None if start_from is None else _place(start_from)
    run = None if place is None else _folder_of(place)
    if run is not None and run.resolve() == folder.path.resolve():
        raise RunError(
            f"--from and --out are both {folder.path}; a run that starts from another is a new "
            "one: choose another --out, or continue this one with `sparring resume`"
        )
    if goes_on:
        _require_same_origin(folder, run)
    if place is None or run is None:
        return Beginning(data=_required(data, keep_optimizer=keep_optimizer))
    method, opponent, recipe = asked
    if recipe is not None:
        raise ConfigError(
            f"--recipe {recipe} and --from {place} each give a whole configuration; give one of "
            "the two, and single settings with --set"
        )
    source = folder if goes_on and folder.has_checkpoint() else RunFolder(run)
    _give_classes(source, method, opponent)
    require_same_game(source.read_config(), method, opponent, run=run)
    if source is folder:
        config = folder.read_config()
        base = continued_settings(config, data=data)
        return Beginning(data=data_path(config) if data is None else data, base=base)
    notes: list[str] = []
    start = read_start(place, keeps_optimizer=keep_optimizer, report=notes.append)
    return Beginning(
        data=data_path(start.config) if data is None else data,
        start=start,
        base=settings_of_start(start, data=data),
        notes=notes,
    )


def resolved_config(
    data: ImageData | None = None,
    *,
    start_from: str | Path | Run | None = None,
    **arguments: Any,
) -> RunConfig:
    """Configuration that a run of `sparring.train` would have before its images are opened.

    Args:
        data: images; None: not known yet.
        start_from: as for `train`.
        arguments: the arguments of `train` that decide settings, such as method, recipe, epochs.

    Raises:
        UsageError: for wrong input, as by `train`.
    """
    if start_from is None:
        return configure(data, **arguments)
    asked = (arguments.get("method"), arguments.get("opponent"), arguments.get("recipe"))
    nowhere = RunFolder(Path(f"{_place(start_from)}.new"))
    begun = beginning(data, nowhere, start_from, asked, keep_optimizer=False, goes_on=False)
    return begun.fitted(configure(begun.data, base=begun.base, **arguments))


def _place(start_from: str | Path | Run) -> Path:
    return start_from.path if isinstance(start_from, Run) else Path(start_from)


def _folder_of(place: Path) -> Path:
    """Run folder of what a user starts from, which may be a checkpoint in it."""
    is_checkpoint = place.parent.name == "checkpoint" and not place.is_dir()
    return place.parent.parent if is_checkpoint else place


def _required(data: ImageData | None, *, keep_optimizer: bool) -> ImageData:
    if keep_optimizer:
        raise ConfigError(
            "--keep-optimizer is about the run that --from names, and none is given; leave it out"
        )
    if data is None:
        raise ConfigError(
            "no images are given: say where they are with --data PATH (data= in Python), or take "
            "those of another run with --from RUN"
        )
    return data


def _require_same_origin(folder: RunFolder, run: Path | None) -> None:
    """Refuse to go on with a run that had another start."""
    found = folder.read_environment()
    before = found.get("started_from", {}).get("run")
    now = None if run is None else str(run.resolve())
    if folder.config.exists() and found and before != now:
        was = f"started from {before}" if before else "started from no other"
        raise RunError(
            f"{folder.path} holds a run that {was}, and --from is "
            f"{now or 'not given'}; give it the same, or choose another --out"
        )


def _give_classes(folder: RunFolder, method: Classes, opponent: Classes) -> None:
    """Let the classes that a run names be those that are given now, and refuse to go on without."""
    one = method if isinstance(method, str | type) else None
    give_classes(folder.read_config(), one, opponent)
    folder.read_config().require_classes()
