"""Pages that show the answers: neighbours, duplicates, clusters, outliers."""

from collections.abc import Sequence

import numpy as np

from sparring.indexing.clusters import Cluster, Clusters
from sparring.indexing.duplicates import Duplicates, Group
from sparring.indexing.indexed_images import IndexedImages
from sparring.indexing.neighbours import Neighbours, QueryNeighbours
from sparring.indexing.outliers import Outliers
from sparring.indexing.page import MOST_PICTURES, Part, Shots, file_list, page_html, shots
from sparring.indexing.search import search_sentence

MOST_PER_QUERY, MOST_PER_GROUP, MOST_PER_CLUSTER = 200, 8, 12
NUM_OUTLIERS, NEAREST_SHOWN = 60, 5
_SIMILARITY = (
    "Similarity is the cosine of the encoder's features: 1 for equal features. What counts as high "
    "differs from encoder to encoder, so compare the numbers of one page only."
)


def neighbours_page(found: Neighbours) -> str:
    """HTML page of the queries, each with its most similar images.

    Args:
        found: answers of `find_neighbours`.
    """
    images = found.images
    of = [(given, number) for given in found.queries for number in range(len(given.rows))]
    album, parts, left_out = Shots(images), [], 0
    for (given, number), one in zip(of, found.answers, strict=True):
        chosen = one.neighbours[:MOST_PER_QUERY]
        if album.left < 1 + len(chosen):
            left_out += 1
            continue
        first = album.shot(number, text="query", images=given.images, style="query")
        others = [album.shot(near.row, text=f"{near.similarity:.3f}") for near in chosen]
        parts.append(Part(title=one.key, content=shots([first, *others]), lead=_lead_of_query(one)))
    count = len(found.answers)
    title = (
        f"Most similar to {found.answers[0].key}"
        if count == 1
        else f"Most similar images of {count:,} queries"
    )
    facts = [("Queries", _of(count - left_out, count))]
    notes = [_SIMILARITY, search_sentence(found.recall)]
    return page_html(title=title, facts=_facts(images, facts), notes=notes, parts=parts)


def _lead_of_query(one: QueryNeighbours) -> str:
    """What a reader should know of a query's answer; empty in the usual case."""
    said = []
    if one.num_equal:
        copies = "images" if one.num_equal > 1 else "image"
        said.append(f"{one.num_equal:,} {copies} of the set with the same content left out.")
    if len(one.neighbours) > MOST_PER_QUERY:
        said.append(f"The nearest {MOST_PER_QUERY} of {len(one.neighbours):,} are shown.")
    if not one.neighbours:
        said.append("The set has no other image.")
    return " ".join(said)


def duplicates_page(found: Duplicates) -> str:
    """HTML page of the groups of duplicates, the largest first.

    Args:
        found: answer of `find_duplicates`.
    """
    images, album, parts, shown = found.images, Shots(found.images), [], 0
    lines: list[str] = []
    for group in found.groups:
        if album.left < min(1 + len(group.others), MOST_PER_GROUP):
            break
        lines.append(_group(group, album, images))
        shown += 1
    if lines:
        lead = (
            "The framed image of each group is the one to keep: the largest in pixels, then in "
            "bytes; of equal ones a file rather than a link, then the shortest path. "
            "Nothing has been deleted."
        )
        title = f"Groups, {_of(shown, len(found.groups))}"
        parts.append(Part(title=title, content="".join(lines), lead=lead))
    facts = [
        ("Groups", f"{len(found.groups):,}"),
        ("Could go", f"{found.num_removable:,}"),
        ("Equal content", f"{found.num_equal:,}"),
    ]
    if found.threshold is not None:
        facts.append(("Threshold", f"{found.threshold:.4f}"))
    title = (
        f"{found.num_removable:,} of {len(images):,} images repeat another"
        if found.groups
        else f"No two of {len(images):,} images are alike"
    )
    notes = [found.sentence(), search_sentence(found.recall)]
    return page_html(title=title, facts=_facts(images, facts), notes=notes, parts=parts)


