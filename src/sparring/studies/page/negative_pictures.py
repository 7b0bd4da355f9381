"""Pictures of one arm's negatives: the whole distribution of their hardness, and the hardest pairs
as images."""

from collections.abc import Sequence
from contextlib import suppress

from sparring.errors import SparringError
from sparring.reporting import negative_doctor
from sparring.reporting.negative_doctor import Look
from sparring.studies.page.view import PageView
from sparring.training.run_folder import RunFolder


def shown_arms(view: PageView) -> set[str]:
    """Arms of the main question, of which pictures are shown; others have their runs' reports."""
    primary = view.analysis.primary
    return set() if primary is None else {primary.contrast.first, primary.contrast.second}


def pictures(view: PageView, arm: str, looks: Sequence[Look], *, number: int) -> str:
    """Figure of the hardness over training, on means over seeds, and the hardest pairs of the first
    run whose folder is there; empty without looks.

    Args:
        view: the study.
        arm: its name.
        looks: means over seeds.
        number: of the arm, which gives its colour.
    """
    if not looks:
        return ""
    figure = negative_doctor.hardness_plot(arm, looks, number=number)
    return f'<div class="plots">{figure}</div>{_pairs(view, arm)}'


def _pairs(view: PageView, arm: str) -> str:
    """The hardest pairs as images; empty if no run folder, checkpoint or image is there."""
    for record in view.results.of_arm(arm, view.results.primary):
        with suppress(SparringError, OSError):
            path = view.folder.inside(record.folder) if record.folder else None
            if path is None or not RunFolder(path).config.is_file():
                continue
            # It brings the decoders, for which most pages need not wait.
            from sparring.reporting.illustration import hardest_pairs_of

            if pairs := hardest_pairs_of(RunFolder(path)):
                seed = f'<p class="note">Run of seed {record.name.seed}.</p>'
                return seed + negative_doctor.pairs_html(pairs)
    return ""
