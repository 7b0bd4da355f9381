"""Pages of the index: bounded, self-contained, well-formed, and safe against names."""

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from sparring.data.pixel_format import PixelFormat
from sparring.data.sources.image_source import Source
from sparring.indexing.clusters import find_clusters
from sparring.indexing.duplicates import Duplicates, Group
from sparring.indexing.indexed_images import IndexedImages
from sparring.indexing.neighbours import find_neighbours
from sparring.indexing.outliers import find_outliers
from sparring.indexing.page import MOST_PICTURES
from sparring.indexing.pages import (
    clusters_page,
    duplicates_page,
    neighbours_page,
    outliers_page,
)
from sparring.indexing.queries import Queries
from sparring.seeding import generator

VOID = {"meta", "img", "br", "hr", "input", "link"}


class Noise(Source):
    """Images of noise whose names are markup."""

    def __init__(self, count: int, side: int = 100) -> None:
        self._count, self._side = count, side

    def __len__(self) -> int:
        return self._count

    def key(self, index: int) -> str:
        return f"<script>alert({index})</script>&\"'.png"

    def read(self, index: int) -> np.ndarray:
        return np.random.default_rng(index).integers(
            0, 256, (self._side, self._side, 3), dtype=np.uint8
        )

    def fingerprint(self) -> str:
        return "noise"


class Reader(HTMLParser):
    """Parser that checks nesting, and collects tags and what a browser would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.targets: set[str] = set()
        self.silent = 0
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        assert len(known) == len(attrs)
        self.tags.append(tag)
        self.loaded += [known[name] or "" for name in ("src", "srcset", "data") if name in known]
        self.anchors |= {known["id"] or ""} if "id" in known else set()
        self.targets |= {(known["href"] or "")[1:]} if "href" in known else set()
        self.silent += tag == "img" and not known.get("alt")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def noise(count: int, side: int = 100) -> IndexedImages:
    return IndexedImages(
        name="<b>noise</b>",
        source=Noise(count, side),
        form=PixelFormat(),
        features=torch.randn(count, 4, generator=generator(0, "features")),
    )


def checked(page: str) -> Reader:
    read = Reader(page)
    assert read.tags.count("script") == 1  # the page's own; names add none
    assert "b>noise" not in page.replace("&lt;b&gt;noise", "")
    assert all(one.startswith("data:image/") for one in read.loaded)
    assert read.targets <= read.anchors
    assert read.silent == 0
    return read


@pytest.mark.slow
def test_a_page_of_a_thousand_groups_is_bounded_and_says_what_it_shows() -> None:
    groups = tuple(
        Group(
            keep=3 * n, others=(3 * n + 1, 3 * n + 2), similarities=(1, 0.9), are_equal=(True,) * 2
        )
        for n in range(1000)
    )
    page = duplicates_page(Duplicates(images=noise(3000, 48), groups=groups, threshold=0.9))
    assert len(checked(page).loaded) <= MOST_PICTURES
    assert "500 of 1,000 shown" in page
    assert len(page) < 15e6  # noise, which no compression makes small


def test_a_group_of_many_shows_the_first_and_lists_all() -> None:
    group = Group(
        keep=0, others=tuple(range(1, 40)), similarities=(1.0,) * 39, are_equal=(True,) * 39
    )
    page = duplicates_page(Duplicates(images=noise(40), groups=(group,), threshold=0.9))
    assert len(checked(page).loaded) == 8
    assert "40 files, 32 of them not shown" in page
    assert "alert(39)" in page


def test_a_set_without_duplicates_has_a_page_that_says_so() -> None:
    page = duplicates_page(Duplicates(images=noise(5), groups=(), threshold=0.9))
    assert "No two of 5 images are alike" in page
    assert checked(page).loaded == []


def test_clusters_and_outliers_are_well_formed_and_linked() -> None:
    read = checked(clusters_page(find_clusters(noise(40, 32), num=3)))
    assert read.targets == {"part0", "part1", "part2"}
    checked(outliers_page(find_outliers(noise(40, 32))))


def test_an_image_that_is_gone_leaves_a_word_in_its_place() -> None:
    images = noise(12)
    found = find_outliers(images)

    def read(index: int) -> np.ndarray:
        raise FileNotFoundError(2, "No such file or directory")

    images.source.read = read
    page = outliers_page(found)
    assert "cannot be read any more" in page
    assert checked(page).loaded == []


def test_a_query_with_more_neighbours_than_a_page_bears_shows_the_nearest() -> None:
    images = noise(MOST_PICTURES + 10, side=8)
    one = Queries(images=noise(1, side=8), rows=(0,))
    page = neighbours_page(find_neighbours(images, [one], num_neighbors=MOST_PICTURES + 5))
    assert Reader(page).tags.count("img") == 201
    assert "The nearest 200 of 1,505 are shown." in page


def test_equal_scores_are_equally_far_out() -> None:
    images = noise(4, side=8)
    features = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    page = outliers_page(find_outliers(replace(images, features=features), num_neighbors=2))
    assert page.count("farther out than 0.00 % of the images") == 4
