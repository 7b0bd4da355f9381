"""Orders of a study: pair by pair, with keys that say which runs are equal."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_studies import SETTINGS, changed, photos, small_study

import sparring
from sparring.config import merged
from sparring.errors import ConfigError, DataError
from sparring.studies import history, keys
from sparring.studies.folder import StudyFolder
from sparring.studies.ordering import orders
from sparring.studies.orders import RunOrder
from sparring.studies.plan import Study
from sparring.training.configure import configure
from sparring.training.metrics import read_metrics
from sparring.training.opening import open_images
from sparring.training.run_folder import RunFolder

SECONDS = {"adco": 0.3, "adco/queue": 0.2, "mocov2": 0.1}


def keys_of(study: Study, folder: Path | str = "study", **given: Any) -> list[str]:
    """Keys of all runs of a study, in their order."""
    return [one.key for one in orders(study, folder, **given)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Sixteen photos of two colours."""
    return photos(tmp_path)


def test_all_arms_of_a_seed_come_before_the_next_seed(data: Path) -> None:
    found = orders(small_study(data, shares=[0.5, 1.0]), "study")
    assert [(one.name.seed, one.name.share, one.name.arm) for one in found] == [
        (seed, share, arm)
        for seed in (0, 1)
        for share in (1.0, 0.5)
        for arm in ("adco", "adco/queue", "mocov2")
    ]
    assert len(orders(small_study(data), "study", pairs=1)) == 3


def test_an_order_can_be_sent_anywhere(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data.parent)
    study = small_study(Path("photos"), tests=[{"name": "own", "data": "photos"}])
    order = pickle.loads(pickle.dumps(orders(study, "study")[0]))
    assert Path(order.study) == data.parent / "study"
    assert Path(order.data) == data
    assert Path(order.tests[0].data) == data
    assert order.train == {
        "method": "adco",
        "recipe": "adco-small",
        "settings": SETTINGS,
        "epochs": 3,
        "device": "auto",
        "seed": 0,
    }


def test_a_share_is_drawn_by_the_seed_of_the_run(data: Path) -> None:
    found = orders(small_study(data, shares=[0.5]), "study")
    drawn = {}
    for order in found:
        _, images = open_images(configure(order.data, **order.train), order.data, None)
        assert len(images) == 8
        drawn[order.name.arm, order.name.seed] = list(images.keys)
    assert drawn["adco", 0] == drawn["mocov2", 0] != drawn["mocov2", 1]


def test_every_run_has_a_key_of_its_own(data: Path) -> None:
    found = keys_of(small_study(data, shares=[0.5, 1.0], equal="both"), step_seconds=SECONDS)
    # The reference of equal time has its own length, so its two runs are one.
    assert len(found) == 24
    assert len(set(found)) == 20


def test_moved_images_and_another_folder_keep_the_keys(data: Path) -> None:
    tests = [{"name": "test", "data": str(photos(data.parent, name="test", per_class=2))}]
    before = keys_of(small_study(data, tests=tests))
    moved = data.parent / "moved"
    shutil.move(data, moved)
    (data.parent / "test").rename(data.parent / "other")
    tests[0]["data"] = str(data.parent / "other")
    assert keys_of(small_study(moved, tests=tests), "elsewhere") == before


@pytest.mark.parametrize(
    "settings",
    [
        {"data": {"workers": 3}},
        {"data": {"cache": "/some/where"}},
        {"training": {"checkpoint_minutes": 1.0}},
        {"training": {"keep_checkpoints": 5}},
    ],
)
def test_settings_without_an_effect_keep_the_keys(data: Path, settings: dict[str, Any]) -> None:
    study = small_study(data)
    other = changed(study, settings=merged(dict(study.settings), settings))
    assert keys_of(other) == keys_of(study)


