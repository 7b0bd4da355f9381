"""The library as functions: what a Python user calls, with images in memory and networks of their
own."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sparring
from sparring.errors import ConfigError, DataError, RunError
from sparring.optim.schedule import Position
from tiny import PIXELS, Command, tiny_images, train_arguments

SETTINGS = {
    "encoder": {"width": 0.0625},
    "projector": {"dim": 16},
    "bank": {"size": 32},
    "training": {
        "image_size": PIXELS,
        "batch_size": 16,
        "epochs": 2,
        "monitor_images": 16,
        "log_steps": 1,
    },
}
IN_GENERAL = {key: value for key, value in SETTINGS.items() if key not in ("encoder", "bank")}


class Listener:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.steps: list[int] = []
        self.counted: set[str] = set()

    def report(self, line: str) -> None:
        self.lines.append(line)

    def count(self, what: str, done: int, total: int) -> None:
        assert 0 <= done <= total
        self.counted.add(what)

    def observe(self, position: Position, record: Mapping[str, float], warning: str | None) -> None:
        self.steps.append(position.step)


class Own(nn.Module):
    """A network that timm does not have; its output is a map."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 12, 3)

    def forward(self, images: Tensor) -> Tensor:
        second: Tensor = self.second(self.norm(self.first(images)).relu())
        return second


def own_network() -> Own:
    torch.manual_seed(5)
    return Own()


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in pairs)


def test_the_five_lines_of_the_readme_work(photos: Path, tmp_path: Path) -> None:
    run = sparring.train(
        photos, method="adco", out=tmp_path / "run", settings=SETTINGS, max_steps=2
    )
    encoder = sparring.load(tmp_path / "run")
    assert not encoder.training
    images = torch.rand(3, 3, PIXELS, PIXELS)
    assert encoder.features(images).shape == (3, 32)
    assert not encoder.features(images).requires_grad
    assert run.config.method == "adco"
    assert run.config.training.max_steps == 2
    assert same(run.encoder, encoder)
    assert run.scores == {}


def test_function_and_command_give_the_same_bits(
    command: Command, photos: Path, trained: Path, tmp_path: Path
) -> None:
    run = sparring.train(photos, out=tmp_path / "run", settings=SETTINGS)
    assert same(run.encoder, sparring.load(trained))


def test_images_in_memory_train_and_need_to_be_handed_over_again(tmp_path: Path) -> None:
    images, labels = tiny_images(32)
    listener = Listener()
    run = sparring.train(
        (images, labels), out=tmp_path / "run", settings=SETTINGS, max_steps=3, listener=listener
    )
    assert listener.steps == [0, 1, 2]
    assert listener.lines == [
        "64 images of 16 x 16 px; adco, resnet18, 2 epochs of 4 steps, stopped after 3 steps "
        "(max_steps)"
    ]
    with pytest.raises(
        DataError,
        match=r"this run was trained on images in memory; hand them over again as data=\.\.\.",
    ):
        sparring.resume(run)
    with pytest.raises(DataError, match="images in memory"):
        sparring.evaluate(run)
    assert sparring.resume(run, data=images, listener=listener).path == run.path
    assert listener.steps == list(range(8))
    scores = sparring.evaluate(
        run,
        train_data=(images, labels),
        data=tiny_images(16, seed=1),
        protocols=["knn"],
        listener=listener,
    )
    assert scores["trained"]["knn"]["test_images"] == 32
    assert run.scores["trained"] == scores["trained"]
    expected = {
        f"features of the {who} encoder, {which} images"
        for who in ("trained", "untrained")
        for which in ("training", "test")
    }
    assert listener.counted == expected


def test_a_run_on_images_in_memory_is_scored_as_its_error_says(
    command: Command, photos: Path, tmp_path: Path
) -> None:
    images, labels = tiny_images(32)
    data = list(images), labels
    listener = Listener()
    run = sparring.train(list(images), out=tmp_path / "run", settings=SETTINGS, max_steps=2)
    done = command("evaluate", run.path)
    assert done.code == 2
    assert "hand them over again as data=... (data=(images, labels) to score it)" in done.error
    assert "or name files with --data PATH" in done.error
    scores = sparring.evaluate(run, data=data, protocols=["knn", "linear"], listener=listener)
    assert scores["trained"]["knn"]["test_images"] == 12
    assert "a part of the given images is learned from, the rest is scored" in listener.lines[0]
    both = sparring.evaluate(run, data=tiny_images(4, seed=1), train_data=data, progress=False)
    assert both["trained"]["linear"]["test_images"] == 8
    assert command("evaluate", run.path, "--data", photos).code == 0
    assert command("resume", run.path, "--data", photos).code == 2
    on_purpose = ("--changed-on-purpose", "images")
    assert command("resume", run.path, "--data", photos, *on_purpose).code == 0


def test_a_run_on_other_images_in_memory_is_not_resumed(tmp_path: Path) -> None:
    images, _ = tiny_images(32)
    run = sparring.train(list(images), out=tmp_path / "run", settings=SETTINGS, max_steps=2)
    with pytest.raises(RunError, match="images"):
        sparring.resume(run, data=list(images[::-1]), max_steps=3)
    sparring.resume(run, data=list(images), max_steps=3, progress=False)


