"""Errors give one clear line and the right exit code, and lose nothing."""

import contextlib
import errno
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import sparring
from tiny import NUM_STEPS, Command, contents, train_arguments

ARGUMENTS_THAT_ARE_WRONG = {
    ("--method", "adoc"): "unknown method 'adoc'; did you mean 'adco'?",
    ("--method", ""): "unknown method ''",
    ("--opponent", "pertubation"): "unknown opponent 'pertubation'; did you mean 'perturbation'?",
    (
        "--recipe",
        "adco-imagenet-20",
    ): "unknown recipe 'adco-imagenet-20'; did you mean 'adco-imagenet-200'?",
    ("--recipe", "absent.toml"): "cannot read absent.toml: No such file or directory",
    ("--set", "bank.siz=3"): "unknown setting 'bank.siz'; did you mean 'bank.size'?",
    ("--set", "bnk.size=3"): "unknown setting 'bnk'; did you mean 'bank'?",
    (
        "--set",
        "training.epoch=3",
    ): "unknown setting 'training.epoch'; did you mean 'training.epochs'?",
    (
        "--set",
        "players.bank.momentun=0",
    ): "unknown setting 'players.bank.momentun'; did you mean 'players.bank.momentum'?",
    (
        "--set",
        "bank.size=many",
    ): "bank.size: should be a valid integer, unable to parse string as an integer, got 'many'",
    (
        "--set",
        "lr=0.1",
    ): "unknown setting 'lr'; did you mean 'players.encoder.learning_rate' or "
    "'players.bank.learning_rate'?",
    ("--set", "batch_size=64"): "unknown setting 'batch_size'; did you mean 'training.batch_size'?",
    ("--set", "bank.lr=1"): "unknown setting 'bank.lr'; did you mean 'players.bank.learning_rate'?",
    (
        "--set",
        "sgd.momentum=1",
    ): "unknown setting 'sgd.momentum'; did you mean 'players.encoder.momentum' or",
    ("--set", "queue.size=3"): "unknown setting 'queue': adco has none; it is a setting of mocov2",
    ("--backbone", "resnet81"): "unknown backbone 'resnet81'; did you mean 'resnet18'?",
    ("--precision", "bf16"): "got 'bf16'; did you mean 'bfloat16'?",
    ("--lr", "0"): "players.encoder.learning_rate: should be greater than 0, got 0",
    ("--lr", "fast"): "Invalid value for '--lr'",
    ("--workers", "-1"): "Invalid value for '--workers'",
    ("--weights", "absent.pt"): "absent.pt: No such file or directory",
    ("--set", "bank=3"): "bank is a section, got 3; set one of bank.size, ",
    ("--set", "temperature=-0.1"): "temperature: should be greater than 0, got -0.1",
    ("--set", "temperature=nan"): "temperature: should be a finite number, got nan",
    ("--set", "bank.size"): "--set bank.size: expected key=value, for example --set bank.size=4096",
    ("--strength", "-1"): "strength: should be greater than or equal to 0, got -1",
    ("--strength", "relased"): "did you mean 'released'?",
    ("--strength", "{nats=1, schedule='up'}"): "strength.schedule: should be 'constant', 'rising'",
    (
        "--set",
        "views.preset=simclr-cifr",
    ): "views.preset: unknown preset of views 'simclr-cifr'; did you mean 'simclr-cifar'?",
    (
        "--set",
        "views.preset=multi-crop-adco",
    ): "views.preset=multi-crop-adco gives 6 views; mocov2 needs 2; choose another preset",
    ("--set", "encoder.backbone=resnet81"): "unknown backbone 'resnet81'; did you mean 'resnet18'?",
    ("--batch-size", "0"): "training.batch_size: should be greater than or equal to 2, got 0",
    ("--batch-size", "65"): "batch_size 65 is larger than the data set of 64 images",
    ("--batch-size", "many"): "Invalid value for '--batch-size'",
    ("--epochs", "0"): "Invalid value for '--epochs'",
    ("--max-steps", "0"): "Invalid value for '--max-steps'",
    ("--image-size", "4"): "training.image_size: should be greater than or equal to 8, got 4",
    ("--seed", "-1"): "Invalid value for '--seed'",
    ("--device", "banana"): "training.device=banana cannot be used here",
    ("--epoch", "3"): "No such option: --epoch",
}


WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; import sparring.command.commands as cli"


@pytest.mark.parametrize(("option", "name"), [("--method", "adoc"), ("--opponent", "pertubation")])
def test_an_unknown_name_is_told_before_torch_is_imported(
    tmp_path: Path, option: str, name: str
) -> None:
    arguments = ["train", "--data", str(tmp_path), "--out", str(tmp_path / "run"), option, name]
    code = f"{WITHOUT_TORCH}; sys.argv[1:] = {arguments}; cli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: unknown {option[2:]} '{name}'; did you mean")


@pytest.mark.parametrize(
    ("arguments", "message"),
    ARGUMENTS_THAT_ARE_WRONG.items(),
    ids=map(" ".join, ARGUMENTS_THAT_ARE_WRONG),
)
def test_wrong_argument_is_one_line_and_writes_nothing(
    command: Command, photos: Path, tmp_path: Path, arguments: tuple[str, str], message: str
) -> None:
    method = (
        ()
        if "--method" in arguments
        else ("--method", "mocov2" if "multi-crop" in arguments[1] else "adco")
    )
    out = tmp_path / "run"
    done = command("train", "--data", photos, "--out", out, *method, *arguments)
    assert done.code == 2
    assert message in done.error
    assert done.err.count("\n") == 1, "progress came before the error"
    assert done.out == ""
    assert not out.exists()


