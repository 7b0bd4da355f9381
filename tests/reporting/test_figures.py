"""Curves, pictures and maps as HTML fragments."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from sparring.reporting import figures
from sparring.reporting.figures import (
    binned,
    class_name,
    curves_svg,
    data_uri,
    map_html,
    picture,
    spread_out,
)
from sparring.reporting.gallery import EmbeddingMap


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2])))


def test_every_run_has_a_line_in_its_own_color() -> None:
    svg = curves_svg(
        [(0, [0, 1, 2], [1.0, 2.0, 3.0]), (2, [0, 1], [5.0, 1.0])], description="loss <b>"
    )
    strokes = re.findall(r"stroke: var\(--run(\d)\)", svg)
    assert strokes == ["0", "2"]
    assert 'aria-label="loss &lt;b&gt;"' in svg
    assert "#0" not in svg
    assert " id=" not in svg


def test_tick_labels_keep_their_digits() -> None:
    svg = curves_svg([(0, [0, 1], [0.501, 0.503])], description="")
    labels = re.findall(r">([\d.]+)</text>", svg)
    steps = np.diff([float(label) for label in labels if label.startswith("0.50")])
    assert steps.min() > 0
    assert steps == pytest.approx(steps[0])


def test_a_single_record_is_a_visible_dot() -> None:
    svg = curves_svg([(0, [3.0], [0.4])], description="")
    assert "stroke-linecap: round" in svg
    assert "--run0" in svg


def test_long_curves_become_means_of_neighbouring_records() -> None:
    x, y = binned(range(1000), [float(i % 2) for i in range(1000)], count=100)
    assert len(x) == 100
    assert y == pytest.approx(np.full(100, 0.5))
    assert x[0] == pytest.approx(4.5)
    assert binned([1, 2], [3, 4])[1].tolist() == [3, 4]


def test_small_images_are_exact_and_large_ones_are_reduced() -> None:
    small = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(decoded(data_uri(small))), small)
    large = decoded(data_uri(np.zeros((300, 200, 3), dtype=np.uint8)))
    assert large.size == (48, figures.MAX_SIDE)
    assert picture(small, text='a "quoted" <name>').count("&quot;quoted&quot; &lt;name&gt;") == 2


def test_thumbnails_never_overlap_and_use_the_room() -> None:
    xy = np.random.default_rng(0).random((500, 2)).astype(np.float32)
    chosen = spread_out(xy, distance=0.1)
    gaps = np.abs(xy[chosen][:, None] - xy[chosen][None]).max(axis=2) + np.eye(len(chosen))
    assert gaps.min() >= 0.1
    rest = np.setdiff1d(np.arange(500), chosen)
    assert (np.abs(xy[rest][:, None] - xy[chosen][None]).max(axis=2).min(axis=1) < 0.1).all()


def test_every_point_of_the_map_is_a_thumbnail_or_a_dot_in_the_color_of_its_class() -> None:
    xy = np.array([[0, 0], [0.001, 0], [1, 1], [0, 1]], dtype=np.float32)
    drawing = EmbeddingMap(
        xy=xy,
        thumbnails=np.zeros((4, 8, 8, 3), dtype=np.uint8),
        projection="PCA",
        labels=np.array([0, 1, 12, -1]),
        class_names=("<cat>", "dog"),
    )
    page = map_html(drawing, description="map")
    assert page.count("<i ") == 3
    assert page.count("<circle") == 1
    assert "fill:var(--class1)" in page
    assert 'class="c0" title="&lt;cat&gt;"' in page
    assert 'class="c2" title="class 12"' in page
    assert class_name(drawing, -1) == "unknown"
