"""The sections of a report that show images: views, retrievals, maps, the bank's hardest negatives.

Every encoder with a gallery has its line, the untrained one last, and all lines of a query stand
together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from sparring.reporting.figures import NUM_CLASS_COLORS, class_name, map_html, picture
from sparring.reporting.gallery import (
    EmbeddingMap,
    Gallery,
    HardestNegatives,
    HardNegative,
    Retrieval,
)
from sparring.reporting.sections import absent, section, swatch
from sparring.reporting.summary import RunSummary
from sparring.reporting.wording import false_negative_share, percent, retrieval_share, run_names

MAX_ENCODERS = 3
"""Runs whose pictures are shown; more would make the page heavy and the comparison hard."""

_NO_PICTURES = "No pictures were made: give the images with --data to see them."


@dataclass(frozen=True)
class Shown:
    """An encoder whose pictures are shown."""

    name: str
    number: int | None
    """Of its run, which gives the colour; None: the untrained encoder."""
    gallery: Gallery

    @property
    def title(self) -> str:
        """Its name behind its colour, as HTML."""
        return swatch(self.number, self.name)


def shown_encoders(runs: Sequence[RunSummary]) -> list[Shown]:
    """The first runs with galleries, and the first untrained gallery."""
    named = enumerate(zip(run_names(runs), runs, strict=True))
    found = [
        Shown(name, number, run.gallery) for number, (name, run) in named if run.gallery is not None
    ][:MAX_ENCODERS]
    untrained = next(
        (run.untrained_gallery for run in runs if run.untrained_gallery is not None), None
    )
    return found if untrained is None else [*found, Shown("untrained", None, untrained)]


def picture_sections(runs: Sequence[RunSummary]) -> str:
    """All sections with images."""
    encoders = shown_encoders(runs)
    if not encoders:
        return section("Pictures", absent(_NO_PICTURES))
    return (
        retrievals(encoders)
        + maps(encoders)
        + hardest(encoders)
        + attacks(encoders)
        + pairs(encoders)
        + views(encoders)
    )


def retrievals(encoders: Sequence[Shown]) -> str:
    """Nearest neighbours of some queries, a line per encoder."""
    title = "Nearest neighbours"
    having = [encoder for encoder in encoders if encoder.gallery.retrievals]
    if not having:
        return section(title, absent("No retrievals: the sample of images was too small."))
    shares = [(encoder.name, retrieval_share(encoder.gallery.retrievals)) for encoder in having]
    known = [f"{name} {percent(share)}" for name, share in shares if share is not None]
    lead = "The left image asks; the others are its nearest by the cosine of features."
    if known:
        lead += " A solid line marks the query's class, a dotted one another class. "
        lead += f"Share of the query's class among the neighbours shown: {', '.join(known)}."
    count = max(len(encoder.gallery.retrievals) for encoder in having)
    blocks = "".join(_query_block(having, place) for place in range(count))
    return section(title, f'<div class="queries">{blocks}</div>', lead=lead)


def _query_block(encoders: Sequence[Shown], place: int) -> str:
    """One query and the line of every encoder; an encoder that was asked something else shows its
    own query."""
    answers = [
        (e, e.gallery.retrievals[place]) for e in encoders if place < len(e.gallery.retrievals)
    ]
    query = answers[0][1].query
    lines = ""
    for encoder, retrieval in answers:
        own = (
            ""
            if np.array_equal(retrieval.query, query)
            else picture(retrieval.query, text="query of this encoder", style="query")
        )
        lines += f'<div class="line"><span class="who">{encoder.title}</span><span class="strip">{own}{_neighbours(retrieval)}</span></div>'
    return f'<div class="block">{picture(query, text=f"query {place + 1}", style="query")}<div class="lines">{lines}</div></div>'


def _neighbours(retrieval: Retrieval) -> str:
    images = []
    for rank, (image, cosine) in enumerate(
        zip(retrieval.neighbours, retrieval.cosines, strict=True)
    ):
        same = None if retrieval.same_label is None else bool(retrieval.same_label[rank])
        images.append(
            picture(
                image,
                text=f"neighbour {rank + 1}, cosine {cosine:.2f}{_class_words(same)}",
                style=_class_mark(same),
            )
        )
    return "".join(images)


def _class_words(same: bool | None) -> str:
    return "" if same is None else ", same class" if same else ", other class"


def _class_mark(same: bool | None) -> str:
    return "" if same is None else "same" if same else "other"


def maps(encoders: Sequence[Shown]) -> str:
    """Embedding maps side by side, one legend for all."""
    title = "Map of the features"
    drawn = [
        (encoder, drawing)
        for encoder in encoders
        if (drawing := encoder.gallery.embedding_map) is not None
    ]
    if not drawn:
        return section(title, absent("No map: the sample of images was too small."))
    first = drawn[0][1]
    lead = (
        f"{len(first.xy):,} images by {first.projection} of their features: what lies together "
        "looks alike to the encoder."
    )
    lead += " Distances between far groups mean nothing." if first.projection == "t-SNE" else ""
    squares = ""
    for encoder, drawing in drawn:
        square = map_html(drawing, description=f"map of the features of {encoder.name}")
        squares += f"<figure><figcaption>{encoder.title}</figcaption>{square}</figure>"
    return section(title, f'{_class_legend(first)}<div class="maps">{squares}</div>', lead=lead)


def _class_legend(drawing: EmbeddingMap) -> str:
    if drawing.labels is None:
        return '<p class="note">No labels, hence no colours.</p>'
    classes = sorted({int(label) for label in drawing.labels if label >= 0})
    if len(classes) > 2 * NUM_CLASS_COLORS:
        return f'<p class="note">{len(classes):,} classes share {NUM_CLASS_COLORS} colours; the name is shown when pointing at an image.</p>'
    chips = ""
    for label in classes:
        dot = f'<b class="dot" style="--c:var(--class{label % NUM_CLASS_COLORS})"></b>'
        chips += f'<span class="run">{dot}{escape(class_name(drawing, label))}</span>'
    return f'<p class="legend">{chips}</p>'


def hardest(encoders: Sequence[Shown]) -> str:
    """For some queries the bank vectors that are hardest to tell from them."""
    title = "The bank's hardest negatives"
    # The untrained encoder's bank is noise.
    having = [
        encoder
        for encoder in encoders
        if encoder.gallery.bank_hardest and encoder.number is not None
    ]
    if not having:
        return section(title, absent("None of these runs has a learned bank of negatives."))
    lead = (
        "A vector of the bank is no image; the images whose embeddings are nearest to it show "
        "what it stands for. Each group is one "
        "vector, with its cosine to the query on the left."
    )
    return section(title, "".join(_bank_of(encoder) for encoder in having), lead=lead)


def _bank_of(encoder: Shown) -> str:
    share = false_negative_share(encoder.gallery.bank_hardest)
    note = (
        ""
        if share is None
        else f'<p class="note">{percent(share)} of these vectors look most like an image of the query\'s own class. '
        "Such false negatives teach the encoder to part images that belong together.</p>"
    )
    blocks = "".join(
        _hardest_block(query, place) for place, query in enumerate(encoder.gallery.bank_hardest)
    )
    return f'<h3>{encoder.title}</h3>{note}<div class="queries bank">{blocks}</div>'


def _hardest_block(hardest_negatives: HardestNegatives, place: int) -> str:
    groups = "".join(_negative(negative) for negative in hardest_negatives.negatives)
    query = picture(hardest_negatives.query, text=f"query {place + 1}", style="query")
    return f'<div class="block">{query}<div class="groups">{groups}</div></div>'


def _negative(negative: HardNegative) -> str:
    images = []
    for rank, (face, cosine) in enumerate(zip(negative.faces, negative.face_cosines, strict=True)):
        same = None if negative.same_label is None else bool(negative.same_label[rank])
        images.append(
            picture(
                face,
                text=f"cosine {cosine:.2f} to the bank vector{_class_words(same)}",
                style=_class_mark(same),
            )
        )
    return f'<span class="negative"><span class="strip">{"".join(images)}</span><small>{negative.cosine:.2f}</small></span>'


def attacks(encoders: Sequence[Shown]) -> str:
    """Views beside what an opponent added to them, of each encoder that had such an opponent."""
    having = [
        encoder for encoder in encoders if encoder.gallery.attacks and encoder.number is not None
    ]
    if not having:
        return ""
    lines = []
    for encoder in having:
        rows = "".join(
            f'<span class="views">{picture(row.original, text="view", style="query")}'
            f"{picture(row.views[0], text='perturbation, scaled')}{picture(row.views[1], text='attacked view')}</span>"
            for row in encoder.gallery.attacks
        )
        lines.append(f'<h3>{escape(encoder.name)}</h3><div class="viewgrid">{rows}</div>')
    lead = (
        "Framed: a view. Beside it: what the opponent added to it, scaled to the full range "
        "around mid-grey, and the sum, on which the "
        "encoder trains as well. The two views should look alike to you; where they do not, "
        "perturbation.epsilon is too large."
    )
    return section("Attacked views", "".join(lines), lead=lead)


def pairs(encoders: Sequence[Shown]) -> str:
    """Generated pairs over the joint training, of each encoder that had generators for
    opponents."""
    blocks = []
    for encoder in encoders:
        if encoder.number is None or not encoder.gallery.moments:
            continue
        rows = "".join(
            f'<div class="line"><span class="who">{100 * moment.share:.0f} %</span><span class="strip pairs">'
            + "".join(
                f"<span>{picture(first, text='first generator')}{picture(second, text='second generator')}</span>"
                for first, second in zip(moment.first, moment.second, strict=True)
            )
            + "</span></div>"
            for moment in encoder.gallery.moments
        )
        blocks.append(f'<h3>{escape(encoder.name)}</h3><div class="lines">{rows}</div>')
    if not blocks:
        return ""
    lead = (
        "Each column is one latent vector, each line a moment of the joint training: above "
        "what the first generator makes of it, below the "
        "second. The two should be similar but distinct, more distinct as time goes on, and "
        "different from column to column."
    )
    return section("Generated pairs", "".join(blocks), lead=lead)


def views(encoders: Sequence[Shown]) -> str:
    """Images beside the views that training makes of them; they depend on no encoder."""
    title = "Views"
    rows = next((encoder.gallery.views for encoder in encoders if encoder.gallery.views), ())
    if not rows:
        return section(title, absent("No views were made."))
    lines = "".join(
        f'<span class="views">{picture(row.original, text="original", style="query")}'
        f"{''.join(picture(view, text=f'view {number + 1}') for number, view in enumerate(row.views))}</span>"
        for row in rows
    )
    lead = (
        "Framed: the image. Beside it: views that training made of it, which the encoder must "
        "recognise as the same."
    )
    return section(title, f'<div class="viewgrid">{lines}</div>', lead=lead)
