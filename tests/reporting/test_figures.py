"""Curves, pictures and maps as HTML fragments."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from sparring.reporting import figures
from sparring.reporting.feature_map import MAX_THUMBNAILS, class_name, map_html, spread_out
from sparring.reporting.figures import Line, binned, curves_svg, data_uri, picture
from sparring.reporting.gallery import EmbeddingMap


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2])))


def test_every_run_has_a_line_in_its_own_color_and_dashes() -> None:
    svg = curves_svg(
        [Line(0, "one", [0, 1, 2], [1.0, 2.0, 3.0]), Line(2, "<b>", [0, 1], [5.0, 1.0])],
        description="loss <b>",
    )
    assert re.findall(r'class="curve" .*?stroke="var\(--run(\d)\)"', svg) == ["0", "2"]
    assert svg.count("stroke-dasharray") == 1
    assert "<title>loss &lt;b&gt;</title>" in svg
    assert 'data-name="&lt;b&gt;"' in svg
    assert " id=" not in svg


def test_values_stand_in_the_description_and_at_every_point() -> None:
    svg = curves_svg([Line(0, "AdCo", [0.5, 1], [25.123456, 30])], description="kNN")
    assert "AdCo: 25.12 at epoch 0.5, 30 at epoch 1." in svg
    assert 'data-points="0.5,25.123 1,30"' in svg
    assert 'tabindex="0"' in svg


def test_curves_stand_in_a_frame_of_their_own_that_can_be_enlarged() -> None:
    svg = curves_svg([Line(0, "AdCo", [0, 10], [0.0, 1.0])], description="")
    frame = svg[svg.index('<svg class="frame"') :]
    assert 'class="curve"' in frame
    assert 'class="grid"' not in frame
    left, top, right, bottom = re.findall(r'data-frame="(.*?)"', svg)[0].split()
    assert f'x="{left}" y="{top}"' in frame
    low, high = re.findall(r'data-range="(.*?)"', svg)[0].split()[:2]
    assert float(low) < 0 < 10 < float(high)
    assert float(right) > float(left)
    assert float(bottom) > float(top)


def test_tick_labels_keep_their_digits() -> None:
    svg = curves_svg([Line(0, "", [0, 1], [0.501, 0.503])], description="")
    labels = [float(one) for one in re.findall(r">(0\.50[\d]+)</text>", svg)]
    assert len(labels) > 2
    assert len(set(labels)) == len(labels)


def test_a_single_record_is_a_visible_dot() -> None:
    svg = curves_svg([Line(0, "", [3.0], [0.4])], description="")
    assert 'class="curve lone"' in svg
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


def labelled(count: int, *, labels: np.ndarray | None) -> EmbeddingMap:
    draws = np.random.default_rng(0)
    return EmbeddingMap(
        xy=draws.random((count, 2)).astype(np.float32),
        thumbnails=np.zeros((count, 8, 8, 3), dtype=np.uint8),
        projection="PCA",
        labels=labels,
        class_names=("<cat>", "dog"),
        keys=tuple(f"photos/{number:05d}.jpg" for number in range(count)),
    )


def test_every_image_is_a_point_in_the_color_of_its_class_below_some_thumbnails() -> None:
    drawing = labelled(40, labels=np.array([0, 1, 12, -1] * 10))
    page = map_html(drawing, description="map", keys=drawing.keys)
    points = {
        label: path.count("M")
        for label, path in re.findall(r'data-class="(-?\d+)" data-name.*? d="(.*?)"', page)
    }
    assert points == {"-1": 10, "0": 10, "1": 10, "12": 10}
    assert 0 < page.count("<i ") < 40
    assert "--c:var(--class2)" in page
    assert 'data-name="&lt;cat&gt;"' in page
    assert 'data-name="class 12"' in page
    assert class_name(drawing, -1) == "unknown"
    shared, *rest = re.findall(r'data-keys="(.*?)"', page, re.DOTALL)[0].split("\n")
    drawn = [shared + one for one in rest]
    # Class by class, as the points are drawn: first those of an unknown class.
    assert drawn[:2] == ["photos/00003.jpg", "photos/00007.jpg"]
    assert sorted(drawn) == sorted(drawing.keys)


def test_a_map_without_labels_has_one_color_and_no_names() -> None:
    page = map_html(labelled(30, labels=None), description="map")
    assert set(re.findall(r"--c:var\(--(\w+)\)", page)) == {"class0"}
    assert "data-name" not in page
    assert "data-keys" not in page


def test_thumbnails_leave_most_of_the_map_to_the_points() -> None:
    page = map_html(labelled(2000, labels=None), description="map")
    side = float(re.findall(r"--side:([\d.]+)%", page)[0]) / 100
    assert page.count("<i ") <= MAX_THUMBNAILS
    assert page.count("<i ") * side**2 < 0.4


@pytest.mark.slow
def test_a_map_of_ten_thousand_images_stays_below_a_megabyte() -> None:
    drawing = labelled(10_000, labels=np.arange(10_000) % 100)
    assert len(map_html(drawing, description="map", keys=drawing.keys).encode()) < 1e6
