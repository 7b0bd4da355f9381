"""Whether the test sets of a study are new to its encoders, and to whoever tuned its arms."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sparring.data.sources.addresses import is_address
from sparring.data.sources.public_sets import is_public_set
from sparring.data.sources.source import Source, open_source
from sparring.errors import DataError
from sparring.studies.contents import LABELS, Contents
from sparring.studies.plan import Study

COMPARED = 16
"""Images of a test set, spread over it, that are looked for among those of the tuning."""
MOST_LOOKED_THROUGH = 20_000
"""Largest number of images of the tuning that are looked through one by one."""


def seen_in_tuning(study: Study) -> Iterator[str]:
    """Sentences on test sets whose images an arm was tuned on."""
    for arm in study.arms:
        if not arm.tuning.images:
            continue
        for scored in study.tests:
            how = _overlap(arm.tuning.images, scored.data or study.data)
            if how:
                yield (
                    f"{arm.name} was tuned on {arm.tuning.images}, {how} the test set "
                    f"'{scored.name}', so its score there could not show how it does on new images"
                )


def seen_in_training(study: Study, contents: Contents, fingerprint: str) -> Iterator[str]:
    """Sentences on test sets whose images the encoders train on, without labels.

    Args:
        study: plan of the study.
        contents: images of the study.
        fingerprint: of the images to train on, see `Contents.training`.
    """
    for scored in study.tests:
        data, train_data = (one.partition(LABELS)[0] for one in contents.test(scored))
        if not scored.data or data == fingerprint:
            yield (
                f"test set '{scored.name}': the encoders train on these images, without labels; "
                "scores on new images may be lower."
            )
        elif data and data == train_data:
            yield (
                f"test set '{scored.name}': its images are those to learn from, so a fifth of them "
                "is held out and scored."
            )


def unlabelled(study: Study, contents: Contents, *, protocol: str) -> Iterator[str]:
    """Sentences on test sets without the labels that a protocol needs."""
    for scored in study.tests[:1]:
        data = scored.data or study.data
        if contents.is_labelled(data, "test" if scored.data else "train") is False:
            yield (
                f"test set '{scored.name}' has no labels ({data}), and the primary protocol "
                f"{protocol} needs them; name a labelled set, or put a protocol that needs none "
                "behind another"
            )


def _overlap(tuned: str, scored: str) -> str:
    """How images of the tuning are those of a test set; empty if they are not, or if it cannot be
    told."""
    if tuned == scored:
        return "which is"
    if any(is_address(one) or is_public_set(one) for one in (tuned, scored)):
        return ""
    first, second = (Path(one).expanduser() for one in (tuned, scored))
    if not (first.exists() and second.exists()):
        return ""
    first, second = first.resolve(), second.resolve()
    if first == second:
        return "which is"
    if first in second.parents:
        return "which holds"
    try:
        return _shared_images(open_source(first, part="all"), open_source(second, part="test"))
    except DataError:
        return ""


def _shared_images(tuned: Source, scored: Source) -> str:
    if tuned.content_fingerprint() == scored.content_fingerprint():
        return "which has the images of"
    if len(tuned) > MOST_LOOKED_THROUGH:
        return ""
    rows = np.linspace(0, len(scored) - 1, min(len(scored), COMPARED)).astype(int).tolist()
    wanted = {excerpt for row in rows if (excerpt := _excerpt(scored, row)) is not None}
    met = wanted & {_excerpt(tuned, row) for row in range(len(tuned))}
    return "which holds images of" if met else ""


def _excerpt(source: Source, row: int) -> bytes | None:
    try:
        return source.excerpt(row)
    except OSError:
        return None