def _group(group: Group, album: Shots, images: IndexedImages) -> str:
    """A group: the image to keep, and the first of the others."""
    chosen = list(zip(group.others, group.similarities, group.are_equal, strict=True))
    pictures = [album.shot(group.keep, text="keep", style="keep")]
    for row, similarity, is_equal in chosen[: MOST_PER_GROUP - 1]:
        pictures.append(album.shot(row, text="equal" if is_equal else f"{similarity:.3f}"))
    more = len(chosen) - (MOST_PER_GROUP - 1)
    title = f"{len(chosen) + 1:,} files" + (f", {more:,} of them not shown" if more > 0 else "")
    keys = [images.key(row) for row in (group.keep, *group.others)]
    return f'<div class="group">{shots(pictures)}{file_list(title, keys)}</div>'


def clusters_page(found: Clusters) -> str:
    """HTML page of the clusters, the largest first, with their most central images.

    Args:
        found: answer of `find_clusters`.
    """
    images, parts = found.images, []
    each = max(1, min(MOST_PER_CLUSTER, MOST_PICTURES // len(found.clusters)))
    album = Shots(images)
    for number, one in enumerate(found.clusters):
        if album.left < each:
            break
        pictures = [
            album.shot(int(row), text=f"{similarity:.3f}")
            for row, similarity in zip(one.rows[:each], one.similarities[:each], strict=True)
        ]
        parts.append(
            Part(title=_cluster_title(number, one), content=shots(pictures), lead=_mixture(one))
        )
    facts = [("Clusters", _of(len(parts), len(found.clusters)))]
    if found.purity is not None and found.nmi is not None:
        facts += [
            ("Classes", f"{found.num_classes:,}"),
            ("Purity", f"{100 * found.purity:.1f} %"),
            ("NMI", f"{found.nmi:.3f}"),
        ]
    notes = [found.sentence()]
    title = f"{len(found.clusters):,} clusters of {len(images):,} images"
    return page_html(title=title, facts=_facts(images, facts), notes=notes, parts=parts)


def _cluster_title(number: int, one: Cluster) -> str:
    named = f", mostly {one.majority}" if one.majority else ""
    return f"Cluster {number}: {len(one):,} image{'s' * (len(one) != 1)}{named}"


def _mixture(one: Cluster) -> str:
    if one.purity is None:
        return ""
    return f"{100 * one.purity:.0f} % of those with a known class are {one.majority}."


def outliers_page(found: Outliers) -> str:
    """HTML page of the images farthest from all others, each beside its nearest neighbours.

    Args:
        found: answer of `find_outliers`.
    """
    images, album, lines = found.images, Shots(found.images), []
    num = min(NUM_OUTLIERS, len(found.rows))
    for place in range(num):
        row = int(found.rows[place])
        text = f"{found.scores[place]:.3f}"
        near = found.neighbours[place][:NEAREST_SHOWN]
        pictures = [album.shot(row, text=text, style="query")]
        pictures += [album.shot(int(one), text="near") for one in near]
        share = 100 * float((found.scores < found.scores[place]).mean())
        said = f"Number {place + 1:,}: farther out than {share:.2f} % of the images."
        lines.append(f'<div class="group">{shots(pictures)}<p class="note">{said}</p></div>')
    lead = (
        f"The framed image of each row is the outlier, with its mean cosine distance to its "
        f"{found.num_neighbors} nearest other images; beside it the nearest of them."
    )
    parts = [
        Part(title=f"Outliers, {_of(num, len(found.rows))}", content="".join(lines), lead=lead)
    ]
    low, high = np.quantile(found.scores, [0.5, 0.99])
    facts = [("Median score", f"{low:.3f}"), ("99 % are below", f"{high:.3f}")]
    notes = [found.sentence(), search_sentence(found.recall)]
    title = f"The {num:,} of {len(images):,} images most unlike the others"
    return page_html(title=title, facts=_facts(images, facts), notes=notes, parts=parts)


def _facts(images: IndexedImages, more: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    facts = [("Images", f"{len(images):,}"), ("Set", images.name), ("Encoder", images.encoder)]
    if images.num_left_out:
        facts.append(("Left out", f"{images.num_left_out:,}"))
    return [*facts, *more]


def _of(shown: int, count: int) -> str:
    return f"{count:,}" if shown == count else f"{shown:,} of {count:,} shown"
