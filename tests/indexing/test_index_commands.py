"""The four commands on a small run: what they print, write, keep and refuse."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from browser import faults, needs_browser
from sparring.command.index_commands import SHOWN
from tiny import Command, photos, run, tiny_images, trained, write_photos

from tiny import command  # isort: skip

__all__ = ["command", "photos", "run", "trained"]

SHARED = Path(__file__).parents[3] / "shared" / "data" / "pacs-96px.parquet"
ODD_NAME = "caf\u00e9 <b>&\"'.png"


@pytest.fixture
def odd(photos: Path, tmp_path: Path) -> Path:
    """Photographs with a name of every kind of trouble, a copy, and a file that is no image."""
    folder = Path(shutil.copytree(photos, tmp_path / "odd"))
    images, _ = tiny_images(1, seed=7)
    Image.fromarray(images[0]).save(folder / "red" / ODD_NAME)
    shutil.copy(folder / "red" / ODD_NAME, folder / "blue" / "copy.png")
    (folder / "red" / "broken.png").write_bytes(b"no image")
    return folder


def json_of(command: Command, *arguments: str | Path) -> dict:
    done = command(*arguments, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


@pytest.mark.slow
def test_neighbours_of_a_key_a_file_and_a_folder(
    command: Command, run: Path, odd: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.png"
    Image.new("L", (40, 20), 90).save(other)  # grey, and not square
    out = tmp_path / "page.html"
    table = tmp_path / "n.csv"
    arguments = ["neighbours", run, "--data", odd, "--query", f"red/{ODD_NAME}", "--query", other]
    found = json_of(command, *arguments, "--k", "3", "--out", out, "--csv", table)
    assert [one["query"] for one in found["queries"]] == [f"red/{ODD_NAME}", "other.png"]
    assert found["images"] == 66  # 64, the odd one and its copy; not the broken one
    first = found["queries"][0]
    assert first["equal_images_left_out"] == 1
    assert len(first["neighbours"]) == 3
    assert not {"blue/copy.png", f"red/{ODD_NAME}"} & {n["key"] for n in first["neighbours"]}
    with table.open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 6
    page = out.read_text(encoding="utf-8")
    assert "<b>&" not in page
    assert "&lt;b&gt;&amp;" in page
    again = command(*arguments)
    assert "kept in" in again.err  # the features are not computed twice
    assert "next: sparring neighbours" in again.out
    whole = json_of(command, "neighbours", run, "--data", odd, "--query", odd / "blue")
    assert len(whole["queries"]) == 33
    few = command("neighbours", run, "--data", odd, "--query", odd / "blue", "--k", "1").out
    assert len(few.splitlines()) == 2 * SHOWN + 2
    assert f"{33 - SHOWN} more queries" in few


@pytest.mark.slow
def test_another_checkpoint_is_not_answered_from_old_features(
    command: Command, run: Path, photos: Path
) -> None:
    from sparring.indexing.kept_features import encoder_digest
    from sparring.training.encoders import load_encoder
    from sparring.training.run_folder import RunFolder

    command("outliers", run, "--data", photos)
    (kept,) = (run / "features").iterdir()
    encoder = load_encoder(RunFolder(run))
    assert kept.name.startswith(encoder_digest(encoder))
    next(iter(encoder.state_dict().values())).add_(1e-3)
    assert not kept.name.startswith(encoder_digest(encoder))
    np.save(kept / "features.npy", np.zeros((2, 2), np.float32))  # damaged: computed anew
    done = command("outliers", run, "--data", photos)
    assert done.code == 0
    assert "kept in" not in done.err


@pytest.mark.slow
def test_features_of_embed_are_taken_and_others_refused(
    command: Command, run: Path, photos: Path, tmp_path: Path
) -> None:
    file = tmp_path / "f.npz"
    assert command("embed", run, "--data", photos, "--out", file).code == 0
    ours = json_of(command, "outliers", run, "--data", photos)
    assert json_of(command, "outliers", run, "--data", photos, "--features", file) == ours
    with np.load(file) as arrays:
        np.savez(tmp_path / "g.npz", features=arrays["features"][::-1], keys=arrays["keys"])
        # Longer than this encoder's, though of the same direction: those of another network.
        np.savez(tmp_path / "l.npz", features=1.1 * arrays["features"], keys=arrays["keys"])
        few = {name: arrays[name][:60] for name in ("features", "keys")}
        np.savez(tmp_path / "few.npz", **few)
    for name in ("g.npz", "l.npz"):
        wrong = command("outliers", run, "--data", photos, "--features", tmp_path / name)
        assert wrong.code == 2
        assert "does not hold this encoder's features" in wrong.error
    done = command("outliers", run, "--data", photos, "--features", tmp_path / "few.npz")
    assert "4 images of the set have no features in" in done.err
    text = tmp_path / "h.npz"
    text.write_text("no archive")
    assert command("outliers", run, "--data", photos, "--features", text).code == 2


@pytest.mark.slow
def test_duplicates_are_listed_and_nothing_is_deleted(
    command: Command, run: Path, odd: Path, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in odd.rglob("*.png")}
    listed, page = tmp_path / "remove.txt", tmp_path / "d.html"
    found = json_of(command, "duplicates", run, "--data", odd, "--out", page, "--removable", listed)
    pairs = {(one["keep"], other["key"]) for one in found["found"] for other in one["others"]}
    assert ("blue/copy.png", f"red/{ODD_NAME}") in pairs
    assert found["equal"] == 1
    assert len(listed.read_text(encoding="utf-8").splitlines()) == found["removable"]
    assert {path: path.read_bytes() for path in odd.rglob("*.png")} == before


@pytest.mark.slow
def test_clusters_and_outliers_print_their_numbers(
    command: Command, run: Path, photos: Path, tmp_path: Path
) -> None:
    done = command("clusters", run, "--data", photos, "--num", "2", "--out", tmp_path / "c.html")
    assert done.code == 0
    assert "cluster 0: " in done.out
    assert "2 classes: purity " in done.out
    assert f"wrote {tmp_path / 'c.html'}" in done.out
    same = [json_of(command, "clusters", run, "--data", photos, "--num", "auto") for _ in range(2)]
    assert same[0] == same[1]
    done = command("outliers", run, "--data", photos)
    assert "54 more images" in done.out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["neighbours", "--query", "red/00.png"], "did you mean 'red/0"),
        (["neighbours", "--query", "red/032.png", "--index", "fais"], "did you mean 'faiss'"),
        (["clusters", "--num", "many"], "number of clusters or auto, got 'many'"),
        (["clusters", "--num", "1000"], "between 1 and the number of images, 64"),
        (["duplicates", "--threshold", "2"], "above 0 and at most 1, got 2"),
    ],
)
def test_a_wrong_word_costs_one_line(
    command: Command, run: Path, photos: Path, arguments: list[str], said: str
) -> None:
    name, *rest = arguments
    done = command(name, run, "--data", photos, *rest)
    assert done.code == 2
    assert said in done.error


@pytest.mark.slow
def test_a_query_that_cannot_be_read_is_named(command: Command, run: Path, odd: Path) -> None:
    done = command("neighbours", run, "--data", odd, "--query", odd / "red" / "broken.png")
    assert done.code == 2
    assert "broken.png" in done.error
    done = command("neighbours", run, "--data", odd, "--query", "red/broken.png")
    assert done.code == 2
    assert "not among its images that can be read" in done.error


@pytest.mark.slow
def test_a_set_of_one_image(command: Command, run: Path, tmp_path: Path) -> None:
    one = write_photos(tmp_path / "one", per_class=1) / "blue"
    found = json_of(command, "neighbours", run, "--data", one, "--query", "000.png")
    assert found["queries"][0]["neighbours"] == []
    assert json_of(command, "duplicates", run, "--data", one)["groups"] == 0
    for name in ("clusters", "outliers"):
        done = command(name, run, "--data", one)
        assert done.code == 2
        assert "needs at least 2" in done.error


@pytest.mark.slow
@needs_browser
def test_the_pages_open_in_a_browser_without_an_error_in_its_console(
    command: Command, run: Path, odd: Path, tmp_path: Path
) -> None:
    pages = []
    for name, more in {
        "neighbours": ["--query", f"red/{ODD_NAME}"],
        "duplicates": ["--threshold", "0.5"],
        "clusters": [],
        "outliers": [],
    }.items():
        page = tmp_path / f"{name}.html"
        assert command(name, run, "--data", odd, *more, "--out", page).code == 0
        pages.append(page)
    assert [faults(page) for page in pages] == 4 * [[]]


@pytest.mark.parametrize(
    "arguments",
    [
        ["neighbours", "--query", "a.png", "--out"],
        ["duplicates", "--removable"],
        ["clusters", "--csv"],
        ["outliers", "--out"],
        ["embed", "--out"],
        ["report", "--out"],
        ["export", "--format", "onnx", "--out"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_folder_in_the_place_of_a_file_is_refused_before_any_work(
    command: Command, tmp_path: Path, arguments: list[str]
) -> None:
    name, *options = arguments
    data = [] if name in ("report", "export") else ["--data", "absent"]
    done = command(name, "absent-run", *data, *options, tmp_path)
    assert (done.code, done.error) == (
        2,
        f"{tmp_path} is a folder; give the name of a file, in it or elsewhere",
    )
