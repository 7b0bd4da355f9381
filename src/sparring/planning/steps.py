"""A few real steps of a run: the same code as the run's, near its end, in a folder that is thrown
away.

Late steps, since a method may begin with others: a bank that fills, images that are not attacked
yet. The steps are made by `Training.run`, so that loader, views, opponent, records, a look of the
monitor and a checkpoint are in them as in the run.
"""

import time
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor

from sparring.data.store import cache_folder
from sparring.methods import registry
from sparring.planning.gauges import Gauge
from sparring.planning.measurement import WARM_UP, Measurement, Request
from sparring.planning.memory import mapped_bytes
from sparring.planning.watching import Stopwatch, TrialCache
from sparring.training.build import Game
from sparring.training.devices import free_device_bytes
from sparring.training.loop import Training
from sparring.training.opening import open_images
from sparring.training.opponent_pretraining import PretrainingCache
from sparring.training.run import prepare, pretrain_opponent, run_training
from sparring.training.run_folder import RunFolder
from sparring.training.settings import RunConfig

STORE_FILE = "images.bin"
NEVER_MINUTES = 1e6
"""Between checkpoints: the one at the end is timed."""
LOOK_IMAGES = 8
"""Where tensors are counted, the look is made as small as it can be: it takes its time, and the
steps decide."""


def window(last_step: int, steps_per_epoch: int, wanted: int) -> tuple[int, int]:
    """The first of the steps to make, and the step before which to stop: early in the last epoch,
    where the loader is at full work.

    Example:
        >>> window(100, 50, 8), window(60, 50, 20), window(3, 50, 8), window(20, 2, 8)
        ((50, 58), (40, 60), (0, 3), (12, 20))
    """
    start = (last_step - 1) // steps_per_epoch * steps_per_epoch
    start = max(0, min(start, last_step - wanted))
    return start, min(start + wanted, last_step)


def make_steps(
    request: Request, tell: Callable[[str, int, int], None], gauge: Gauge
) -> Measurement:
    """Make the steps, and measure them.

    Args:
        request: what to do.
        tell: told how far it is.
        gauge: of the memory that is measured.
    """
    for kind, name, reference in request.given:
        registry.give(kind, reference, name=name)
    bytes_before = gauge.now()
    config, dataset = open_images(RunConfig.from_tree(request.tree), request.data, None)
    config, first, last = _shortened(config, request, len(dataset))
    watch, folder = Stopwatch(gauge, tell, first, last), RunFolder(request.folder)
    training = prepare(config, dataset, folder, backbone=request.backbone, listener=watch)
    game, free = training.game, free_device_bytes(training.game.device)
    kept = PretrainingCache(dataset, cache=cache_folder(config.data.cache))
    cache = TrialCache(kept, dataset)
    pretrain_opponent(training, watch, backbone=request.backbone, cache=cache)
    _go_to(training, first)
    folder.create()
    watch.start()
    run_training(training, folder)
    end, store, resident = time.monotonic(), *mapped_bytes(STORE_FILE)
    (timed, look), (cpu, cpu_look) = _parted(watch.times), _parted(watch.cpu_times)
    return Measurement(
        batch_size=request.batch_size,
        seconds=timed,
        cpu_seconds=cpu,
        look_seconds=look,
        cpu_look_seconds=cpu_look,
        checkpoint_seconds=end - watch.times[-1],
        pretraining_seconds=cache.seconds,
        bytes_before=bytes_before,
        bytes_of_steps=watch.peaks[-2]
        if len(watch.peaks) > 2 and request.count == "memory"
        else watch.peaks[-1],
        bytes_of_all=gauge.peak(),
        bytes_at_rest=gauge.now(),
        store_bytes=store,
        unread_store_bytes=max(0, store - resident),
        free_bytes=free,
        feature_channels=game.encoder.backbone.num_features,
        **_standing_bytes(game),
    )


def _shortened(config: RunConfig, request: Request, num_images: int) -> tuple[RunConfig, int, int]:
    """The run at this batch size, stopped after the steps to make; the number of the first of them,
    and of the one that is not made."""
    training, batch = config.training, min(request.batch_size, num_images)
    steps_per_epoch = max(1, num_images // batch)
    planned = training.epochs * steps_per_epoch
    first, last = window(
        min(planned, training.max_steps or planned), steps_per_epoch, request.steps
    )
    changed = {
        "batch_size": request.batch_size,
        "max_steps": last,
        "log_steps": 1,
        "checkpoint_minutes": NEVER_MINUTES,
    }
    if request.count == "tensors":
        changed["monitor_images"] = min(training.monitor_images, LOOK_IMAGES)
    return config.changed(training=changed), first, last


def _go_to(training: Training, step: int) -> None:
    """Let the next step be a late one, with banks as full as they would be by then."""
    training.step = step
    training.game.method.advance(step * training.config.training.batch_size)


def _parted(times: list[float]) -> tuple[list[float], float]:
    """Times of single steps without the warm-up, and of the look that ends the last step.

    A run of a few steps in all has none to spare: then what there is serves.
    """
    lasted = [after - before for before, after in pairwise(times)]
    whole = lasted[WARM_UP:-1] or lasted[1:-1] or lasted[:-1]
    if not whole:
        return lasted, 0.0
    return whole, max(0.0, lasted[-1] - sorted(whole)[len(whole) // 2])


def _standing_bytes(game: Game) -> dict[str, int]:
    """Bytes that stay from step to step, and those of the gradients."""
    players = game.players.values()
    state = [
        part
        for player in players
        for parts in player.state_dict()["state"].values()
        for part in parts.values()
    ]
    return {
        "weight_bytes": _bytes([*game.method.parameters(), *game.method.buffers()]),
        "gradient_bytes": _bytes(
            [parameter for player in players for parameter in player.parameters()]
        ),
        "optimizer_bytes": _bytes([part for part in state if isinstance(part, Tensor)]),
    }


def _bytes(tensors: list[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