def test_the_number_of_a_device_keeps_the_keys_and_its_kind_does_not(data: Path) -> None:
    study = small_study(data, device="cuda:0")
    assert keys_of(changed(study, device="cuda:1")) == keys_of(study)
    assert keys_of(changed(study, device="cpu")) != keys_of(study)


@pytest.mark.parametrize(
    "fields",
    [
        {"epochs": 4},
        {"threads": 2},
        {"protocols": ["knn", "linear"]},
        {"protocol_settings": {"knn": {"num_neighbors": 3}}},
        {"settings": merged(SETTINGS, {"training": {"log_steps": 3}})},
        {"settings": merged(SETTINGS, {"views": {"flip": 0.1}})},
        {"settings": merged(SETTINGS, {"data": {"limit": 8}})},
        {"tests": [{"name": "own", "data": ""}]},
    ],
)
def test_whatever_matters_changes_the_keys(data: Path, fields: dict[str, Any]) -> None:
    study = small_study(data)
    assert not {*keys_of(study)} & {*keys_of(changed(study, **fields))}


def test_other_images_or_labels_change_the_keys(data: Path) -> None:
    test = photos(data.parent, name="test", per_class=2)
    study = small_study(data, tests=[{"name": "test", "data": str(test)}])
    before = {*keys_of(study)}
    next(test.rglob("*.png")).unlink()
    less = {*keys_of(study)}
    next(data.rglob("*.png")).unlink()
    assert not before & less
    assert not less & {*keys_of(study)}


def test_other_labels_of_the_own_images_change_the_keys(data: Path) -> None:
    listed = data.parent / "list.csv"

    def keys_with(labels: str) -> set[str]:
        """Keys where the photos have these classes in turn."""
        photos = sorted(data.rglob("*.png"))
        rows = [f"{photo},{labels[n % 2]}" for n, photo in enumerate(photos)]
        listed.write_text("\n".join(["path,label", *rows, ""]))
        return {*keys_of(small_study(listed))}

    assert keys_with("ab") == keys_with("ab")
    assert not keys_with("ab") & keys_with("aa")


def test_a_protocol_in_a_file_is_known_by_its_content(data: Path, tmp_path: Path) -> None:
    text = (
        "from dataclasses import replace\n"
        "from sparring.evaluation.catalogue import PROTOCOLS\n"
        "KNN = PROTOCOLS['knn']\n"
        "parts = {'function': KNN.load_function(), 'settings': KNN.load_settings()}\n"
        "PROTOCOL = replace(KNN, name='near', module=__name__, **parts)\n"
    )

    def keys_with(file: str, more: str = "") -> list[str]:
        """Keys where this file scores the runs too."""
        (tmp_path / file).write_text(text + more)
        return keys_of(small_study(data, protocols=["knn", f"{tmp_path / file}:PROTOCOL"]))

    first = keys_with("one.py")
    assert keys_with("two.py") == first
    assert not {*keys_with("three.py", "# changed\n")} & {*first}


def test_weights_of_a_run_are_known_by_their_content(data: Path, tmp_path: Path) -> None:
    def key_with(content: bytes, folder: str) -> str:
        """Key of a run that starts from the backbone of a run folder."""
        place = tmp_path / folder / "backbone.safetensors"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(content)
        encoder = {"encoder": {"weights": str(place.parent)}}
        study = small_study(data, settings=merged(SETTINGS, encoder))
        return keys_of(study)[0]

    first = key_with(b"one", "run")
    assert key_with(b"one", "moved") == first
    assert key_with(b"two", "run") != first


