"""Section of a study's page with the test images and the classes on which arms disagree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from sparring.evaluation.catalogue import short_title_of
from sparring.reporting import sections
from sparring.reporting.figures import data_uri
from sparring.reporting.gallery import Pixels
from sparring.reporting.sentences import percent
from sparring.seeding import derived_seed
from sparring.studies.page.class_wins import class_table
from sparring.studies.page.pictures import found_images
from sparring.studies.page.view import PageView
from sparring.studies.page.votes import ABSENT, Ballot, Numbers, ballot
from sparring.studies.plan import Contrast, ScoredSet
from sparring.studies.results import Measure

NUM_IMAGES = 24
"""Most images of the section; each is at most 72 pixels wide and takes a few kB."""
NUM_NAMED = 3
"""Most wrong classes that are named for an arm and an image."""

_LEAD = (
    "Images that one arm gets right in more than half of its runs and the other in fewer than "
    "half. They show what a difference is about and are no evidence of one: two equal arms "
    "disagree on some images too."
)


@dataclass(frozen=True, kw_only=True)
class _Dispute:
    """A contrast, the votes on it, and the images that are shown, as rows of the ballot."""

    contrast: Contrast
    measure: Measure
    votes: Ballot
    gained: Sequence[int]
    lost: Sequence[int]

    @property
    def keys(self) -> list[str]:
        """Keys of the images that are shown."""
        return [self.votes.keys[row] for row in (*self.gained, *self.lost)]


def section(view: PageView) -> str:
    """Galleries of disputed images and tables of classes, as HTML; empty without predictions."""
    contrasts = shown_contrasts(view)
    disputes = [
        dispute
        for contrast in contrasts
        if (dispute := _dispute(view, contrast, NUM_IMAGES // (2 * len(contrasts)))) is not None
    ]
    if not disputes:
        return ""
    test = next(one for one in view.study.tests if one.name == disputes[0].measure.test)
    keys = [key for dispute in disputes for key in dispute.keys]
    images = found_images(view.study, test, keys)
    content = "".join(_block(view, dispute, images) for dispute in disputes)
    title = "Where the arms disagree"
    return sections.section(title, _gone(keys, images, test, view) + content, lead=_LEAD)


def shown_contrasts(view: PageView) -> list[Contrast]:
    """The primary contrast, and that of its game and the game's control."""
    planned = view.study.planned_contrasts()
    if not planned:
        return []
    found, control = [planned[0]], view.study.arm(planned[0].first).control
    if control and control != planned[0].second:
        found.append(Contrast(first=planned[0].first, second=control))
    return found


def _dispute(view: PageView, contrast: Contrast, num_images: int) -> _Dispute | None:
    """Votes by the first protocol of the plan that has predictions of both arms."""
    primary = view.results.primary
    for protocol in view.study.protocols:
        measure = Measure(
            protocol=protocol, test=primary.test, share=primary.share, budget=primary.budget
        )
        votes = ballot(view.results, view.folder, contrast, measure)
        if votes is not None:
            return _Dispute(
                contrast=contrast,
                measure=measure,
                votes=votes,
                gained=_chosen(votes, votes.gained, num_images),
                lost=_chosen(votes, votes.lost, num_images),
            )
    return None


def _chosen(votes: Ballot, among: np.ndarray, count: int) -> list[int]:
    """Rows of the images to show: one of each class before a second of any, those on which the
    arms are furthest apart first, ties drawn."""
    rows = np.flatnonzero(among)
    rows = np.random.default_rng(derived_seed(0, "disagreements")).permutation(rows)
    apart = np.abs(votes.first_share - votes.second_share)[rows]
    rows = rows[np.argsort(-apart, kind="stable")]
    seen: dict[int, int] = {}
    rounds = []
    for label in votes.targets[rows].tolist():
        rounds.append(seen.get(label, 0))
        seen[label] = rounds[-1] + 1
    chosen: list[int] = rows[np.argsort(rounds, kind="stable")][:count].tolist()
    return chosen


