"""The injector finds what it is made for: writers that leave out an fsync lose, ours does not."""

import subprocess
import sys
from pathlib import Path

import pytest

from campaigns.crash_points import Loss, lose, num_changes, read_trace

TESTS = Path(__file__).parents[1]
WRITERS = {
    "ours": "write_atomically(path, b'new' * 100)",
    "no fsync of the file": """
part = path.with_name("part")
part.write_bytes(b"new" * 100)
part.replace(path)
sync_folder(path.parent)
""",
    "no fsync of the folder": """
part = path.with_name("part")
with part.open("wb") as file:
    file.write(b"new" * 100)
    file.flush()
    os.fsync(file.fileno())
part.replace(path)
""",
    "in place": "path.write_bytes(b'new' * 100)",
}
SCRIPT = """
import os, sys
from pathlib import Path
from campaigns.crash_points import Disk
from sparring.files import sync_folder, write_atomically
root, trace, strike = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
path = root / "file"
disk = Disk(root, trace, strike or None)
disk.install()
{writer}
disk.note("saved", 1)
"""


def written(writer: str, folder: Path, *, strike: int, loss: Loss) -> tuple[bytes, bool, int]:
    """Content of a file that held "old" and was replaced by a writer struck at a change, after a
    loss; whether the writer said that it was done; and how many changes it made."""
    root, trace = folder / f"{strike} {loss}", folder / f"trace {strike} {loss}"
    root.mkdir()
    (root / "file").write_bytes(b"old")
    subprocess.run(
        [sys.executable, "-c", SCRIPT.format(writer=WRITERS[writer]), root, trace, str(strike)],
        env={"PYTHONPATH": f"{TESTS}:{TESTS.parent / 'src'}"},
        check=strike == 0,
    )
    notes = read_trace(trace)
    lose(root, notes, loss)
    return (root / "file").read_bytes(), ["saved", 1] in notes, num_changes(notes)


def test_our_writer_leaves_the_old_or_the_new_file_at_every_change(tmp_path: Path) -> None:
    content, is_done, changes = written("ours", tmp_path, strike=0, loss="names and bytes")
    assert (content, is_done) == (b"new" * 100, True)
    assert changes >= 5  # a new name, the bytes, fsync, the rename, fsync of the folder
    for strike in range(1, changes + 1):
        for loss in ("bytes", "names and bytes"):
            content, is_done, _ = written("ours", tmp_path, strike=strike, loss=loss)
            assert not is_done
            assert content in (b"old", b"new" * 100)


@pytest.mark.parametrize(
    ("writer", "loss", "left"),
    [
        ("no fsync of the file", "bytes", b""),
        ("no fsync of the folder", "names and bytes", b"old"),
        ("in place", "bytes", b""),
    ],
)
def test_a_writer_that_leaves_out_an_fsync_loses_what_it_said_was_done(
    writer: str, loss: Loss, left: bytes, tmp_path: Path
) -> None:
    content, is_done, _ = written(writer, tmp_path, strike=0, loss=loss)
    assert (content, is_done) == (left, True)


def test_a_write_that_is_struck_leaves_half(tmp_path: Path) -> None:
    found = [written("in place", tmp_path, strike=n, loss="nothing")[0] for n in (1, 2)]
    assert b"new" * 50 in found
