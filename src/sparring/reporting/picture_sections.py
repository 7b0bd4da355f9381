"""Sections of a report that show images: views, retrievals, maps, the bank's hardest negatives.

Each encoder with a gallery has one line per query, that from which it started last; the lines of a
query stand together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

from sparring.reporting.feature_map import class_name, map_html
from sparring.reporting.figures import picture
from sparring.reporting.gallery import (
    EmbeddingMap,
    Gallery,
    HardestNegatives,
    HardNegative,
    Pixels,
    Retrieval,
)
from sparring.reporting.inks import MARKERS, NUM_CLASS_COLORS, legend_mark
from sparring.reporting.sections import missing_note, section, swatch
from sparring.reporting.sentences import false_negative_share, percent, retrieval_share, run_names
from sparring.reporting.summary import RunSummary

MAX_ENCODERS = 3
"""Most runs whose pictures are shown; more would make the page heavy and hard to compare."""

MAX_LEGEND = 30
"""Most classes whose colours and shapes are listed."""

_NO_PICTURES = "No pictures were made: give the images with --data to see them."


@dataclass(frozen=True)
class ShownEncoder:
    """An encoder whose pictures are shown."""

    name: str
    number: int | None
    """Number of the run, which gives the colour; None for what it started from."""
    gallery: Gallery

    @property
    def title(self) -> str:
        """Name after its colour swatch, as HTML."""
        return swatch(self.number, self.name)


def shown_encoders(runs: Sequence[RunSummary]) -> list[ShownEncoder]:
    """The first runs with a gallery, and the first of what a run started from."""
    named = enumerate(zip(run_names(runs), runs, strict=True))
    found = [
        ShownEncoder(name, number, run.gallery)
        for number, (name, run) in named
        if run.gallery is not None
    ][:MAX_ENCODERS]
    starts = [
        ShownEncoder(run.start_name, None, run.start_gallery)
        for run in runs
        if run.start_gallery is not None
    ]
    return [*found, *starts[:1]]


def picture_sections(runs: Sequence[RunSummary]) -> str:
    """All sections with images, as HTML."""
    encoders = shown_encoders(runs)
    if not encoders:
        why = next((f"No pictures: {run.no_pictures}." for run in runs if run.no_pictures), "")
        return section("Pictures", missing_note(why or _NO_PICTURES))
    return (
        retrievals_section(encoders)
        + maps_section(encoders)
        + hardest_negatives_section(encoders)
        + attacks_section(encoders)
        + generated_pairs_section(encoders)
        + views_section(encoders)
    )


def retrievals_section(encoders: Sequence[ShownEncoder]) -> str:
    """Section of the nearest neighbours of some queries, a line per encoder."""
    title = "Nearest neighbours"
    having = [encoder for encoder in encoders if encoder.gallery.retrievals]
    if not having:
        return section(title, missing_note("No retrievals: the sample of images was too small."))
    shares = [(encoder.name, retrieval_share(encoder.gallery.retrievals)) for encoder in having]
    known = [f"{name} {percent(share)}" for name, share in shares if share is not None]
    lead = "The left image is the query; the others are its nearest by cosine of the features."
    if known:
        lead += " A solid line marks the query's class, a dotted one another class. "
        lead += f"Share of the query's class among the neighbours shown: {', '.join(known)}."
    count = max(len(encoder.gallery.retrievals) for encoder in having)
    blocks = "".join(_query_block(having, place) for place in range(count))
    return section(title, f'<div class="queries">{blocks}</div>', lead=lead)


def _query_block(encoders: Sequence[ShownEncoder], place: int) -> str:
    """One query with a line per encoder; an encoder with another query shows its own."""
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
        lines += (
            f'<div class="line"><span class="who">{encoder.title}</span>'
            f'<span class="strip">{own}{_neighbours(retrieval)}</span></div>'
        )
    shown = picture(query, text=f"query {place + 1}", style="query")
    return f'<div class="block">{shown}<div class="lines">{lines}</div></div>'


def _neighbours(retrieval: Retrieval) -> str:
    texts = [
        f"neighbour {rank}, cosine {cosine:.2f}"
        for rank, cosine in enumerate(retrieval.cosines, start=1)
    ]
    return _marked_pictures(retrieval.neighbours, texts, retrieval.same_label)


def _marked_pictures(
    images: Pixels, texts: Sequence[str], same_label: npt.NDArray[np.bool_] | None
) -> str:
    """Pictures of images, each marked by whether its label is the query's."""
    lines = []
    for rank, (image, text) in enumerate(zip(images, texts, strict=True)):
        same = None if same_label is None else bool(same_label[rank])
        lines.append(picture(image, text=f"{text}{_class_words(same)}", style=_class_mark(same)))
    return "".join(lines)


def _class_words(same: bool | None) -> str:
    return "" if same is None else ", same class" if same else ", other class"


def _class_mark(same: bool | None) -> str:
    return "" if same is None else "same" if same else "other"


