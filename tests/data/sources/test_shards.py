"""Tar shards: what is read, what is told, and the same samples as the webdataset library gives."""

import gc
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shard_files import Sample, coloured, png, write_shard

from sparring.data.dataset import DataSettings, FileDataset, StoredDataset, open_dataset
from sparring.data.sources import shard_cache, shard_index, shard_paths, shards
from sparring.data.sources.shards import Shards
from sparring.data.sources.source import Source, open_source
from sparring.errors import DataError

LEFT_OPEN = pytest.mark.filterwarnings("ignore:unclosed file", "ignore:Exception ignored")
"""For tests of the webdataset library, which leaves its files to be closed by Python."""


def contents_of(source: Source) -> list[object]:
    return [source.read(row) for row in range(len(source))]


def images_in(samples: list[Sample]) -> list[bytes]:
    return [members["png"] for _, members in samples]


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Folder of three shards of 5, 7 and 4 samples."""
    first = 0
    for number, count in enumerate((5, 7, 4)):
        write_shard(tmp_path / "s" / f"part-{number:02}.tar", coloured(count, first=first))
        first += count
    return tmp_path / "s"


ALL = images_in(coloured(16))


@pytest.mark.parametrize(
    "pattern",
    [
        "{}",
        "{}/part-{{00..02}}.tar",
        "{}/part-0{{0,1,2}}.tar",
        "{}/*.tar",
        "{}/part-0[0-2].tar",
        "{}/part-00.tar::{}/part-0{{1..2}}.tar",
    ],
)
def test_shards_are_a_folder_or_a_pattern(pattern: str, three: Path) -> None:
    pytest.importorskip("braceexpand")
    source = open_source(pattern.format(three, three))
    assert contents_of(source) == ALL
    assert source.key(5) == "part-01.tar/00005.png"
    labels = source.labels()
    assert labels is not None
    assert labels.tolist() == [0, 1] * 8
    assert source.content_fingerprint() == open_source(three).content_fingerprint()


def test_a_pattern_may_be_longer_than_a_path(three: Path) -> None:
    many = "::".join([str(three / "part-00.tar")] * 300)  # named again, it is one shard
    assert contents_of(open_source(many)) == ALL[:5]


def test_one_file_is_a_set_and_patterns_may_be_relative(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert contents_of(open_source(three / "part-01.tar")) == ALL[5:12]
    monkeypatch.chdir(three)
    assert contents_of(open_source("*-02.tar::part-00.tar")) == [*ALL[12:], *ALL[:5]]
    absolute = shard_paths.absolute_pattern("*-02.tar::part-00.tar")
    monkeypatch.chdir("/")
    assert len(open_source(absolute)) == 9


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("{}/none-*.tar", "no file fits"),
        ("{}/part-{{00..04}}.tar", r"2 of the 5 shards of .* do not exist, such as .*part-03.tar"),
        ("{}/part-{{0.tar", "a brace is not closed"),
        ("{}/part-{{0..9999999}}.tar", "names more than 100,000 shards"),
        ("{}/nothing.tar", "no such file"),
        ("{}/a.tar.gz", "data.streaming=true"),
    ],
)
def test_patterns_that_name_nothing_are_told(pattern: str, told: str, three: Path) -> None:
    pytest.importorskip("braceexpand")
    (three / "a.tar.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(DataError, match=told):
        open_source(pattern.format(three))


def test_braces_without_their_package_are_told(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "braceexpand", None)
    with pytest.raises(DataError, match=r"pip install 'sparring\[shards\]'"):
        open_source(f"{three}/part-{{00..02}}.tar")
    assert len(open_source(three)) == 16


def test_compressed_archives_are_told(three: Path) -> None:
    write_shard(three / "b.tar", coloured(1)).rename(three / "x.tgz")
    assert any("1 compressed archives are left out" in note for note in open_source(three).notes)
    (three / "c.tar").write_bytes(b"\x1f\x8b" + bytes(2000))
    with pytest.raises(DataError, match=r"c\.tar: images at any place of a compressed archive"):
        open_source(three)


def test_parts_are_known_by_the_names_of_shards(tmp_path: Path) -> None:
    write_shard(tmp_path / "train-000.tar", coloured(4))
    write_shard(tmp_path / "train-001.tar", coloured(3, first=4))
    write_shard(tmp_path / "val-000.tar", coloured(2, first=7))
    train, test = open_source(tmp_path), open_source(tmp_path, part="test")
    assert [train.part, len(train), test.part, len(test)] == ["train", 7, "validation", 2]
    assert contents_of(test) == ALL[7:9]
    assert len(open_source(tmp_path, part="all")) == 9
    assert any("train (7 images) and validation (2 images)" in note for note in train.notes)


def test_images_and_parquet_go_before_archives_beside_them(three: Path) -> None:
    (three / "a.png").write_bytes(ALL[0])
    source = open_source(three)
    assert [len(source), source.key(0)] == [1, "a.png"]
    assert any("archives" in note for note in source.notes)


def told_of(folder: Path, samples: list[Sample]) -> tuple[Source, str]:
    source = open_source(write_shard(folder / "a.tar", samples))
    return source, "; ".join(source.notes)


def test_samples_are_grouped_by_the_first_dot_of_the_last_part(tmp_path: Path) -> None:
    image, other = png((1, 2, 3)), png((4, 5, 6))
    source, notes = told_of(
        tmp_path,
        [
            ("a.b/one", {"seg.png": other, "PNG": image, "cls": b"3"}),
            ("./two", {"left.png": image, "right.png": other, "txt": b"a caption", "cls": b"4"}),
            ("/etc/three", {"png": image}),
            ("../four", {"png": image, "json": b'{"label": 5}'}),
            ("__key__/five", {"png": other}),
            ("folder/._six", {"png": other}),
            ("seven", {"txt": b"no image"}),
            ("eight", {"tar": b"another archive"}),
        ],
    )
    assert contents_of(source) == [image] * 4
    assert [source.key(row) for row in range(4)] == [
        "a.tar/a.b/one.PNG",
        "a.tar/./two.left.png",
        "a.tar//etc/three.png",
        "a.tar/../four.png",
    ]
    labels = source.labels()
    assert labels is not None
    assert labels.tolist() == [3, 4, -1, 5]
    assert "2 samples without an image are left out, such as in a.tar/seven.txt" in notes
    assert "2 further images of a sample are left out" in notes


def test_no_image_of_equal_names_is_lost(tmp_path: Path) -> None:
    source, notes = told_of(tmp_path, [("a", {"png": ALL[0]}), ("a", {"png": ALL[1]})])
    assert contents_of(source) == ALL[:2]
    assert "1 members of equal names" in notes


def test_a_shard_without_images_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no image .*2 samples without an image .*n01.tar"):
        told_of(tmp_path, [("n01", {"tar": b"x"}), ("n02", {"tar": b"y"})])
    (tmp_path / "empty.tar").write_bytes(bytes(10240))
    with pytest.raises(DataError, match="holds no image that is read here; in a shard"):
        open_source(tmp_path / "empty.tar")


def test_a_shard_that_is_cut_off_is_used_up_to_there(three: Path) -> None:
    path = three / "part-01.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(ALL[9]) + 20])
    source = open_source(three)
    assert contents_of(source) == [*ALL[:9], *ALL[12:]]
    expected = "1 of the 3 shards cannot be read to the end, such as part-01.tar after 4 images"
    assert source.notes[0].startswith(f"{expected}: its end within 00009.png")


@pytest.mark.parametrize(
    ("values", "labels", "names"),
    [
        ({"cls": [b"1", b" 0\n", b"7"]}, [1, 0, 7], None),
        ({"json": [b'{"label": 2}', b'{"label": 1}', b"{}"]}, [2, 1, -1], None),
        ({"json": [b'{"class": "cat"}', b'{"Label": "ant"}', b"[]"]}, [1, 0, -1], ("ant", "cat")),
        ({"json": [b"{", b"\xff", b'{"caption": "a"}']}, None, "no .cls holds a class"),
        ({"json": [b'{"label": [1, 2]}'] * 3}, None, "list"),
        ({"cls": [b"0.5"] * 3}, None, "neither a class number nor a name"),
        ({"txt": [b"a dog"] * 3}, None, "no sample has a member .cls or .json"),
    ],
)
def test_labels_are_numbers_or_names(
    values: dict[str, list[bytes]],
    labels: list[int] | None,
    names: tuple[str, ...] | str | None,
    tmp_path: Path,
) -> None:
    samples = [
        (str(row), {"png": ALL[row], **{suffix: own[row] for suffix, own in values.items()}})
        for row in range(3)
    ]
    source, _ = told_of(tmp_path, samples)
    dataset = open_dataset(source, DataSettings(store="never"), image_size=8)
    some = dataset.source.labels_of(np.array([2, 1]))
    found = dataset.labels
    if labels is None:
        assert found is None
        assert some is None or (some < 0).all()
        assert isinstance(names, str)
        assert names in dataset.source.labels_missing
        return
    assert found is not None
    assert found.tolist() == labels
    assert dataset.class_names == names
    if names is None:
        assert some is not None
        assert some.tolist() == [labels[2], labels[1]]


def test_names_of_the_classes_may_lie_beside_the_shards(three: Path) -> None:
    (three / "classes.txt").write_text("ant\nbee\n")
    source = open_source(f"{three}/*.tar")
    source.labels()
    assert source.class_names == ("ant", "bee")


def test_labels_are_read_when_they_are_asked_for(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Shards, "_value", lambda *_: pytest.fail("a label was read"))
    source = open_source(three)
    dataset = open_dataset(source, DataSettings(store="never"), image_size=8, is_training=True)
    assert dataset.images(range(16)).shape == (16, 3, 8, 8)
    assert dataset.content_fingerprint
    monkeypatch.undo()
    read: list[object] = []
    value = Shards._value
    monkeypatch.setattr(Shards, "_value", lambda *given: read.append(given) or value(*given))
    some = dataset.source.labels_of(np.array([3, 4]))
    assert some is not None
    assert [some.tolist(), len(read)] == [[1, 0], 2]


@pytest.fixture
def indexings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the shards that are indexed."""
    seen: list[str] = []
    make = shard_index.shard_index
    monkeypatch.setattr(
        shard_cache, "shard_index", lambda path: seen.append(path.name) or make(path)
    )
    return seen