def test_folder_as_recipe_is_refused(command: Command, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").mkdir()
    assert (
        "Is a directory"
        in command(
            "train", "--data", photos, "--out", tmp_path / "r", "--recipe", tmp_path / "recipe.toml"
        ).error
    )
    assert (
        "unknown recipe"
        in command("train", "--data", photos, "--out", tmp_path / "r", "--recipe", tmp_path).error
    )


def empty(folder: Path) -> None:
    """Leave the folder empty."""


def text_files(folder: Path) -> None:
    (folder / "notes.txt").write_text("no image")
    (folder / "more.md").write_text("none either")


def broken_images(folder: Path) -> None:
    for number in range(5):
        (folder / f"{number}.jpg").write_bytes(b"\xff\xd8\xff" + bytes([number]) * 50)


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (empty, "holds nothing; give a folder with files ending in"),
        (text_files, "holds 2 files, such as more.md, but no image"),
        (broken_images, "can be read, such as 0.jpg"),
    ],
)
def test_unusable_folder_is_one_line_and_stays_as_it_was(
    command: Command, tmp_path: Path, fill: Callable[[Path], None], message: str
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    fill(data)
    before = contents(data)
    done = command("train", "--data", data, "--out", tmp_path / "run")
    assert done.code == 2
    assert message in done.error
    assert contents(data) == before
    assert not (tmp_path / "run").exists()


def test_missing_option_is_named(command: Command) -> None:
    done = command("train", "--data", "d")
    assert done.code == 2
    assert "Missing option '--out'" in done.error


@pytest.mark.parametrize(("option", "value"), [("--k", "many"), ("--k", "0"), ("--k", "1.5")])
def test_a_refused_value_is_in_the_message(command: Command, option: str, value: str) -> None:
    done = command("outliers", "run", "--data", "photos", option, value)
    assert done.code == 2
    assert done.error.endswith(f", got '{value}'")


def test_missing_images_are_asked_for(command: Command) -> None:
    done = command("train", "--out", "r")
    assert done.code == 2
    assert "no images are given" in done.error
    assert "--data PATH" in done.error
    assert "--from RUN" in done.error


def test_misspelt_command_suggests_the_nearest(command: Command) -> None:
    done = command("trian")
    assert (done.code, done.error) == (2, "No such command 'trian'. Did you mean 'train'?")


# Folders in use, and folders that are not runs


def test_output_folder_with_a_run_is_left_alone(
    command: Command, photos: Path, trained: Path
) -> None:
    done = command(*train_arguments(photos, trained))  # the fixture fails if anything in it changes
    assert done.code == 2
    assert (
        done.error
        == f"{trained} holds a run already; continue it with `sparring resume {trained}` "
        "or choose another --out"
    )


def test_output_folder_with_other_things_is_left_alone(command: Command, photos: Path) -> None:
    before = contents(photos)
    done = command(*train_arguments(photos, photos))
    assert (done.code, done.error) == (
        2,
        f"{photos} exists and is not an empty folder; choose another --out",
    )
    assert contents(photos) == before


def test_output_folder_below_a_file_cannot_be_made(
    command: Command, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("precious")
    done = command(*train_arguments(photos, tmp_path / "file" / "run"))
    assert done.code == 1
    assert "Not a directory" in done.error
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("verb", ["resume", "evaluate", "embed", "export", "report"])
def test_folder_without_a_run_is_refused_by_every_command(
    command: Command, photos: Path, tmp_path: Path, verb: str
) -> None:
    more = {
        "embed": ["--data", photos, "--out", tmp_path / "f.npz"],
        "export": ["--out", tmp_path / "w.pt"],
    }.get(verb, [])
    done = command(verb, photos, *more)
    assert done.code == 2
    assert (
        done.error
        == f"{photos} is not a run folder (no config.toml); give the --out of a `sparring train`"
    )
    assert list(tmp_path.iterdir()) == []


def test_unknown_protocol_and_format_are_refused_with_suggestions(
    command: Command, trained: Path, tmp_path: Path
) -> None:
    done = command("evaluate", trained, "--protocol", "knn,linnear")
    assert done.code == 2
    assert done.error.startswith(
        "unknown protocol 'linnear'; did you mean 'linear'? Accepted: data-efficiency, detection, "
    )
    assert command("evaluate", trained, "--protocol", " , ").error.startswith(
        "no protocol given; choose from knn, linear, geometry"
    )
    assert (
        "unknown variant of linear 'adc'; did you mean 'adco'?"
        in command("evaluate", trained, "--protocol", "linear:adc").error
    )
    assert (
        "unknown setting 'knn.neighbours'"
        in command("evaluate", trained, "--set", "knn.neighbours=3").error
    )
    assert (
        "add it to --protocol"
        in command(
            "evaluate", trained, "--protocol", "knn", "--set", "linear.validation_share=0.1"
        ).error
    )
    assert command("protocols", "lineer").error.startswith(
        "unknown protocol 'lineer'; did you mean 'linear'?"
    )
    done = command("export", trained, "--format", "tim", "--out", tmp_path / "w")
    assert (done.code, done.error) == (
        2,
        "unknown export format 'tim'; did you mean 'timm'? Accepted: hub, onnx, safetensors, timm, "
        "torch-export, torchvision",
    )


def test_scoring_images_without_labels_is_refused(
    command: Command, trained: Path, photos: Path
) -> None:
    done = command("evaluate", trained, "--data", photos / "red")
    assert done.code == 2
    assert done.error.startswith(
        "the test images have no labels to score with: put each class in a folder of its own"
    )


@pytest.mark.parametrize("verb", ["embed", "export", "report"])
def test_file_that_cannot_be_written_is_named(
    command: Command, trained: Path, photos: Path, verb: str
) -> None:
    data = ["--data", photos] if verb == "embed" else []
    file = trained / "config.toml"
    done = command(verb, trained, *data, "--out", file / "result")
    assert (done.code, done.error.startswith(f"cannot write {file}")) == (1, True), done.error


@pytest.mark.parametrize("verb", ["embed", "export", "report"])
def test_folder_in_the_place_of_a_file_is_refused(
    command: Command, trained: Path, photos: Path, verb: str
) -> None:
    data = ["--data", photos] if verb == "embed" else []
    done = command(verb, trained, *data, "--out", photos)
    advice = "give the name of a file, in it or elsewhere"
    assert (done.code, done.error) == (2, f"{photos} is a folder; {advice}")


# Failures while training


def test_loss_that_is_not_finite_names_method_player_and_step(
    command: Command, photos: Path, tmp_path: Path
) -> None:
    done = command(
        *train_arguments(photos, tmp_path / "run", settings={"players.encoder.learning_rate": 1e30})
    )
    assert done.code == 1
    assert done.error.startswith("adco stopped at step 1: player 'encoder': its ")
    assert "is not finite" in done.error
    assert "try a lower players.encoder.learning_rate" in done.error


def test_debug_shows_the_traceback(command: Command, tmp_path: Path) -> None:
    with pytest.raises(sparring.SparringError):
        command("train", "--data", tmp_path / "nowhere", "--out", tmp_path / "r", "--debug")


def test_unexpected_error_is_one_line_too(
    command: Command, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr("sparring.api.report", fail)
    done = command("report", trained)
    assert (done.code, done.error) == (
        1,
        "unexpected ZeroDivisionError: division by zero; run again with --debug to see where",
    )


@pytest.mark.parametrize("verb", ["evaluate", "report"])
def test_ctrl_c_outside_of_training_is_one_line(
    command: Command, trained: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"sparring.api.{verb}", stop)
    done = command(verb, trained)
    assert (done.code, done.error) == (1, "stopped")


# Damaged and malicious files


def test_run_without_a_checkpoint_has_its_own_message(
    command: Command, photos: Path, run: Path
) -> None:
    (run / "checkpoint" / "last.pt").unlink()
    done = command("resume", run)
    assert done.code == 1
    assert done.error.endswith("begin it anew with `sparring train` and --resume-if-exists")
    done = command(*train_arguments(photos, run))
    assert (done.code, done.error) == (
        2,
        f"{run} holds a run already; it has no checkpoint; begin it anew with --resume-if-exists "
        "or choose another --out",
    )


class Touch:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def truncated(path: Path, mark: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def flipped(path: Path, mark: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # in the middle of some weights: PyTorch alone would not notice
    path.write_bytes(content)


def emptied(path: Path, mark: Path) -> None:
    path.write_bytes(b"")


def replaced_by_text(path: Path, mark: Path) -> None:
    path.write_text("not a checkpoint")


def malicious(path: Path, mark: Path) -> None:
    content = torch.load(path, weights_only=True)
    torch.save(content | {"extra": Touch(mark)}, path)


def malicious_pickle(path: Path, mark: Path) -> None:
    path.write_bytes(pickle.dumps({"format": 1, "extra": Touch(mark)}))


def of_another_format(path: Path, mark: Path) -> None:
    torch.save(torch.load(path, weights_only=True) | {"format": 999}, path)


def without_players(path: Path, mark: Path) -> None:
    content = torch.load(path, weights_only=True)
    torch.save({key: value for key, value in content.items() if key != "players"}, path)


DAMAGES = [
    truncated,
    flipped,
    emptied,
    replaced_by_text,
    malicious,
    malicious_pickle,
    of_another_format,
    without_players,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_checkpoint_fails_in_one_line_and_runs_nothing(
    command: Command, run: Path, photos: Path, tmp_path: Path, damage: Callable[[Path, Path], None]
) -> None:
    mark = tmp_path / "mark"
    damage(run / "checkpoint" / "last.pt", mark)
    before = contents(run)
    for line in (
        ["resume", run],
        ["evaluate", run],
        ["export", run, "--out", tmp_path / "w.pt"],
        ["report", run, "--out", tmp_path / "r.html"],
    ):
        done = command(*line)
        assert done.code == 1, line
        assert "checkpoint" in done.error
    assert contents(run) == before
    assert not mark.exists()
    assert not (tmp_path / "w.pt").exists()
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize("damage", [malicious, malicious_pickle])
def test_malicious_checkpoint_would_have_run_if_it_were_unpickled(
    run: Path, tmp_path: Path, damage: Callable[[Path, Path], None]
) -> None:
    damage(run / "checkpoint" / "last.pt", tmp_path / "mark")
    with contextlib.suppress(RuntimeError):
        torch.load(run / "checkpoint" / "last.pt", weights_only=False)
    assert (tmp_path / "mark").exists()


def test_checkpoint_of_another_configuration_does_not_fit(command: Command, run: Path) -> None:
    config = run / "config.toml"
    config.write_text(config.read_text().replace("width = 0.0625", "width = 0.125"))
    done = command("resume", run)
    assert done.code == 1
    assert "does not fit this configuration" in done.error


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("method = ", "is not valid TOML"),
        ("", "no method given"),
        ('method = "adoc"', "unknown method 'adoc'"),
    ],
)
def test_damaged_configuration_is_named(
    command: Command, run: Path, content: str, message: str
) -> None:
    (run / "config.toml").write_text(content)
    done = command("resume", run)
    assert done.code == 2
    assert message in done.error


def test_damaged_scores_are_named_and_kept(command: Command, run: Path) -> None:
    (run / "scores.json").write_text("{")
    done = command("evaluate", run, "--protocol", "geometry")
    assert (done.code, done.error) == (
        2,
        f"{run / 'scores.json'} is damaged; remove it and use `sparring evaluate`",
    )


def test_metrics_cut_off_by_a_crash_are_continued(
    command: Command, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command(*train_arguments(photos, out, "--max-steps", "3"))
    metrics = out / "metrics.jsonl"
    whole = metrics.read_text().splitlines()
    metrics.write_text("\n".join(whole) + '\n{"step": 3, "lo')
    assert command("resume", out).code == 0
    assert metrics.read_text().splitlines()[:3] == whole
    assert metrics.read_text().count("\n") == NUM_STEPS


# Full disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB; skipped where it may not be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


def fill(disk: Path, *, leave: int) -> Path:
    """Fill a disk up to a few bytes, in the whole pages that tmpfs counts."""
    status = os.statvfs(disk)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(status.f_bavail * status.f_bsize - leave))
    return ballast


def test_full_disk_keeps_the_last_checkpoint_and_resumes_when_there_is_room(
    command: Command, photos: Path, trained: Path, small_disk: Path
) -> None:
    out = small_disk / "run"
    assert command(*train_arguments(photos, out, "--max-steps", "3")).code == 0
    before = contents(out)
    ballast = fill(small_disk, leave=64 * 1024)
    done = command("resume", out)
    assert done.code == 1
    assert done.error.startswith(
        f"cannot write {out / 'checkpoint' / 'last.pt'}: the disk is full; free some space"
    )
    after = contents(out)
    assert after["checkpoint/last.pt"] == before["checkpoint/last.pt"]
    assert after["metrics.jsonl"].startswith(before["metrics.jsonl"])
    assert not [name for name in after if name.endswith(".part")]
    sparring.load(out)

    ballast.unlink()
    assert command("resume", out).code == 0
    assert (out / "backbone.safetensors").read_bytes() == (
        trained / "backbone.safetensors"
    ).read_bytes()


def test_disk_without_a_single_free_page_loses_no_metrics(
    command: Command, photos: Path, small_disk: Path
) -> None:
    out = small_disk / "run"
    assert command(*train_arguments(photos, out, "--max-steps", "3")).code == 0
    before = contents(out)
    fill(small_disk, leave=0)
    done = command("resume", out)
    assert done.code == 1
    assert "the disk is full" in done.error
    assert {name: content for name, content in contents(out).items() if name in before} == before


def test_full_disk_has_its_own_message_without_root(
    command: Command, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    assert command(*train_arguments(photos, out, "--max-steps", "3")).code == 0
    before = contents(out)

    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", no_space)
        done = command("resume", out)
    assert done.code == 1
    assert "the disk is full; free some space and use `sparring resume`" in done.error
    assert contents(out) == before
    assert command("resume", out).code == 0