def _gone(
    keys: Sequence[str], images: Mapping[str, Pixels], test: ScoredSet, view: PageView
) -> str:
    """Sentence on images that could not be read again; empty if all could."""
    chosen = {*keys}
    missing = len(chosen - images.keys())
    if not missing:
        return ""
    which = f"{missing} of the {len(chosen)} images" if images else "The images"
    return sections.missing_note(
        f"{which} chosen here could not be read again from {test.data or view.study.data} and are "
        "not shown; the counts need the stored predictions alone."
    )


def _block(view: PageView, dispute: _Dispute, images: Mapping[str, Pixels]) -> str:
    first, second = dispute.contrast.first, dispute.contrast.second
    galleries = "".join(
        _gallery(dispute, rows, images, f"{winner} is right, {loser} is not")
        for rows, winner, loser in (
            (dispute.gained, first, second),
            (dispute.lost, second, first),
        )
    )
    title = (
        f'<h3 class="between">{sections.swatch(view.number(first), first)}<span>and</span>'
        f"{sections.swatch(view.number(second), second)}</h3>"
    )
    text = "".join(f"<p>{escape(sentence)}</p>" for sentence in _sentences(dispute))
    table = class_table(dispute.contrast, dispute.votes)
    return f'<div class="disputes">{title}{text}{galleries}{table}</div>'


def _sentences(dispute: _Dispute) -> list[str]:
    votes, measure = dispute.votes, dispute.measure
    first, second = dispute.contrast.first, dispute.contrast.second
    count = len(votes.keys)
    gained, lost = int(votes.gained.sum()), int(votes.lost.sum())
    seeds = len(votes.seeds)
    found = [
        f"Of {count:,} images of {measure.test}, scored by {short_title_of(measure.protocol)} with "
        f"{seeds} seed{'s' * (seeds > 1)} of each arm, {first} gains {gained:,} "
        f"({percent(gained / count)}) on {second} and loses {lost:,} ({percent(lost / count)})."
    ]
    arms, one_arm = votes.between_arms(), votes.between_seeds()
    if arms is not None and one_arm is not None:
        more = "more" if arms > one_arm else "no more"
        found.append(
            f"With the same seed, one of the two is right and the other wrong on {percent(arms)} "
            f"of the images. Two seeds of one arm part on {percent(one_arm)}: the arms disagree "
            f"{more} than seeds do."
        )
    return found


def _gallery(
    dispute: _Dispute, rows: Sequence[int], images: Mapping[str, Pixels], title: str
) -> str:
    cards = "".join(
        _card(dispute, row, image)
        for row in rows
        if (image := images.get(dispute.votes.keys[row])) is not None
    )
    if not cards:
        return ""
    return f'<h4>{escape(title)}</h4><div class="disputed">{cards}</div>'


def _card(dispute: _Dispute, row: int, image: Pixels) -> str:
    """One image, its class, and what both arms said of it."""
    votes = dispute.votes
    truth = votes.class_name(int(votes.targets[row]))
    said = [
        f"{name}: {_verdict(votes, arm[:, :, row].ravel(), int(votes.targets[row]))}"
        for name, arm in (
            (dispute.contrast.first, votes.first),
            (dispute.contrast.second, votes.second),
        )
    ]
    text = f"Image of class {truth}. {'. '.join(said)}."
    lines = "".join(f"<small>{escape(line)}</small>" for line in said)
    return (
        f'<figure class="dispute"><img src="{data_uri(image)}" alt="{escape(text)}" '
        f'title="{escape(votes.keys[row])}"><figcaption><b>{escape(truth)}</b>{lines}</figcaption>'
        "</figure>"
    )


def _verdict(votes: Ballot, said: Numbers, target: int) -> str:
    """Right answers of an arm and its most frequent wrong ones, in words."""
    cast = said[said != ABSENT]
    unit = "runs" if votes.first.shape[1] == 1 else "votes"
    right = f"right in {int((cast == target).sum())} of {len(cast)} {unit}"
    labels, counts = np.unique(cast[(cast != target) & (cast >= 0)], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:NUM_NAMED]
    wrong = ", ".join(f"{votes.classes[labels[place]]} {counts[place]}" for place in order)
    return f"{right}{f'; else {wrong}' if wrong else ''}"