def test_an_index_is_kept_and_made_again_for_a_shard_that_changed(
    three: Path, indexings: list[str]
) -> None:
    counts: list[tuple[int, int]] = []
    open_source(three, progress=lambda *count: counts.append(count))
    assert indexings == ["part-00.tar", "part-01.tar", "part-02.tar"]
    assert counts == [(1, 3), (2, 3), (3, 3)]
    before = open_source(three)
    assert len(indexings) == 3
    write_shard(three / "part-01.tar", coloured(2, first=20))
    after = open_source(three)
    assert indexings[3:] == ["part-01.tar"]
    assert [len(before), len(after)] == [16, 11]
    assert before.fingerprint() != after.fingerprint()
    assert before.content_fingerprint() != after.content_fingerprint()
    with pytest.raises(OSError, match="has changed since it was indexed"):
        before.read(6)
    assert before.read(1) == ALL[1]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "missing", "folder"])
def test_a_damaged_index_is_made_again(
    damage: str,
    three: Path,
    tmp_path: Path,
    indexings: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("SPARRING_CACHE", str(cache))
    open_source(three)
    (place,) = (cache / "shards").iterdir()
    content = place.read_bytes()
    if damage == "folder":
        place.unlink()
        place.mkdir()
    elif damage == "missing":
        place.unlink()
    else:
        changed = {"cut": content[:-9], "empty": b"", "flipped": content[:-9] + b"x" + content[-8:]}
        place.write_bytes(changed[damage])
    assert contents_of(open_source(three)) == ALL
    assert len(indexings) == 6


def test_a_cache_that_cannot_be_written_is_done_without(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARRING_CACHE", "/dev/null/cache")
    assert contents_of(open_source(three)) == ALL


def test_several_processes_give_the_same_indexes(
    three: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing is imported from the working folder.
    (tmp_path / "json.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    paths = sorted(three.iterdir())
    alone = [shard_index.shard_index(path).packed() for path in paths]
    monkeypatch.setattr(shard_cache, "FEW_SAMPLES", 0)
    asked: list[Path] = []
    ask = shard_cache._answer
    monkeypatch.setattr(
        shard_cache, "_answer", lambda process, path: asked.append(path) or ask(process, path)
    )
    monkeypatch.setattr(shard_cache, "_index", lambda path: shard_index.shard_index(paths[0]))
    made = dict(shard_cache._made(paths, 2))
    assert [made[path].packed() for path in paths] == alone
    assert sorted(asked) == paths[1:]


def test_processes_that_end_are_done_without(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_cache, "FEW_SAMPLES", 0)
    monkeypatch.setattr(shard_cache, "WORKER", "sparring.no_such_module")
    paths = sorted(three.iterdir())
    assert [len(index) for _, index in sorted(shard_cache._made(paths, 2))] == [5, 7, 4]


def test_the_process_that_indexes_imports_no_torch() -> None:
    text = "import sys, sparring.data.sources.shard_worker; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", text], check=False).returncode == 0


def test_few_shards_are_open_at_once_and_threads_may_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        write_shard(tmp_path / f"{number:02}.tar", coloured(3, first=3 * number))
    monkeypatch.setattr(shards, "OPEN_SHARDS", 2)
    source = open_source(tmp_path)
    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir()))
    rows = np.random.default_rng(0).integers(0, 36, 2000).tolist()
    expected = images_in(coloured(36))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(source.read, rows)) == [expected[row] for row in rows]
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2