def test_labels_never_reach_training(tmp_path: Path) -> None:
    images, labels = tiny_images(32)
    shuffled = np.random.default_rng(0).permutation(labels)
    runs = [
        sparring.train(data, out=tmp_path / name, settings=SETTINGS, max_steps=3)
        for name, data in {
            "none": images,
            "true": (images, labels),
            "false": (images, shuffled),
        }.items()
    ]
    assert same(runs[0].encoder, runs[1].encoder)
    assert same(runs[0].encoder, runs[2].encoder)


def test_network_of_your_own_trains_resumes_loads_and_exports(photos: Path, tmp_path: Path) -> None:
    network = own_network()
    run = sparring.train(
        photos,
        out=tmp_path / "run",
        method="simclr",
        settings=IN_GENERAL,
        backbone=network,
        max_steps=3,
    )
    whole = sparring.train(
        photos, out=tmp_path / "whole", method="simclr", settings=IN_GENERAL, backbone=own_network()
    )
    sparring.resume(run, backbone=own_network())
    encoder = sparring.load(run, backbone=own_network())
    assert encoder.features(torch.rand(2, 3, PIXELS, PIXELS)).shape == (2, 12)
    assert same(encoder, sparring.load(whole, backbone=own_network()))
    assert not same(encoder.backbone.network, own_network()), "nothing was learned"
    scores = sparring.evaluate(run, backbone=own_network(), protocols=["geometry"])
    assert scores["trained"]["geometry"]["channels"] == 12
    sparring.export(run, out=tmp_path / "w.pt", backbone=own_network())
    own_network().load_state_dict(torch.load(tmp_path / "w.pt", weights_only=True))


def test_loading_keeps_a_network_of_your_own_as_it_was(photos: Path, tmp_path: Path) -> None:
    run = sparring.train(
        photos,
        out=tmp_path / "run",
        method="simclr",
        settings=IN_GENERAL,
        backbone=own_network(),
        max_steps=2,
    )
    given = own_network()
    sparring.load(run, backbone=given)
    assert same(given, own_network())


def test_run_with_a_network_of_your_own_asks_for_it(photos: Path, tmp_path: Path) -> None:
    run = sparring.train(
        photos,
        out=tmp_path / "run",
        method="simclr",
        settings=IN_GENERAL,
        backbone=own_network(),
        max_steps=1,
    )
    with pytest.raises(
        ConfigError,
        match=r"trained with a network of your own \(Own\); hand it over as backbone=\.\.\.",
    ):
        sparring.load(run)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epoch": 3}, "unknown argument 'epoch'; did you mean 'epochs'?"),
        ({"epochs": "many"}, r"training\.epochs: should be a valid integer"),
        ({"method": "adoc"}, "unknown method 'adoc'; did you mean 'adco'?"),
        (
            {"settings": {"bank": {"siz": 3}}},
            r"unknown setting 'bank\.siz'; did you mean 'bank\.size'?",
        ),
        ({"recipe": "adco-imagenet"}, "unknown recipe 'adco-imagenet'; did you mean"),
    ],
)
def test_wrong_argument_is_told_and_writes_nothing(
    photos: Path, tmp_path: Path, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        sparring.train(photos, out=tmp_path / "run", **arguments)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_arguments_go_before_recipe_and_settings_before_arguments(
    photos: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        'method = "simclr"\nseed = 3\n[training]\nepochs = 7\nbatch_size = 4\nimage_size = 16\n'
        "[encoder]\nwidth = 0.0625\n"
    )
    run = sparring.train(
        photos,
        out=tmp_path / "run",
        recipe=recipe,
        batch_size=8,
        max_steps=1,
        settings={"training": {"monitor_images": 9, "batch_size": 16}},
    )
    config = run.config
    assert (config.method, config.seed, config.training.epochs, config.training.batch_size) == (
        "simclr",
        3,
        7,
        16,
    )


def test_limit_looks_at_no_more_images(run: Path) -> None:
    scores = sparring.evaluate(run, protocols=["geometry"], limit=20)
    assert scores["trained"]["geometry"]["images"] == 20


def test_report_of_two_runs_is_one_page(trained: Path, run: Path, tmp_path: Path) -> None:
    listener = Listener()
    page = sparring.report(
        [trained, sparring.Run(run)], out=tmp_path / "page.html", listener=listener
    )
    assert page.read_text().count("<html") == 1
    assert "reading runs" in listener.counted


def test_path_of_a_run_may_be_text(trained: Path) -> None:
    assert same(sparring.load(str(trained)), sparring.load(trained))
    with pytest.raises(RunError, match="is not a run folder"):
        sparring.load(str(trained.parent))


def test_home_folder_is_understood_and_remembered(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(photos.parent))
    run = sparring.train(f"~/{photos.name}", out=tmp_path / "run", settings=SETTINGS, max_steps=1)
    assert run.config.data.path == str(photos)


def test_no_module_hides_a_public_name() -> None:
    # Python sets a package's attribute when a module of that name is imported; a function of the
    # same name would be gone.
    folder = Path(sparring.__file__).parent
    assert [
        name
        for name in sparring.__all__
        if (folder / name).exists() or (folder / f"{name}.py").exists()
    ] == []
    assert all(callable(getattr(sparring, name)) for name in sparring.__all__)


def test_unknown_name_in_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'sparring' has no attribute 'trian'"):
        sparring.trian  # type: ignore[attr-defined]  # noqa: B018


def test_relative_data_is_remembered_as_an_absolute_path(
    command: Command, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos.parent)
    command(*train_arguments(Path(photos.name), tmp_path / "run", "--max-steps", "1"))
    monkeypatch.chdir(tmp_path)
    assert command("resume", tmp_path / "run").code == 0
