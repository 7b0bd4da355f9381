"""Map of the features as HTML: a point for every image, thumbnails of some above them."""

import base64
import io
import math
from collections.abc import Sequence
from html import escape
from itertools import takewhile

import numpy as np
import numpy.typing as npt
from PIL import Image

from sparring.reporting.gallery import EmbeddingMap, Pixels
from sparring.reporting.inks import class_color, marked, marker_path

MAX_THUMBNAILS = 160
"""Most thumbnails on a map; about a third of its area."""

# A multiple of 8, so that JPEG blocks do not blur one picture of the atlas into the next.
_THUMBNAIL = 32
_SHARE = 0.046  # of the map's width
_APART = 0.076  # of the map's width, so that points stay visible between the thumbnails


def map_html(embedding: EmbeddingMap, *, description: str, keys: Sequence[str] = ()) -> str:
    """Map of features: a point per image, coloured and shaped by class if labelled, and above them
    thumbnails that are some way apart.

    Args:
        embedding: the map.
        description: text that screen readers read in place of the figure.
        keys: names of the images, which the page's script shows on hover; those of the first map
            of a page serve the others.
    """
    xy = 0.03 + 0.94 * embedding.xy
    labels = _labels(embedding)
    # Points are drawn class by class; the script finds the name of each by its place.
    order = np.argsort(labels, kind="stable")
    radius = 0.55 * min(1.0, math.sqrt(1500 / len(xy)))
    paths = "".join(
        marked(
            label,
            "".join(
                marker_path(label, 100 * xy[row, 0], 100 * xy[row, 1], radius=radius)
                for row in order[labels[order] == label].tolist()
            ),
            radius=radius,
            name=escape(class_name(embedding, label)) if embedding.labels is not None else "",
        )
        for label in np.unique(labels).tolist()
    )
    said = f' data-keys="{_packed([keys[row] for row in order.tolist()])}"' if keys else ""
    atlas, thumbnails = _thumbnails(embedding, xy, labels, order)
    return (
        f'<div class="map" style="{atlas}"{said}>'
        f'<svg viewBox="0 0 100 100" role="img" aria-label="{escape(description)}">{paths}</svg>'
        f'<div class="thumbs" aria-hidden="true">{thumbnails}</div></div>'
    )


def _labels(embedding: EmbeddingMap) -> npt.NDArray[np.int64]:
    """Class of each point; 0 for all of an unlabelled map, which has one colour."""
    if embedding.labels is None:
        return np.zeros(len(embedding.xy), np.int64)
    return np.maximum(embedding.labels, -1).astype(np.int64)


def _packed(keys: Sequence[str]) -> str:
    """Keys for an attribute, a line each, after a line with the beginning that all share."""
    plain = [" ".join(key.splitlines()) for key in keys]
    low, high = min(plain), max(plain)
    same = (one == other for one, other in zip(low, high, strict=False))
    shared = low[: sum(takewhile(bool, same))]
    return escape("\n".join([shared, *(key[len(shared) :] for key in plain)]))


def _thumbnails(
    embedding: EmbeddingMap,
    xy: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    order: npt.NDArray[np.int64],
) -> tuple[str, str]:
    """Style with the atlas of all thumbnails, and the thumbnails as HTML."""
    shown = spread_out(xy, distance=_APART)
    atlas, columns = _atlas(embedding.thumbnails[shown])
    rows = math.ceil(len(shown) / columns)
    place_of = np.argsort(order)
    thumbnails = "".join(
        f'<i data-point="{place_of[row]}" data-class="{labels[row]}"{_title(embedding, row)} '
        f'style="--c:var(--{class_color(int(labels[row]))});'
        f"left:{100 * xy[row, 0]:.1f}%;top:{100 * xy[row, 1]:.1f}%;"
        f"background-position:{_percent(place % columns, columns)} "
        f'{_percent(place // columns, rows)}"></i>'
        for place, row in enumerate(shown.tolist())
    )
    style = f"--atlas:url({atlas});--grid:{100 * columns}% {100 * rows}%;--side:{100 * _SHARE:.2f}%"
    return style, thumbnails


def _title(embedding: EmbeddingMap, row: int) -> str:
    """Attribute with the name of an image's class; empty without labels."""
    if embedding.labels is None:
        return ""
    return f' title="{escape(class_name(embedding, int(embedding.labels[row])))}"'


def spread_out(xy: npt.NDArray[np.float32], *, distance: float) -> npt.NDArray[np.int64]:
    """Indices of points, in order, that are at least `distance` apart.

    This keeps their thumbnails from overlapping.
    """
    chosen: list[int] = []
    for i in range(len(xy)):
        if len(chosen) == MAX_THUMBNAILS:
            break
        if not chosen or np.abs(xy[chosen] - xy[i]).max(axis=1).min() >= distance:
            chosen.append(i)
    return np.array(chosen, dtype=np.int64)


def _atlas(thumbnails: Pixels) -> tuple[str, int]:
    """All thumbnails in one JPEG, as a data URI, and its number of columns."""
    columns = math.ceil(math.sqrt(len(thumbnails)))
    sheet = Image.new(
        "RGB", (columns * _THUMBNAIL, math.ceil(len(thumbnails) / columns) * _THUMBNAIL)
    )
    for place, thumbnail in enumerate(thumbnails):
        small = Image.fromarray(thumbnail).resize(
            (_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS
        )
        sheet.paste(small, (place % columns * _THUMBNAIL, place // columns * _THUMBNAIL))
    content = io.BytesIO()
    sheet.save(content, "JPEG", quality=85, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}", columns


def _percent(place: int, count: int) -> str:
    return f"{100 * place / max(1, count - 1):.3f}%"


def class_name(embedding: EmbeddingMap, label: int) -> str:
    """Name of a class; its number if it has no name, `unknown` for -1."""
    if label < 0:
        return "unknown"
    names = embedding.class_names
    return names[label] if names is not None and label < len(names) else f"class {label}"
