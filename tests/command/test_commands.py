"""What commands print, what they write, and how they stop."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sparring
from sparring.api import training as api_training
from sparring.command.display import TerminalDisplay
from sparring.methods import registry
from sparring.optim.schedule import Position
from tiny import NUM_STEPS, Command, contents, train_arguments, write_photos

SCREEN_LINES = 24


def shell(*arguments: str | Path, cache: Path) -> subprocess.CompletedProcess[str]:
    """Result of the command line in a separate process."""
    call = [sys.executable, "-m", "sparring", *map(str, arguments)]
    return subprocess.run(call, capture_output=True, text=True, check=False, env=environment(cache))


def environment(cache: Path) -> dict[str, str]:
    return os.environ | {"SPARRING_CACHE": str(cache), "OMP_NUM_THREADS": "1"}


def interrupt_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Press Ctrl-C during a step."""
    watch = TerminalDisplay.observe

    def observe(
        display: TerminalDisplay,
        position: Position,
        record: Mapping[str, float],
        warning: str | None,
    ) -> None:
        watch(display, position, record, warning)
        if position.step == step:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(TerminalDisplay, "observe", observe)


def bits(run: Path) -> dict[str, bytes]:
    """Learned content of a run: the checkpoint, flattened to bytes, and the exported backbone."""
    content = torch.load(run / "checkpoint" / "last.pt", weights_only=True)
    found = {"backbone": (run / "backbone.safetensors").read_bytes()}

    def walk(name: str, value: object) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{name}/{key}", inner)
        elif isinstance(value, list):
            for number, inner in enumerate(value):
                walk(f"{name}/{number}", inner)
        elif isinstance(value, torch.Tensor):
            found[name] = value.numpy().tobytes()
        elif name != "/config":
            found[name] = repr(value).encode()

    walk("", content)
    return found


# Help, version and lists


def test_help_lists_every_command(command: Command) -> None:
    done = command("--help")
    assert done.code == 0
    for name in (
        "plan",
        "train",
        "resume",
        "evaluate",
        "embed",
        "export",
        "report",
        "methods",
        "doctor",
        "demo",
    ):
        assert f" {name} " in done.out


def test_no_command_shows_the_help_and_exits_with_2(command: Command) -> None:
    done = command()
    assert (done.code, done.err) == (2, "")
    assert "Usage: sparring" in done.out


def test_version_is_that_of_the_package(command: Command) -> None:
    assert command("--version").out == f"sparring {sparring.__version__}\n"


def test_methods_lists_every_method_with_its_paper(command: Command) -> None:
    done = command("methods")
    assert done.code == 0
    for name, about in sparring.list_methods().items():
        assert name in done.out
        assert about.source in done.out
    assert ["clae", "simclr", "+", "perturbation"] in [
        line.split() for line in done.out.splitlines()
    ]
    assert ["hardgen", "simclr", "+", "generator-pair"] in [
        line.split() for line in done.out.splitlines()
    ]
    listed = {*sparring.list_methods(), *registry.further_names()}
    assert set(json.loads(command("methods", "--json").out)) == listed
    assert set(json.loads(command("methods", "adco", "--json").out)) == {"adco"}


@pytest.mark.parametrize("name", registry.shipped("method"))
def test_one_method_is_described_with_settings_that_are_toml(command: Command, name: str) -> None:
    done = command("methods", name)
    assert done.code == 0
    assert "The game." in done.out
    settings = tomllib.loads(done.out.partition("--set KEY=VALUE):")[2])
    assert "backbone" not in settings
    assert "encoder" in settings["players"]
    for fact in (
        "Players:   encoder (sgd, rate 0.06, cosine)",
        "Opponent:",
        "Cost:",
        "Good for:",
        f"Source:    {registry.about('method', name).source}",
    ):
        assert fact in done.out


def test_a_method_with_a_dial_says_so(command: Command) -> None:
    assert "Dial:      --strength NATS holds" in command("methods", "adco").out
    assert "Dial:" not in command("methods", "byol").out


