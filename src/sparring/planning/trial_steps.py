"""A few real steps of a run, near its end, in a temporary folder.

Late steps, because early ones may differ: a bank that is still filling, images that are not yet
attacked. `Training.run` runs them, so loader, views, opponent, records, a monitor pass and a
checkpoint are included as in the run.
"""

import time
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor

from sparring.data.store import cache_folder
from sparring.machine_memory import mapped_bytes
from sparring.methods import registry
from sparring.planning.measurement import WARM_UP, Measurement, MeasurementRequest
from sparring.planning.memory_readers import MemoryReader
from sparring.planning.step_timing import OpponentPretrainingTimer, StepTimer
from sparring.training.build import Game
from sparring.training.devices import usable_device_bytes
from sparring.training.loop import Training
from sparring.training.opening import open_images
from sparring.training.opponent_pretraining import PretrainingCache
from sparring.training.run import prepare, pretrain_opponent, run_training
from sparring.training.run_folder import RunFolder
from sparring.training.settings import RunConfig

STORE_FILE = "images.bin"
NEVER_MINUTES = 1e6
"""Checkpoint interval that is never reached: only the final checkpoint is timed."""
MONITOR_IMAGES = 8
"""Most images in the monitor pass while tensors are counted: the pass is slow then, and the steps
set the peak."""


def step_window(last_step: int, steps_per_epoch: int, wanted: int) -> tuple[int, int]:
    """First step to run, and the step before which to stop.

    They are early in the last epoch, where the loader is fully busy.

    Example:
        >>> step_window(100, 50, 8), step_window(60, 50, 20)
        ((50, 58), (40, 60))
        >>> step_window(3, 50, 8), step_window(20, 2, 8)
        ((0, 3), (12, 20))
    """
    start = (last_step - 1) // steps_per_epoch * steps_per_epoch
    start = max(0, min(start, last_step - wanted))
    return start, min(start + wanted, last_step)


def run_trial_steps(
    request: MeasurementRequest, on_progress: Callable[[str, int, int], None], memory: MemoryReader
) -> Measurement:
    """Run the steps of a request and return their time and memory.

    Args:
        request: the steps to run.
        on_progress: called with what is counted, the number done and the total.
        memory: reader of the memory to measure.
    """
    for kind, name, reference in request.given:
        registry.give(kind, reference, name=name)
    memory.restart()
    bytes_before = memory.now()
    config, dataset = open_images(RunConfig.from_tree(request.tree), request.data, None)
    config, first, last = _shortened(config, request, len(dataset))
    watch, folder = StepTimer(memory, on_progress, first, last), RunFolder(request.folder)
    training = prepare(config, dataset, folder, backbone=request.backbone, listener=watch)
    game, free = training.game, usable_device_bytes(training.game.device)
    kept = PretrainingCache(dataset, cache=cache_folder(config.data.cache), seed=config.seed)
    timer = OpponentPretrainingTimer(kept, dataset, steps=request.pretraining_steps)
    # A sample has no time for the cost of a step with and without the opponent.
    heard = watch if request.whole_images is None else None
    pretrain_opponent(training, heard, backbone=request.backbone, cache=timer)
    _skip_to(training, first, share=len(dataset) / (request.whole_images or len(dataset)))
    folder.create()
    watch.start()
    run_training(training, folder)
    # A device holds nothing of what the process maps.
    end, (store, resident) = time.monotonic(), mapped_bytes(STORE_FILE) if free is None else (0, 0)
    (timed, monitor), (cpu, cpu_monitor) = _split_times(watch.times), _split_times(watch.cpu_times)
    return Measurement(
        batch_size=request.batch_size,
        seconds=timed,
        cpu_seconds=cpu,
        monitor_seconds=monitor,
        cpu_monitor_seconds=cpu_monitor,
        checkpoint_seconds=end - watch.times[-1],
        opponent_pretraining_seconds=timer.seconds,
        bytes_before=bytes_before,
        bytes_of_steps=watch.peaks[-2]
        if len(watch.peaks) > 2 and request.count == "memory"
        else watch.peaks[-1],
        bytes_of_all=memory.peak(),
        bytes_at_rest=memory.now(),
        store_bytes=store,
        unread_store_bytes=max(0, store - resident),
        free_bytes=free,
        resident_bytes=0 if free is None else training.feed.resident_bytes,
        feature_channels=game.encoder.backbone.num_features,
        **_state_bytes(game),
    )


def _shortened(
    config: RunConfig, request: MeasurementRequest, num_images: int
) -> tuple[RunConfig, int, int]:
    """Configuration at the requested batch size that stops after the steps to run.

    Also the number of the first step, and of the step after the last.
    """
    training, batch = config.training, min(request.batch_size, num_images)
    steps_per_epoch = max(1, num_images // batch)
    planned = training.total_steps(steps_per_epoch)
    first, last = step_window(
        min(planned, training.max_steps or planned), steps_per_epoch, request.steps
    )
    changed = {
        "batch_size": request.batch_size,
        "max_steps": last,
        "log_steps": 1,
        "checkpoint_minutes": NEVER_MINUTES,
    }
    limit = MONITOR_IMAGES if request.count == "tensors" else request.monitor_images
    if limit is not None:
        changed["monitor_images"] = min(training.monitor_images, limit)
    return config.changed(training=changed), first, last


def _skip_to(training: Training, step: int, *, share: float) -> None:
    """Set the next step to a late one, with banks as full as they would be by then, the images
    being this share of all."""
    training.step = step
    training.game.method.advance(round(step * training.config.training.batch_size / share))


def _split_times(times: list[float]) -> tuple[list[float], float]:
    """Times of single steps without the warm-up, and the time of the final monitor pass.

    A run too short for a warm-up uses the steps that there are.
    """
    lasted = [after - before for before, after in pairwise(times)]
    whole = lasted[WARM_UP:-1] or lasted[1:-1] or lasted[:-1]
    if not whole:
        return lasted, 0.0
    return whole, max(0.0, lasted[-1] - sorted(whole)[len(whole) // 2])


def _state_bytes(game: Game) -> dict[str, int]:
    """Bytes that stay allocated between steps, and those of the gradients."""
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