def maps_section(encoders: Sequence[ShownEncoder]) -> str:
    """Section of the embedding maps side by side, with one legend."""
    title = "Map of the features"
    drawn = [
        (encoder, drawing)
        for encoder in encoders
        if (drawing := encoder.gallery.embedding_map) is not None
    ]
    if not drawn:
        return section(title, missing_note("No map: the sample of images was too small."))
    first = drawn[0][1]
    lead = (
        f"{len(first.xy):,} images by {first.projection} of their features: what lies together "
        "looks alike to the encoder."
    )
    lead += " Distances between far groups mean nothing." if first.projection == "t-SNE" else ""
    lead += " Every image is a point; some are shown above their points."
    squares = ""
    for number, (encoder, drawing) in enumerate(drawn):
        keys = drawing.keys if number == 0 or drawing.keys != first.keys else ()
        square = map_html(drawing, description=f"map of the features of {encoder.name}", keys=keys)
        squares += f"<figure><figcaption>{encoder.title}</figcaption>{square}</figure>"
    content = f'{_THUMBNAILS}{_class_legend(first)}<div class="maps">{squares}</div>'
    return section(title, f'<div class="mapping">{content}</div>', lead=lead)


_THUMBNAILS = '<p><label class="choice"><input type="checkbox" checked> Thumbnails</label></p>'
"""Switch for the thumbnails of all maps, which works by the style of the page alone."""


def _class_legend(drawing: EmbeddingMap) -> str:
    if drawing.labels is None:
        return '<p class="note">No labels, hence no colours.</p>'
    classes = sorted({int(label) for label in drawing.labels})
    if len(classes) > MAX_LEGEND:
        return (
            f'<p class="note">{len(classes):,} classes share {NUM_CLASS_COLORS} colours and '
            f"{len(MARKERS)} shapes; the name is shown when pointing at an image.</p>"
        )
    chips = "".join(
        f'<span class="run" data-class="{label}">{legend_mark(label)}'
        f"{escape(class_name(drawing, label))}</span>"
        for label in classes
    )
    return f'<p class="legend classes">{chips}</p>'


def hardest_negatives_section(encoders: Sequence[ShownEncoder]) -> str:
    """Section of the bank vectors with the largest cosine to some queries."""
    title = "The bank's hardest negatives"
    # The bank of the untrained encoder is noise.
    having = [
        encoder
        for encoder in encoders
        if encoder.gallery.bank_hardest and encoder.number is not None
    ]
    if not having:
        return section(title, missing_note("None of these runs has a learned bank of negatives."))
    lead = (
        "A vector of the bank is not an image; the images whose embeddings are nearest to it show "
        "what it stands for. Each group is one "
        "vector, with its cosine to the query on the left."
    )
    return section(title, "".join(_bank_block(encoder) for encoder in having), lead=lead)


def _bank_block(encoder: ShownEncoder) -> str:
    share = false_negative_share(encoder.gallery.bank_hardest)
    note = (
        ""
        if share is None
        else f'<p class="note">{percent(share)} of these vectors look most like an image of '
        "the query's own class. Such false negatives teach the encoder to separate images that "
        "belong together.</p>"
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
    texts = [f"cosine {cosine:.2f} to the bank vector" for cosine in negative.image_cosines]
    images = _marked_pictures(negative.nearest_images, texts, negative.same_label)
    return (
        f'<span class="negative"><span class="strip">{images}</span>'
        f"<small>{negative.cosine:.2f}</small></span>"
    )


def attacks_section(encoders: Sequence[ShownEncoder]) -> str:
    """Section of views and their perturbations, for each encoder trained with such an opponent."""
    having = [
        encoder for encoder in encoders if encoder.gallery.attacks and encoder.number is not None
    ]
    if not having:
        return ""
    lines = []
    for encoder in having:
        rows = "".join(
            f'<span class="views">{picture(row.original, text="view", style="query")}'
            f"{picture(row.views[0], text='perturbation, scaled')}"
            f"{picture(row.views[1], text='attacked view')}</span>"
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


def generated_pairs_section(encoders: Sequence[ShownEncoder]) -> str:
    """Section of generated pairs over the joint training, for each encoder trained with
    generators."""
    blocks = []
    for encoder in encoders:
        if encoder.number is None or not encoder.gallery.generated_pairs:
            continue
        rows = "".join(
            f'<div class="line"><span class="who">{100 * pairs.share:.0f} %</span>'
            '<span class="strip pairs">'
            + "".join(
                f"<span>{picture(first, text='first generator')}"
                f"{picture(second, text='second generator')}</span>"
                for first, second in zip(pairs.first, pairs.second, strict=True)
            )
            + "</span></div>"
            for pairs in encoder.gallery.generated_pairs
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


def views_section(encoders: Sequence[ShownEncoder]) -> str:
    """Section of images with the views that training makes of them; the same for all encoders."""
    title = "Views"
    rows = next((encoder.gallery.views for encoder in encoders if encoder.gallery.views), ())
    if not rows:
        return section(title, missing_note("No views were made."))
    lines = "".join(
        f'<span class="views">{picture(row.original, text="original", style="query")}'
        + "".join(picture(view, text=f"view {number + 1}") for number, view in enumerate(row.views))
        + "</span>"
        for row in rows
    )
    lead = (
        "Framed: the image. Beside it: views that training made of it, which the encoder must "
        "recognise as the same."
    )
    return section(title, f'<div class="viewgrid">{lines}</div>', lead=lead)
