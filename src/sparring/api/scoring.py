"""Public functions that look at a trained encoder: evaluate, embed."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from sparring.api.common import Run, folder_of, heard_by
from sparring.data.data_settings import DataSettings
from sparring.data.dataset import open_dataset
from sparring.data.sources.addresses import is_command
from sparring.data.sources.public_sets import is_public_set
from sparring.data.sources.source import ImageData, open_source
from sparring.data.views.views import Views
from sparring.errors import DataError
from sparring.evaluation.catalogue import SCORED_IMAGES, choose
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.features import extract_features
from sparring.evaluation.protocol import Protocol
from sparring.evaluation.protocol import evaluate as run_protocols
from sparring.evaluation.score_record import ScoreRecord
from sparring.files import refuse_folders, write_atomically
from sparring.training.encoder_names import TRAINED, start_name
from sparring.training.encoders import encoders_and_step, load_encoder
from sparring.training.listener import Listener, counter
from sparring.training.opening import own_images

STREAMED_SCORED_IMAGES = 2000
"""First images of a stream on which a run is scored at its end; they are held in memory."""

_PARTED = (
    "the run was trained on images in memory: a part of the given images is learned from, the rest "
    "is scored; train_data gives other images to learn from"
)


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
    """Score a run's encoder beside the one from which it started; each result is added to
    scores.json as soon as there is one.

    Args:
        run: run folder.
        data: images to be scored on, in any form of `ImageData`, with the labels that the protocol
            needs, such as (images, labels); default: a part of `train_data`, not learned from.
        train_data: images to learn from, with labels; default: those of the run, or of a public set
            given by name as `data`. If the run was trained on images in memory, it is a part of
            `data`, and the rest is scored.
        protocols: names as `sparring protocols` lists them, perhaps with a variant (`linear:adco`),
            `FILE.py:NAME` or `package.module:NAME`, or a `Protocol`.
        settings: of the protocols by name, for example {"semi-supervised": {"draws": 5}}.
        root: folder of the public sets that are given by name.
        seed: of every split and draw; default: the run's, but the images that are held out are
            the same for all runs on the same images.
        backbone: the network of your own with which the run was trained, if any.
        device: where to compute.
        limit: look at no more images than this of each set.
        listener: told what happens; None: progress is shown on standard error.
        progress: False shows nothing.

    Returns:
        {"trained": {protocol: {...}}, "untrained": {protocol: {...}}, "test": what was scored on};
        `start weights` instead of `untrained` for a run that set `encoder.weights`
    """
    asked = [protocols] if isinstance(protocols, str | Protocol) else protocols
    chosen = choose(asked, settings)
    folder = folder_of(run)
    config = folder.read_config()
    is_parted = data is not None and (is_public_set(data) or not config.data.path)
    own = train_data is None and not is_parted
    size, split_seed = config.image_size, 0 if seed is None else seed
    seed = config.seed if seed is None else seed
    is_one_set = data is None or (is_parted and train_data is None)
    keep = _kept(config.data, limit, own=own, seed=split_seed if is_one_set else seed)
    augment = Views(config.method_settings.views.resolve(size), image_size=size)
    with heard_by(listener, progress=progress) as heard:
        *encoders, step = encoders_and_step(
            folder,
            backbone=backbone,
            device=device,
            report=None if heard is None else heard.report,
        )
        started_from = folder.read_environment().get("started_from")
        start = EvaluatedEncoder(start_name(config.encoder.weights, started_from), encoders[1])
        record = ScoreRecord(folder, chosen, step=step, seed=seed, start=start.name)
        if heard is not None and train_data is None and is_parted and not is_public_set(data):
            heard.report(_PARTED)
        evaluated = [EvaluatedEncoder(TRAINED, encoders[0], start), start]
        evaluation_data = EvaluationData(
            own_images(config, limit=keep.limit) if own else train_data,
            data,
            image_size=size,
            seed=seed,
            device=encoders[0].mean.device,
            views=lambda images, draws: augment(images, generator=draws)[:2],
            keep=keep,
            limit=limit,
            config=config,
            folder=folder.path,
            root=Path(root) if root is not None else None,
            listener=heard,
            split_seed=split_seed,
        )
        run_protocols(
            evaluated, evaluation_data, chosen, done=partial(record.keep, evaluation_data)
        )
    return {**record.shown, "test": evaluation_data.test_name}


def _kept(data: DataSettings, limit: int | None, *, own: bool, seed: int) -> DataSettings:
    """How the images to learn from are kept, and which of them.

    Args:
        data: settings of the run's images.
        limit: largest number of images to look at.
        own: whether they are the run's own images, of which a run with a limit has drawn some.
        seed: draws them otherwise.
    """
    is_drawn = own and data.limit is not None
    limits = [one for one in (limit, data.limit if own else None) if one is not None]
    draw = data.limit_seed if is_drawn else seed
    return data.model_copy(update={"limit": min(limits, default=None), "limit_seed": draw})


def score_after_training(run: Run, *, listener: Listener | None = None) -> dict[str, Any]:
    """Scores with which a run ends: kNN, linear probe and geometry where there are labels, else
    geometry alone, and a line to the listener that says why."""
    data = run.config.data
    if not data.path or is_command(data.path):
        return {}
    limit = STREAMED_SCORED_IMAGES if data.streaming else SCORED_IMAGES
    try:
        return evaluate(
            run, protocols=("knn", "linear", "geometry"), limit=limit, listener=listener
        )
    except DataError as error:  # no labels, or a single class
        if listener is not None:
            listener.report(f"no accuracies: {error}")
        return evaluate(run, protocols=("geometry",), limit=limit, listener=listener)


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
        data: images in any form that `train` takes.
        out: an .npz file to write, with `features`, `keys`, and `labels` where known; None: none.
        backbone: the network of your own with which the run was trained, if any.
        device: where to compute.
        listener: told what happens; None: progress is shown on standard error.
        progress: False shows nothing.
    """
    refuse_folders(out)
    folder = folder_of(run)
    config = folder.read_config()
    keep = config.data.model_copy(update={"limit": None})
    with heard_by(listener, progress=progress) as heard:
        tell = None if heard is None else heard.report
        encoder = load_encoder(folder, backbone=backbone, device=device, report=tell)
        dataset = open_dataset(
            open_source(data, part="all"),
            keep,
            image_size=config.image_size,
            progress=counter("reading images", heard),
            report=tell,
        )
        shown = counter("features", heard)
        features = extract_features(
            encoder, dataset, device=encoder.mean.device, kept_on="cpu", progress=shown
        )
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