def test_another_version_changes_the_keys(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys_of(small_study(data))
    monkeypatch.setattr(keys, "version", lambda package: "99")
    assert not {*before} & {*keys_of(small_study(data))}


def test_a_default_that_is_spelt_out_is_the_same_run(data: Path) -> None:
    study = small_study(data)
    spelt = changed(study, protocol_settings={"knn": {"temperature": 0.1}})
    steps = merged(SETTINGS, {"training": {"num_steps": 3 * 4}})
    assert keys_of(spelt) == keys_of(study)
    assert keys_of(changed(study, settings=steps)) == keys_of(study)


def test_arms_get_the_time_of_the_second_arm_of_the_primary_contrast(data: Path) -> None:
    found = orders(small_study(data, equal="time", seeds=1), "study", step_seconds=SECONDS)
    lengths = {one.name.arm: one.train["settings"]["training"].get("num_steps") for one in found}
    # 3 epochs of 4 steps of the twin take 2.4 s.
    assert lengths == {"adco": 8, "adco/queue": None, "mocov2": 24}
    assert all(one.name.budget == "time" for one in found)


def test_equal_time_needs_measured_seconds_which_the_folder_keeps(
    data: Path, tmp_path: Path
) -> None:
    study, folder = small_study(data, equal="time"), StudyFolder(tmp_path / "study")
    with pytest.raises(ConfigError, match="needs the seconds of a step of adco, got None"):
        orders(study, folder)
    history.written(folder, study, step_seconds=SECONDS)
    first = keys_of(study, folder.path)
    history.written(folder, study, step_seconds=dict.fromkeys(SECONDS, 1.0))
    assert keys_of(study, folder.path) == first


def trained(order: RunOrder, folder: Path) -> RunFolder:
    """Run of an order."""
    sparring.train(order.data, out=folder, progress=False, **order.train)
    return RunFolder(folder)


def test_runs_of_equal_keys_are_equal_to_the_bit(data: Path, tmp_path: Path) -> None:
    study = small_study(data, shares=[0.5], epochs=2)
    steps = merged(SETTINGS, {"training": {"num_steps": 4, "checkpoint_minutes": 0.0}})
    other = small_study(photos(tmp_path / "elsewhere"), shares=[0.5], epochs=9, settings=steps)
    first, second = (orders(one, tmp_path / "study")[5] for one in (study, other))
    assert first.name.seed == 1
    assert first.key == second.key
    weights = [
        load_file(trained(order, tmp_path / name).backbone)
        for name, order in (("first", first), ("second", second))
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_an_order_of_equal_time_makes_its_steps(data: Path, tmp_path: Path) -> None:
    study = small_study(data, equal="time", seeds=1)
    order = orders(study, tmp_path / "study", step_seconds=SECONDS)[0]
    run = trained(order, tmp_path / "run")
    assert read_metrics(run.metrics)[-1]["step"] == 8 - 1
    assert run.read_environment()["planned_steps"] == 8


def test_images_that_are_not_there_are_named(tmp_path: Path, data: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        orders(small_study(tmp_path / "none"), "study")
    tests = [{"name": "street", "data": str(tmp_path / "none")}]
    with pytest.raises(DataError, match="tests, 'street', data: no such file"):
        orders(small_study(data, tests=tests), "study")


def test_a_method_in_a_file_is_known_by_its_content(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "import sparring\n"
        "from sparring.methods.simclr import SimCLR as Base\n"
        "class Mine(sparring.Method):\n"
        '    """A method."""\n'
        "    settings_class = Base.settings_class\n"
        "    def __init__(self, encoder, settings, *, generator):\n"
        "        super().__init__()\n"
        "    def loss(self, views, context):\n"
        "        raise NotImplementedError\n"
        "    def step(self, views, players, context):\n"
        "        raise NotImplementedError\n"
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()

    def made(file: str) -> tuple[str, str]:
        """Key and method of the order of a file's class."""
        (tmp_path / file).write_text(text)
        arms = [{"name": "mine", "method": f"{file}:Mine"}]
        (order, *_) = orders(small_study(data, arms=arms), "study")
        return order.key, order.train["method"]

    first, moved = made("mine.py"), made("elsewhere/other.py")
    assert first[1] == f"{tmp_path / 'mine.py'}:Mine"
    assert first[0] == moved[0]
    text += "# changed\n"
    assert made("mine.py")[0] != first[0]