@pytest.mark.parametrize(("limit", "most"), [(40, 10), (3, 1), (-1, 64), (100_000, 64)])
def test_the_limit_of_open_files_is_kept(
    limit: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert shards._open_at_most() == most


def test_a_large_image_and_one_that_vanished_are_unreadable(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(three)
    monkeypatch.setattr(shards, "MOST_IMAGE_BYTES", 10)
    with pytest.raises(OSError, match="larger than"):
        source.read(0)
    monkeypatch.undo()
    (three / "part-00.tar").unlink()
    dataset = open_dataset(source, DataSettings(store="never"), image_size=8)
    assert [len(dataset), len(dataset.quarantine)] == [11, 5]
    assert dataset.quarantine[0] == ("part-00.tar/00000.png", "No such file or directory")


def test_excerpts_are_those_of_the_whole_image(three: Path) -> None:
    source = open_source(three)
    assert [source.excerpt(row) for row in range(16)] == [
        Source.excerpt(source, row) for row in range(16)
    ]


def test_many_images_in_shards_are_not_decoded_before_the_first_step(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []

    def opened(**settings: object) -> object:
        lines.clear()
        return open_dataset(
            three,
            DataSettings.build(settings),
            image_size=8,
            is_training=True,
            report=lines.append,
        )

    assert isinstance(opened(), StoredDataset)
    assert lines == []
    monkeypatch.setattr(Shards, "most_decoded", 15)
    assert isinstance(opened(), FileDataset)
    assert len(lines) == 1
    assert "data.store=disk decodes them once" in lines[0]
    assert isinstance(opened(store="disk"), StoredDataset)
    assert isinstance(opened(limit=15), StoredDataset)


@LEFT_OPEN
def test_samples_are_those_of_the_webdataset_library(
    tmp_path: Path, encode: Callable[..., bytes]
) -> None:
    webdataset = pytest.importorskip("webdataset")
    draw = np.random.default_rng(0)
    with webdataset.ShardWriter(f"{tmp_path}/train-%03d.tar", maxcount=7, verbose=0) as writer:
        for number in range(20):
            picture = Image.fromarray(draw.integers(0, 256, (9, 11, 3), np.uint8))
            suffix = ("png", "jpg", "webp")[number % 3]
            folder = "a.b/c/" if number % 2 else ""
            content = encode(picture, suffix.replace("jpg", "jpeg"))
            writer.write({"__key__": f"{folder}{number:04}", suffix: content, "cls": number % 4})
    pattern = f"{tmp_path}/train-{{000..002}}.tar"
    source = open_source(pattern)
    theirs = list(webdataset.WebDataset(pattern, shardshuffle=False))
    assert len(source) == len(theirs) == 20
    labels = source.labels()
    assert labels is not None
    for row, sample in enumerate(theirs):
        (suffix,) = {"png", "jpg", "webp"} & sample.keys()
        assert source.read(row) == sample[suffix]
        shard = Path(sample["__url__"]).name
        assert source.key(row) == f"{shard}/{sample['__key__']}.{suffix}"
        assert labels[row] == int(sample["cls"])


@LEFT_OPEN
def test_fields_of_json_are_those_that_the_library_writes(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as writer:
        for number, name in enumerate(["cat", "dog", "cat"]):
            writer.write({"__key__": str(number), "png": ALL[number], "json": {"label": name}})
    source = open_source(tmp_path / "a.tar")
    labels = source.labels()
    assert labels is not None
    assert [labels.tolist(), source.class_names] == [[0, 1, 0], ("cat", "dog")]
    theirs = list(webdataset.WebDataset(f"{tmp_path}/a.tar", shardshuffle=False))
    assert [json.loads(sample["json"])["label"] for sample in theirs] == ["cat", "dog", "cat"]


def test_the_same_images_as_files_and_shards_give_the_same_bits(
    tmp_path: Path, encode: Callable[..., bytes], picture: Callable[..., Image.Image]
) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    contents = [encode(picture(20, 24, seed), "JPEG") for seed in range(12)]
    (tmp_path / "files").mkdir()
    for number, content in enumerate(contents):
        (tmp_path / "files" / f"{number:02}.jpg").write_bytes(content)
    pq.write_table(pa.table({"image": pa.array(contents)}), tmp_path / "a.parquet")
    for shard in range(3):
        own = [(str(n), {"jpg": contents[n]}) for n in range(4 * shard, 4 * shard + 4)]
        write_shard(tmp_path / "shards" / f"{shard}.tar", own)
    for store in ("never", "disk"):
        found = [
            open_dataset(tmp_path / name, DataSettings(store=store), image_size=16).images(
                range(12)
            )
            for name in ("files", "a.parquet", "shards")
        ]
        assert found[0].equal(found[1])
        assert found[0].equal(found[2])
