"""Neighbours, duplicates, clusters and outliers of features and images that are known."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from sparring.data.pixel_format import PixelFormat
from sparring.data.sources.source import open_source
from sparring.errors import ConfigError, DataError, UsageError
from sparring.indexing.clusters import find_clusters, k_means, silhouette
from sparring.indexing.duplicates import find_duplicates
from sparring.indexing.indexed_images import IndexedImages
from sparring.indexing.neighbours import find_neighbours
from sparring.indexing.outliers import find_outliers
from sparring.indexing.queries import Queries
from sparring.indexing.search import search
from sparring.indexing.writing import write_csv
from sparring.measures.agreement import normalized_mutual_information
from sparring.seeding import generator

SIDE = 24


class Shrunk(torch.nn.Module):
    """Encoder whose features are the pixels of a small square: unlike pictures are far apart."""

    def features(self, images: torch.Tensor) -> torch.Tensor:
        small = F.interpolate(images, (6, 6), mode="bilinear", antialias=True).flatten(1)
        return small - small.mean(dim=1, keepdim=True)


def picture(seed: int) -> np.ndarray:
    """A picture of smooth colours, unlike that of every other seed."""
    draw = torch.rand(1, 3, 5, 5, generator=generator(seed, "picture"))
    large = F.interpolate(draw, (SIDE, SIDE), mode="bicubic").clamp(0, 1)[0]
    return (255 * large).byte().permute(1, 2, 0).numpy()


def saved(folder: Path, pictures: dict[str, np.ndarray]) -> Path:
    for name, values in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(folder / name)
    return folder


def indexed(folder: Path) -> IndexedImages:
    """Index of a folder by the encoder above."""
    source = open_source(folder, part="all")
    images = [
        torch.from_numpy(np.array(Image.open(folder / source.key(row)).convert("RGB")))
        for row in range(len(source))
    ]
    squares = [F.interpolate(one.permute(2, 0, 1)[None].float(), (SIDE, SIDE)) for one in images]
    features = Shrunk().features(torch.cat(squares) / 255)
    return IndexedImages(
        name=str(folder),
        source=source,
        form=PixelFormat(),
        features=features,
        labels=source.labels(),
    )


def duplicates_of(folder: Path, threshold: float | None = None):
    return find_duplicates(
        indexed(folder),
        Shrunk(),
        image_size=SIDE,
        device=torch.device("cpu"),
        threshold=threshold,
    )


@pytest.fixture
def twelve(tmp_path: Path) -> Path:
    return saved(tmp_path / "twelve", {f"{n:02}.png": picture(n) for n in range(12)})


def test_search_agrees_with_a_slow_loop_and_leaves_the_own_row_out() -> None:
    rows = torch.randn(50, 8, generator=generator(0, "rows"))
    found = search(rows, rows, 5, own=torch.arange(50))
    cosines = F.normalize(rows, dim=1) @ F.normalize(rows, dim=1).T
    expected = cosines.fill_diagonal_(-2).topk(5, dim=1)
    assert torch.equal(found.rows, expected.indices)
    torch.testing.assert_close(found.cosines, expected.values, atol=1e-5, rtol=0)  # float32 sums


def test_approximate_search_finds_nearly_all_neighbours_and_says_how_many() -> None:
    pytest.importorskip("faiss")
    rows = torch.randn(3000, 8, generator=generator(0, "rows"))
    exact, found = (search(rows, rows[:200], 5, how=how) for how in ("exact", "faiss"))
    hits = (found.rows[:, :, None] == exact.rows[:, None, :]).any(dim=2).double().mean().item()
    assert found.recall is not None
    assert found.recall >= 0.98  # as many lists are looked into as give this
    assert abs(hits - found.recall) < 0.05  # of the sample, which is all of these queries
    assert exact.recall is None


def test_recall_does_not_count_the_row_that_a_query_is_itself() -> None:
    pytest.importorskip("faiss")
    rows = torch.randn(3000, 32, generator=generator(0, "rows"))
    own = torch.arange(256)
    exact, found = (search(rows, rows[:256], 1, own=own, how=how) for how in ("exact", "faiss"))
    hits = float((exact.rows == found.rows).double().mean())
    assert found.rows.shape == (256, 1)
    assert not (found.rows[:, 0] == own).any()
    # Every query finds itself; counted, it would halve the share of what is missed.
    assert found.recall == pytest.approx(hits, abs=1e-9)


def test_an_unknown_way_to_search_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'exact'"):
        search(torch.eye(3), torch.eye(3), 1, how="exakt")


def test_a_missing_faiss_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UsageError, match=r"pip install 'sparring\[index\]'"):
        search(torch.eye(3), torch.eye(3), 1, how="faiss")


def test_the_query_and_its_copies_are_left_out(twelve: Path) -> None:
    shutil.copy(twelve / "03.png", twelve / "copy of 03.png")
    images = indexed(twelve)
    rows = (3,)
    query = Queries(
        images=IndexedImages(
            name="q",
            source=open_source([str(twelve / "03.png")]),
            form=images.form,
            features=images.features[3:4],
        ),
        rows=rows,
    )
    (answer,) = find_neighbours(images, [query], num_neighbors=5).answers
    keys = [near.key for near in answer.neighbours]
    assert len(keys) == 5
    assert not {"03.png", "copy of 03.png"} & set(keys)
    assert answer.num_equal == 1


def test_more_neighbours_than_images_gives_all_others(twelve: Path) -> None:
    images = indexed(twelve)
    query = Queries(images=images, rows=tuple(range(12)))
    answers = find_neighbours(images, [query], num_neighbors=100).answers
    assert [len(one.neighbours) for one in answers] == [11] * 12


def test_a_query_from_outside_finds_every_image_of_a_small_set(twelve: Path) -> None:
    images = indexed(twelve)
    given = indexed(saved(twelve.parent / "given", {"new.png": picture(99)}))
    outside = Queries(images=given, rows=(-1,))
    inside = Queries(images=images, rows=tuple(range(12)))
    for queries in ([outside], [inside, outside]):
        answers = find_neighbours(images, queries, num_neighbors=100).answers
        assert len(answers[-1].neighbours) == 12


def test_copies_are_grouped_around_the_largest_and_others_are_not(twelve: Path) -> None:
    large = Image.fromarray(picture(5)).resize((96, 96), Image.Resampling.BICUBIC)
    large.save(twelve / "z large.png")
    Image.fromarray(picture(5)).save(twelve / "z compressed.jpg", quality=60)
    shutil.copy(twelve / "05.png", twelve / "05 again.png")
    found = duplicates_of(twelve)
    (group,) = found.groups
    key = found.images.key
    assert key(group.keep) == "z large.png"
    assert {key(row) for row in group.others} == {"05.png", "05 again.png", "z compressed.jpg"}
    assert found.num_removable == 3
    assert found.removable_keys() == sorted(found.removable_keys())
    assert "z large.png" not in found.removable_keys()


def test_of_equal_files_the_one_with_the_shortest_path_is_kept(tmp_path: Path) -> None:
    folder = saved(tmp_path, {"phone/1.png": picture(0), "phone/2.png": picture(1)})
    (folder / "backup/old").mkdir(parents=True)
    shutil.copy(folder / "phone/1.png", folder / "backup/old/1.png")
    shutil.copy(folder / "phone/1.png", folder / "phone/1 (1).png")
    assert duplicates_of(folder).removable_keys() == ["backup/old/1.png", "phone/1 (1).png"]


def test_no_name_in_a_table_is_a_formula_and_numbers_stay(tmp_path: Path) -> None:
    write_csv(["key", "score"], [["=1+1.jpg", "-0.5"], ["a=b.jpg", -2]], tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "key,score\n'=1+1.jpg,-0.5\na=b.jpg,-2\n"


def test_equal_files_are_found_whatever_the_features(tmp_path: Path) -> None:
    folder = saved(tmp_path, {f"{n}.png": picture(0) for n in range(5)})
    found = duplicates_of(folder)
    assert len(found.groups) == 1
    assert found.num_removable == found.num_equal == 4
    assert found.images.key(found.groups[0].keep) == "0.png"


def test_a_chain_of_alike_images_is_no_group_of_unlike_ones(tmp_path: Path) -> None:
    steps = [0.0, 0.25, 0.5, 0.75, 1.0]
    mixed = {
        f"{n}.png": ((1 - s) * picture(1) + s * picture(2)).astype(np.uint8)
        for n, s in enumerate(steps)
    }
    found = duplicates_of(saved(tmp_path, mixed), threshold=0.9)
    ends = {"0.png", "4.png"}
    for group in found.groups:
        keys = {found.images.key(row) for row in (group.keep, *group.others)}
        assert not ends <= keys
        assert min(group.similarities) >= 0.9


def test_a_file_that_a_set_names_twice_is_never_removed(tmp_path: Path) -> None:
    folder = saved(tmp_path, {"a.png": picture(1), "b.png": picture(2)})
    shutil.copy(folder / "a.png", folder / "c.png")
    listed = tmp_path / "set.txt"
    listed.write_text("a.png\na.png\nb.png\nc.png\nc.png\n")
    source = open_source(listed, part="all")
    assert len(source) == 5
    features = torch.eye(5)
    images = IndexedImages(name="set", source=source, form=PixelFormat(), features=features)
    found = find_duplicates(
        images, Shrunk(), image_size=SIDE, device=torch.device("cpu"), threshold=0.9
    )
    assert found.removable_keys() == ["c.png"]
    assert [row[2] for row in found.table()[1]] == ["a.png", "c.png"]


def test_a_file_is_no_duplicate_of_a_link_to_it(tmp_path: Path) -> None:
    folder = saved(tmp_path, {"b/b.png": picture(1), "c/c.png": picture(2)})
    (folder / "a").symlink_to("b", target_is_directory=True)
    (folder / "c" / "a.png").symlink_to("c.png")
    shutil.copy(folder / "b" / "b.png", folder / "c" / "copy.png")
    listed = folder / "set.txt"
    listed.write_text("a/b.png\nb/b.png\nc/a.png\nc/c.png\nc/copy.png\n")
    images = IndexedImages(
        name="set",
        source=open_source(listed, part="all"),
        form=PixelFormat(),
        features=torch.eye(5),
    )
    found = find_duplicates(
        images, Shrunk(), image_size=SIDE, device=torch.device("cpu"), threshold=0.9
    )
    # Without a/b.png or c/a.png the images would still be there; without what they lead to, not.
    assert found.removable_keys() == ["c/copy.png"]


def test_equal_features_reach_the_largest_threshold(tmp_path: Path) -> None:
    folder = saved(tmp_path, {"a.png": picture(1), "b.bmp": picture(1)})
    images = indexed(folder)
    # Rounding may leave the cosine of equal features just below 1.
    unequal = images.features * torch.tensor([[1.0], [1.0 + 2e-7]])
    unequal[1, 0] += 2e-4
    cosine = F.cosine_similarity(unequal[:1].double(), unequal[1:].double()).item()
    assert 1 - 1e-6 < cosine < 1 - 1e-9
    found = find_duplicates(
        replace(images, features=unequal),
        Shrunk(),
        image_size=SIDE,
        device=torch.device("cpu"),
        threshold=1.0,
    )
    assert found.num_removable == 1


def test_an_image_that_has_been_damaged_since_it_was_embedded_is_named(twelve: Path) -> None:
    images = indexed(twelve)
    for path in twelve.iterdir():
        path.write_bytes(b"no image" + path.name.encode())
    with pytest.raises(DataError, match=r"\.png cannot be read any more .*; ask again"):
        find_duplicates(images, Shrunk(), image_size=SIDE, device=torch.device("cpu"))


def test_a_threshold_out_of_range_is_refused(twelve: Path) -> None:
    with pytest.raises(ConfigError, match=r"above 0 and at most 1, got 1.5"):
        duplicates_of(twelve, threshold=1.5)


def test_one_image_has_no_duplicate(tmp_path: Path) -> None:
    found = duplicates_of(saved(tmp_path, {"a.png": picture(0)}))
    assert found.groups == ()
    assert found.threshold is None


def test_k_means_separates_what_is_apart_and_repeats_itself() -> None:
    draws = generator(0, "blobs")
    centres = torch.eye(4).repeat_interleave(30, dim=0)
    rows = F.normalize(centres + 0.1 * torch.randn(120, 4, generator=draws), dim=1)
    numbers, found = k_means(rows, 4, seed=0)
    truth = np.arange(4).repeat(30)
    assert normalized_mutual_information(numbers.numpy(), truth) == 1
    assert torch.equal(numbers, k_means(rows, 4, seed=0)[0])
    assert silhouette(rows, numbers) > silhouette(rows, k_means(rows, 2, seed=0)[0])
    assert found.shape == (4, 4)


@pytest.mark.slow
def test_the_silhouette_and_the_agreement_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rows = F.normalize(torch.randn(60, 5, generator=generator(1, "rows")), dim=1)
    numbers = torch.randint(0, 4, (60,), generator=generator(1, "numbers"))
    other = torch.randint(0, 3, (60,), generator=generator(2, "numbers"))
    expected = metrics.silhouette_score(rows.numpy(), numbers.numpy(), metric="cosine")
    assert silhouette(rows, numbers) == pytest.approx(expected, abs=1e-5)  # float32 sums
    assert normalized_mutual_information(numbers.numpy(), other.numpy()) == pytest.approx(
        metrics.normalized_mutual_info_score(numbers.numpy(), other.numpy()), abs=1e-9
    )


def test_clusters_say_their_classes_and_purity(tmp_path: Path) -> None:
    folder = saved(
        tmp_path,
        {
            f"{name}/{n}.png": np.clip(picture(seed) + np.uint8(n), 0, 255)
            for seed, name in enumerate(("cat", "dog"))
            for n in range(6)
        },
    )
    found = find_clusters(indexed(folder), num=2)
    assert sorted(one.majority for one in found.clusters) == ["cat", "dog"]
    assert (found.purity, found.nmi, found.num_classes) == (1, 1, 2)
    assert sorted(np.concatenate([one.rows for one in found.clusters])) == list(range(12))
    assert find_clusters(indexed(folder), num=None).is_chosen


def test_equal_images_are_one_cluster_however_many_are_wanted(tmp_path: Path) -> None:
    folder = saved(tmp_path, {f"{n}.png": picture(0) for n in range(5)})
    assert len(find_clusters(indexed(folder), num=3).clusters) == 1
    with pytest.raises(ConfigError, match="between 1 and the number of images, 5"):
        find_clusters(indexed(folder), num=6)


def test_an_odd_image_is_the_first_outlier_also_when_it_is_there_twice(tmp_path: Path) -> None:
    usual = picture(0).astype(int)
    pictures = {f"{n}.png": np.clip(usual + n, 0, 255).astype(np.uint8) for n in range(12)}
    folder = saved(
        tmp_path, {**pictures, "odd.png": 255 - picture(0), "odd2.png": 255 - picture(0)}
    )
    found = find_outliers(indexed(folder), num_neighbors=3)
    assert {found.images.key(int(row)) for row in found.rows[:2]} == {"odd.png", "odd2.png"}
    assert found.quantiles[0] == 1
    assert (np.diff(found.scores) <= 0).all()
    # A copy that counted as a neighbour would lower the score by a third.
    assert found.scores[0] > 1.5


def test_a_set_without_two_different_images_has_no_outlier(tmp_path: Path) -> None:
    folder = saved(tmp_path, {f"{n}.png": picture(0) for n in range(3)})
    with pytest.raises(DataError, match="have the same content"):
        find_outliers(indexed(folder))


def test_no_name_is_a_formula_of_a_spreadsheet(tmp_path: Path) -> None:
    from sparring.indexing.writing import write_csv

    row = ["=cmd|' /C calc'!A0", "-0.250000", "@x", "-dog", "a=b", 3]
    write_csv(["key"] * 6, [row], tmp_path / "o.csv")
    with (tmp_path / "o.csv").open(newline="") as file:
        found = list(csv.reader(file))[1]
    assert found == ["'=cmd|' /C calc'!A0", "-0.250000", "'@x", "'-dog", "a=b", "3"]


def test_tables_and_trees_hold_every_image(twelve: Path, tmp_path: Path) -> None:
    from sparring.indexing.writing import write_csv

    found = find_outliers(indexed(twelve))
    write_csv(*found.table(), tmp_path / "o.csv")
    with (tmp_path / "o.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert rows[0]["key"] == found.tree()["outliers"][0]["key"]
    assert json.loads(json.dumps(found.tree()))["images"] == 12
