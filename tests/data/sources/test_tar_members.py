"""Headers of tar archives, held to `tarfile`."""

import io
import os
import random
import tarfile
from pathlib import Path

import pytest

from sparring.data.sources import tar_members as module
from sparring.data.sources.tar_members import Ending, Member, members

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
SPECIAL = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)


def written(path: Path, draw: random.Random, format_: int, *, num: int) -> Path:
    """An archive of random members, some with long names, times as fractions, or no files."""
    with tarfile.open(path, "w", format=format_) as file:
        for number in range(num):
            parts = ["folder" * draw.choice((0, 1, 12)), f"{number:04}.jpg"]
            name = "/".join(filter(None, parts))
            if format_ != tarfile.USTAR_FORMAT and draw.random() < 0.1:
                name = "x" * 300 + name + "\u00e9"
            member = tarfile.TarInfo(name)
            member.mtime = draw.choice((1.5, 7)) if format_ == tarfile.PAX_FORMAT else 7
            if draw.random() < 0.1:
                member.type, member.linkname = draw.choice(SPECIAL), "elsewhere" * 20
                member.linkname = member.linkname[:90] if format_ == FORMATS[0] else member.linkname
                file.addfile(member)
                continue
            content = draw.randbytes(draw.choice((0, 1, 511, 512, 513, 3000, 40_000)))
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


def by_tarfile(path: Path) -> list[Member]:
    with tarfile.open(path) as file:
        return [(os.fsencode(m.name), m.offset_data, m.size) for m in file if m.isreg()]


def walked(path: Path) -> tuple[list[Member], Ending]:
    ending = Ending()
    with path.open("rb") as file:
        return list(members(file.fileno(), ending)), ending


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("many", [8_192, 2**21])
def test_members_are_those_of_tarfile(
    format_: int, seed: int, many: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MANY_BYTES", many)
    monkeypatch.setattr(module, "AT_ONCE", 7)
    path = written(tmp_path / "a.tar", random.Random(seed), format_, num=80)
    found, ending = walked(path)
    assert found == by_tarfile(path)
    assert not ending.damage
    with tarfile.open(path) as file:
        special = sum(not (member.isreg() or member.isdir()) for member in file)
    assert ending.num_special == special


def test_plain_windows_are_taken_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    take = module._Walk._take_plain
    monkeypatch.setattr(
        module._Walk, "_take_plain", lambda *given: taken.append(take(*given)) or taken[-1]
    )
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as file:
        for number in range(50):
            member = tarfile.TarInfo(f"{number}.jpg")
            member.mtime, member.size = 0.5, 600
            file.addfile(member, io.BytesIO(bytes(600)))
    assert len(walked(tmp_path / "a.tar")[0]) == 50
    assert taken == [True, False]


def test_a_file_with_holes_and_a_name_by_pax_are_understood(tmp_path: Path) -> None:
    def add(file: tarfile.TarFile, name: str, pax: dict[str, str], type_: bytes = b"0") -> None:
        member = tarfile.TarInfo(name)
        member.pax_headers, member.size, member.type = pax, 4, type_
        file.addfile(member, io.BytesIO(b"abcd"))

    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as file:
        add(file, "plain.jpg", {})
        add(file, "short.jpg", {"path": "named/elsewhere.jpg"})
        add(file, "holes.jpg", {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})
        add(file, "old holes.jpg", {}, tarfile.GNUTYPE_SPARSE)
        add(file, "last.jpg", {"comment": "path"})
    found, ending = walked(tmp_path / "a.tar")
    assert [name for name, _, _ in found] == [b"plain.jpg", b"named/elsewhere.jpg", b"last.jpg"]
    assert ending.num_sparse == 2


def test_sizes_in_binary_and_checksums_of_signed_bytes_are_read(tmp_path: Path) -> None:
    member = tarfile.TarInfo("caf\u00e9.jpg")
    member.size = 5
    head = bytearray(member.tobuf(tarfile.GNU_FORMAT, "latin-1"))
    head[124:136] = b"\x80" + (5).to_bytes(11, "big")
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % (sum(head) - 256 * sum(byte > 127 for byte in head))
    path = tmp_path / "a.tar"
    path.write_bytes(bytes(head) + b"abcde".ljust(512, b"\0") + bytes(1024))
    found, ending = walked(path)
    assert [found, ending.damage] == [[("caf\u00e9.jpg".encode("latin-1"), 512, 5)], ""]


@pytest.mark.parametrize("many", [4_096, 2**21])
def test_damage_ends_the_walk_with_a_reason(
    many: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MANY_BYTES", many)
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as file:
        for number in range(10):
            member = tarfile.TarInfo(f"{number}.jpg")
            member.size = 1000
            file.addfile(member, io.BytesIO(bytes(range(250)) * 4))
    whole = path.read_bytes()
    step = 3 * 512
    cases = {
        "its end within 5.jpg": whole[: 5 * step + 600],
        "no mark at its end": whole[: 5 * step],
        "checksum is wrong": whole[: 5 * step] + b"?" + whole[5 * step + 1 :],
        "a header that is none": whole[: 5 * step + 124] + b"x" * 12 + whole[5 * step + 136 :],
        "content after its end": whole[: 5 * step] + bytes(1024) + whole[5 * step :],
    }
    for reason, content in cases.items():
        path.write_bytes(content)
        found, ending = walked(path)
        assert [name for name, _, _ in found] == [b"%d.jpg" % number for number in range(5)], reason
        assert reason in ending.damage
    path.write_bytes(b"")
    assert walked(path)[0] == []
    assert "no mark" in walked(path)[1].damage


@pytest.mark.parametrize("seed", range(60))
def test_any_bytes_are_walked_without_an_error_and_to_an_end(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    path = written(tmp_path / "a.tar", draw, draw.choice(FORMATS), num=20)
    content = bytearray(path.read_bytes())
    for _ in range(draw.choice((1, 4, 30))):
        at = draw.randrange(len(content) // 512) * 512 + draw.choice((0, 124, 130, 148, 156, 257))
        at = min(at, len(content) - 8)
        content[at : at + 4] = draw.choice((b"\0\0\0\0", b"\xff" * 4, b"7777", b"-777", b"0_1x"))
    path.write_bytes(content)
    for _, place, size in walked(path)[0]:
        assert 0 < place <= place + size <= len(content)