def test_an_opponent_is_described_like_a_method(command: Command) -> None:
    done = command("methods", "perturbation")
    assert "--set perturbation.disarmed=random-signs" in done.out
    assert (
        tomllib.loads(done.out.partition("--set KEY=VALUE):")[2])["perturbation"]["epsilon"]
        == 0.015
    )
    clae = command("methods", "clae").out
    assert clae.startswith("--method clae is --method simclr --opponent perturbation\n")
    assert done.out in clae
    assert (
        "unknown method or opponent 'perturbatoin'; did you mean 'perturbation'?"
        in command("methods", "perturbatoin").err
    )


def test_a_method_with_an_opponent_names_its_controls(command: Command) -> None:
    assert "--set disarmed=queue|frozen" in command("methods", "adco").out
    assert "; bank (sgd, rate 0.047, constant)" in command("methods", "adco").out
    assert "Control:   --method mocov2" in command("methods", "adco").out
    assert "disarmed" not in command("methods", "byol").out


def test_command_runs_in_a_separate_process(tmp_path: Path) -> None:
    done = shell("train", "--data", tmp_path / "nowhere", "--out", tmp_path / "run", cache=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: no such file or folder: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


# Training, and the output of a finished run


def test_finished_run_prints_a_screen_that_ends_with_scores_and_the_next_command(
    command: Command, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    done = command(*train_arguments(photos, out))
    assert done.code == 0
    lines = done.out.splitlines()
    assert len(lines) + len(done.err.splitlines()) <= SCREEN_LINES
    assert lines[-1] == f"next: sparring report {out} --out report.html"
    assert any(line.startswith("linear probe") and line.count("%") == 2 for line in lines)
    assert (
        f"64 images of 16 x 16 px; adco, resnet18, 2 epochs of {NUM_STEPS // 2} steps" in done.err
    )


def test_a_trial_says_at_its_start_after_how_many_steps_it_stops(
    command: Command, photos: Path, tmp_path: Path
) -> None:
    trial = command(*train_arguments(photos, tmp_path / "trial"), "--max-steps", "1")
    whole = command(*train_arguments(photos, tmp_path / "run"), "--max-steps", str(NUM_STEPS))
    assert f"of {NUM_STEPS // 2} steps, stopped after 1 step (max_steps)" in trial.err
    assert "stopped after" not in whole.err


def test_run_folder_holds_what_the_design_promises(trained: Path) -> None:
    promised = {
        "config.toml",
        "metrics.jsonl",
        "backbone.safetensors",
        "scores.json",
        "quarantine.txt",
        "environment.json",
    }
    assert promised <= {path.name for path in trained.iterdir()}
    assert (trained / "checkpoint" / "last.pt").is_file()
    assert len((trained / "metrics.jsonl").read_text().splitlines()) == NUM_STEPS


def test_json_is_the_only_thing_on_standard_output(
    command: Command, photos: Path, tmp_path: Path
) -> None:
    done = command(*train_arguments(photos, tmp_path / "run", "--max-steps", "1", "--json"))
    found = json.loads(done.out)
    assert found["run"] == str(tmp_path / "run")
    assert 0 <= found["scores"]["trained"]["knn"]["accuracy"] <= 1


def test_images_without_labels_end_with_geometry_alone(
    command: Command, photos: Path, tmp_path: Path
) -> None:
    done = command(*train_arguments(photos / "red", tmp_path / "run", "--max-steps", "1"))
    assert done.code == 0
    assert "kNN" not in done.out
    assert "effective rank" in done.out
    (line,) = [line for line in done.err.splitlines() if line.startswith("no accuracies: ")]
    assert "no labels" in line


def test_same_command_gives_the_same_bits(
    command: Command, photos: Path, trained: Path, tmp_path: Path
) -> None:
    assert command(*train_arguments(photos, tmp_path / "again")).code == 0
    assert bits(tmp_path / "again") == bits(trained)
    assert command(*train_arguments(photos, tmp_path / "other", "--seed", "1")).code == 0
    assert bits(tmp_path / "other") != bits(trained)


# Stopping and resuming


def test_trial_of_a_few_steps_resumes_to_the_whole_run(
    command: Command, photos: Path, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert command(*train_arguments(photos, out, "--max-steps", "3")).code == 0
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 3
    assert command("resume", out).code == 0
    assert bits(out) == bits(trained)


def test_interrupted_run_names_resume_and_ends_with_the_same_bits(
    command: Command, photos: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_at(4, patch)
        done = command(*train_arguments(photos, out))
    assert done.code == 1
    assert done.error == f"stopped; continue with `sparring resume {out}`"
    assert torch.load(out / "checkpoint" / "last.pt", weights_only=True)["step"] == 5
    assert command("resume", out).code == 0
    assert bits(out) == bits(trained)
    steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(NUM_STEPS))


@pytest.mark.slow
def test_ctrl_c_stops_a_separate_process(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    call = [sys.executable, "-m", "sparring", *train_arguments(photos, out, "--epochs", "5000")]
    with subprocess.Popen(
        call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(tmp_path)
    ) as process:
        metrics = out / "metrics.jsonl"
        while process.poll() is None and not (
            metrics.exists() and metrics.read_text().count("\n") >= 3
        ):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.splitlines()[-1] == f"error: stopped; continue with `sparring resume {out}`"
    assert "Traceback" not in err
    assert torch.load(out / "checkpoint" / "last.pt", weights_only=True)["step"] >= 3


def test_interruption_before_the_first_step_leaves_nothing(
    command: Command, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sparring.api.training.open_images", stop)
    done = command(*train_arguments(photos, tmp_path / "run"))
    assert (done.code, done.error) == (1, "stopped before the first step; nothing is lost")
    assert not (tmp_path / "run").exists()


def test_resuming_a_finished_run_says_so_and_changes_nothing_learned(
    command: Command, run: Path
) -> None:
    before = bits(run)
    metrics = (run / "metrics.jsonl").read_bytes()
    done = command("resume", run)
    assert done.code == 0
    assert f"{run} has made all its {NUM_STEPS} steps; there is nothing left to train" in done.err
    assert bits(run) == before
    assert (run / "metrics.jsonl").read_bytes() == metrics


def test_run_folder_used_by_another_process_is_left_alone(command: Command, run: Path) -> None:
    before = contents(run)
    with (run / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = command("resume", run)
    assert done.code == 2
    assert done.error == f"{run} is in use by another process; wait for it or choose another --out"
    assert contents(run) == before


def test_two_trainings_into_one_folder_give_one_run_and_one_line(
    command: Command, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = train_arguments(photos, tmp_path / "run", "--max-steps", "1")
    look, later = api_training.open_images, []

    def look_late(*given: Any) -> Any:
        """The second starts while the first looks at its images."""
        monkeypatch.setattr(api_training, "open_images", look)
        later.append(command(*arguments))
        return look(*given)

    monkeypatch.setattr(api_training, "open_images", look_late)
    first = command(*arguments)
    (second,) = later
    assert (first.code, second.code) == (0, 2)
    assert second.error == (
        f"{tmp_path / 'run'} is in use by another process; wait for it or choose another --out"
    )
    assert (tmp_path / "run" / "backbone.safetensors").exists()


# Scores, features, reports


def test_evaluation_is_added_to_the_scores_of_the_run(
    command: Command, run: Path, tmp_path: Path
) -> None:
    photos = write_photos(tmp_path / "test", per_class=8)
    done = command("evaluate", run, "--data", photos, "--protocol", "knn", "--json")
    found = json.loads(done.out)
    assert found["test"] == str(photos)
    assert found["trained"]["knn"]["test_images"] == 16
    scores = json.loads((run / "scores.json").read_text())
    assert scores["trained"]["knn"] == found["trained"]["knn"]
    assert "geometry" in scores["trained"], "what was measured before stays"


def test_evaluation_prints_both_encoders_and_the_next_command(command: Command, run: Path) -> None:
    done = command("evaluate", run)
    assert done.code == 0
    assert done.out.splitlines()[0].split() == [
        "held-out",
        "images",
        "this",
        "encoder",
        "untrained",
    ]
    assert done.out.splitlines()[-1].startswith("next: sparring ")


def test_embedding_writes_features_keys_and_labels(
    command: Command, trained: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "features.npz"
    done = command("embed", trained, "--data", photos, "--out", out)
    assert done.code == 0
    assert done.out == f"{out}: features of 64 images, 32 channels each\n"
    with np.load(out) as arrays:
        assert arrays["features"].shape == (64, 32)
        assert arrays["keys"][0] == "blue/000.png"
        assert arrays["labels"].tolist() == [0] * 32 + [1] * 32


def test_embedding_without_labels_writes_none(
    command: Command, trained: Path, photos: Path, tmp_path: Path
) -> None:
    assert (
        command("embed", trained, "--data", photos / "red", "--out", tmp_path / "f.npz").code == 0
    )
    with np.load(tmp_path / "f.npz") as arrays:
        assert set(arrays) == {"features", "keys"}


def test_report_is_one_page_and_its_name_is_printed(
    command: Command, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report.html"
    done = command("report", trained, "--out", out)
    assert (done.code, done.out) == (0, f"{out}\n")
    assert out.read_text().startswith("<!")


def test_protocols_are_listed_and_described_with_their_variants_and_settings(
    command: Command,
) -> None:
    listed = command("protocols").out
    described = command("protocols", "linear").out
    names = json.loads(command("protocols", "--json").out)
    assert listed.count("labels: ") == len(names)
    assert "how accurate is a linear classifier of the frozen features?" in listed
    assert "linear:adco" in listed
    for part in ("Question:", "Source:", "linear:caco", "[linear]", "validation_share = 0.2"):
        assert part in described
    assert names["linear"]["variants"]["caco"]["recipe"]["optimizer"] == "lars"


def test_a_protocol_of_a_file_is_described_and_its_score_is_shown(
    command: Command, photos: Path, run: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from sparring.evaluation.protocol import Protocol\n"
        "def half(evaluated, data, settings): return {'share': 0.5}\n"
        "HALF = Protocol(name='one-half', function=half, headline='share', question='half?')\n"
    )
    done = command("evaluate", run, "--data", photos, "--protocol", f"{file}:HALF")
    assert done.code == 0
    assert any(
        line.split() == ["one-half", "50.0", "%", "50.0", "%"] for line in done.out.splitlines()
    )
    assert "Question:  half?" in command("protocols", f"{file}:HALF").out
    wrong = command("protocols", f"{file}:HALV")
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)
    assert "did you mean 'HALF'?" in wrong.err


def test_a_protocols_setting_and_variant_come_from_the_command_line(
    command: Command, run: Path, photos: Path
) -> None:
    arguments = (
        "--data",
        photos,
        "--protocol",
        "knn,linear:clae",
        "--set",
        "knn.num_neighbors=7",
        "--set",
        "linear.recipe.epochs=2",
    )
    done = command("evaluate", run, *arguments, "--seed", "5", "--limit", "40", "--json")
    assert done.code == 0, done.err
    scores = json.loads(done.out)
    assert scores["trained"]["knn"]["num_neighbors"] == 7
    assert scores["untrained"]["linear:clae"]["epochs"] == 2
    kept = json.loads((run / "scores.json").read_text())
    assert kept["trained"]["linear:clae"] == scores["trained"]["linear:clae"]
    assert "linear" in kept["trained"]  # from the end of the run
    shown = command("report", run, "--out", run / "report.html")
    assert shown.code == 0
    assert "Linear probe, clae" in (run / "report.html").read_text()
