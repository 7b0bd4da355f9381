"""Tar shards read in order: from this machine, compressed, from a server and from a command."""

import functools
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import webdataset

from hub_sets import add, png, write_tars
from sparring.data.data_settings import DataSettings
from sparring.data.sources import image_source, shard_paths
from sparring.data.sources.source import open_source
from sparring.data.streams import tar_stream
from sparring.data.streams.opening_streams import open_stream
from sparring.data.streams.stream import FirstImages, Stream
from sparring.errors import DataError

STREAMING = DataSettings(streaming=True)


def contents(stream: Stream) -> list[object]:
    return [record.content for n in range(stream.num_shards) for record in stream.records(n)]


class Silent(SimpleHTTPRequestHandler):
    """Server of a folder, which logs nothing."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    handler = functools.partial(Silent, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_shards_give_their_images_in_order(tmp_path: Path, suffix: str) -> None:
    stream = open_stream(write_tars(tmp_path / "tars", (3, 2), suffix=suffix), STREAMING)
    assert stream.num_shards == 2
    assert contents(stream) == [png(n) for n in range(5)]
    records = list(stream.records(1))
    assert [(each.key, each.label) for each in records] == [
        (f"001{suffix}/000003", "1"),
        (f"001{suffix}/000004", "0"),
    ]


def test_shards_written_by_webdataset_are_read(tmp_path: Path) -> None:
    with webdataset.ShardWriter(str(tmp_path / "w-%03d.tar"), maxcount=2, verbose=0) as writer:
        for n in range(4):
            writer.write({"__key__": f"{n:04}", "png": png(n), "cls": n})
    stream = open_stream(str(tmp_path / "w-{000..001}.tar"), STREAMING)
    assert contents(stream) == [png(n) for n in range(4)]
    labels = FirstImages(stream, 4).labels()
    assert labels is not None
    assert labels.tolist() == [0, 1, 2, 3]


def test_shards_behind_a_url_are_those_of_the_folder(tmp_path: Path, server: str) -> None:
    pattern = write_tars(tmp_path / "tars", (3, 2))
    remote = open_stream(f"{server}/tars/{{000..001}}.tar", STREAMING)
    assert contents(remote) == contents(open_stream(pattern, STREAMING))
    other = open_stream("https://elsewhere.org/a/{000..001}.tar?signed=1", STREAMING)
    assert remote.fingerprint() == other.fingerprint()
    missing = open_stream(f"{server}/tars/{{000..002}}.tar", STREAMING)
    with pytest.raises(DataError, match=r"002\.tar cannot be read after 0 images: .*not found"):
        contents(missing)


def test_shards_of_a_command_are_its_output(tmp_path: Path) -> None:
    pattern = write_tars(tmp_path / "tars", (3, 2))
    assert contents(open_stream(f"pipe:cat {pattern}", STREAMING)) == [png(n) for n in range(5)]
    failing = open_stream(f"pipe:cat {pattern}; exit 3", STREAMING)
    with pytest.raises(DataError, match=r"cannot be read after 3 images: .*exit code 3"):
        contents(failing)


def test_a_command_ends_when_its_output_is_not_wanted_any_more() -> None:
    stream = open_stream("pipe:yes", STREAMING)
    with pytest.raises(DataError, match="damaged or interrupted archive"):
        contents(stream)


def test_braces_make_no_command(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    word = f"pipe:touch {ran} #://"
    with pytest.raises(DataError, match="braces make a command of it"):
        open_stream(f"{{{word},{word}}}x.tar", STREAMING).first(1)
    assert not ran.exists()


def test_an_address_without_streaming_says_what_to_do() -> None:
    for address in ("https://host/{000..146}.tar", "pipe:cat x.tar"):
        with pytest.raises(DataError, match=r"data\.streaming=true and --set data\.num_images=N"):
            open_source(address)


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        ("{folder}/{{000..001}}.tar", "1 of the 2 shards .*do not exist, such as .*001.tar; give"),
        ("{folder}/{{000..001.tar", "a brace is not closed"),
        ("{folder}/{{0..9999}}.tar", "more than 1,000 shards"),
        ("{folder}", "data.streaming is for sets of the Hugging Face Hub"),
    ],
)
def test_a_pattern_that_is_wrong_is_one_line(
    tmp_path: Path, pattern: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_paths, "MOST_SHARDS", 1000)
    write_tars(tmp_path, (1,))
    with pytest.raises(DataError, match=line):
        open_stream(pattern.format(folder=tmp_path), STREAMING)


@pytest.mark.parametrize("kept", [600, 4000, 512 * 8, -1024 * 10])
def test_a_shard_that_was_cut_names_how_far_it_was_read(tmp_path: Path, kept: int) -> None:
    pattern = write_tars(tmp_path, (30,))
    shard = tmp_path / "000.tar"
    shard.write_bytes(shard.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"000\.tar cannot be read after \d+ images: damaged or"):
        contents(open_stream(pattern, STREAMING))


def test_large_members_links_and_other_files_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tar_stream, "MOST_IMAGE_BYTES", 10_000)
    assert image_source.MOST_IMAGE_BYTES > 10_000
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        link = tarfile.TarInfo("0.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        add(tar, "1.png", b"x" * 20_000)
        add(tar, "2.pickle", b"x")
        add(tar, "3.seg.png", b"mask")
        add(tar, "3.png", png(3))
        add(tar, "dir/4.jpg.json", b"{}")
    assert contents(open_stream(str(tmp_path / "a.tar"), STREAMING)) == [png(3)]


def test_local_patterns_are_those_of_shards_with_random_access(tmp_path: Path) -> None:
    write_tars(tmp_path, (2, 1, 1))
    joined = f"{tmp_path}/[0-1]*.tar::{tmp_path}/00[2].tar"
    expected = [png(number) for number in range(4)]
    for pattern in (f"{tmp_path}/*.tar", joined):
        assert contents(open_stream(pattern, STREAMING)) == expected


def test_a_command_that_fails_at_once_is_told_by_its_exit_code() -> None:
    with pytest.raises(DataError, match="the command ended with exit code 7"):
        contents(open_stream("pipe:exit 7", STREAMING))


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("https://huggingface.co/datasets/me/set", "is given as hf:me/set"),
        ("hf://datasets/me/set", "is given as hf:me/set"),
        ("https://host/a.zip", "is no tar shard, by its name; download it"),
    ],
)
def test_an_address_that_cannot_be_streamed_is_not_told_to_be(address: str, line: str) -> None:
    for opens in (open_source, lambda data: open_stream(data, STREAMING)):
        with pytest.raises(DataError, match=line):
            opens(address)  # type: ignore[operator]
