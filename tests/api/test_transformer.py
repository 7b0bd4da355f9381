"""`SparringTransformer` in scikit-learn's own checks, pipelines and searches."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sparring
from sparring.errors import ConfigError, DataError
from tiny import tiny_images

pytest.importorskip("sklearn")

IMAGES, LABELS = tiny_images(16)


def small(**given: Any) -> "sparring.SparringTransformer":
    """A transformer that trains for two steps."""
    training = {"max_steps": 2, "monitor_images": 8}
    settings = {"encoder": {"width": 0.0625}, "projector": {"dim": 8}, "training": training}
    short = {"method": "simclr", "epochs": 1, "batch_size": 8, "settings": settings}
    return sparring.SparringTransformer(**short | {"image_size": 16, "device": "cpu"} | given)


@pytest.fixture(scope="module")
def fitted() -> "sparring.SparringTransformer":
    """A fitted transformer; tests leave it as it is."""
    return small().fit(IMAGES)


@pytest.mark.slow
def test_scikit_learns_checks_pass() -> None:
    from sklearn.utils.estimator_checks import check_estimator

    # Rows of any length are images one pixel high, so that every check applies.
    estimator = small(image_shape=(1, -1), image_size=8)
    found = check_estimator(estimator, on_skip=None)
    states = {one["check_name"]: one["status"] for one in found}
    skipped = {name for name, status in states.items() if status != "passed"}
    assert skipped == {"check_array_api_input"}  # runs with SCIPY_ARRAY_API alone
    assert len(states) > 40


def test_features_are_those_of_the_kept_run(tmp_path: Path) -> None:
    transformer = small(out=tmp_path / "run")
    features = transformer.fit_transform(IMAGES)
    assert features.dtype == np.float32
    assert features.shape == (len(IMAGES), 32)
    # The same encoder, embedded by the library.
    theirs = sparring.embed(tmp_path / "run", IMAGES, device="cpu", progress=False).features
    np.testing.assert_allclose(features, theirs, rtol=1e-5, atol=1e-6)
    with pytest.raises(sparring.SparringError, match="holds a run already"):
        transformer.fit(IMAGES)


def test_no_folder_is_left_without_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    small().fit(IMAGES)
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_used_without_fitting(tmp_path: Path, fitted: Any) -> None:
    features = small(out=tmp_path / "run").fit_transform(IMAGES)
    unfitted = sparring.SparringTransformer(run=tmp_path / "run", device="cpu")
    assert (unfitted.transform(IMAGES) == features).all()
    assert (unfitted.fit(IMAGES[:2]).transform(IMAGES) == features).all()
    assert len(unfitted.get_feature_names_out()) == features.shape[1]


FORMS: dict[str, Callable[[Path], Any]] = {
    "channels first": lambda folder: IMAGES.transpose(0, 3, 1, 2),
    "PIL": lambda folder: [Image.fromarray(image) for image in IMAGES],
    "paths": lambda folder: sorted(str(path) for path in folder.iterdir()),
    "folder": lambda folder: folder,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_same_images_gives_the_same_features(
    form: str, tmp_path: Path, fitted: Any
) -> None:
    for number, image in enumerate(IMAGES):
        Image.fromarray(image).save(tmp_path / f"{number:03}.png")
    features = fitted.transform(FORMS[form](tmp_path))
    np.testing.assert_allclose(features, fitted.transform(IMAGES), rtol=1e-5, atol=1e-6)


def test_grey_images_need_one_setting_and_rows_their_shape() -> None:
    rows = IMAGES[..., 0].reshape(len(IMAGES), -1)
    with pytest.raises(DataError, match=r"say which image a row is, such as image_shape=\(8, 8\)"):
        small().fit(rows)
    features = small(image_shape=(16, 16)).fit(rows).transform(rows[:3])
    assert features.shape == (3, 32)
    with pytest.raises(DataError, match=r"image_shape=\(5, 5\) does not fit rows of 256 numbers"):
        small(image_shape=(5, 5)).fit(rows)


def test_a_table_has_named_columns_by_set_output(fitted: Any) -> None:
    from sklearn.base import clone

    table = clone(small()).set_output(transform="pandas").fit_transform(IMAGES)
    assert list(table.columns[:2]) == ["sparringtransformer0", "sparringtransformer1"]
    assert table.shape == (len(IMAGES), 32)


def test_an_unreadable_image_is_named_and_no_row_is_lost(tmp_path: Path, fitted: Any) -> None:
    for number, image in enumerate(IMAGES[:4]):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    (tmp_path / "2.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"^1 image cannot be read.*2\.png"):
        fitted.transform(tmp_path)


def test_a_fitted_transformer_is_pickled_whole(tmp_path: Path) -> None:
    transformer = small(out=tmp_path / "run").fit(IMAGES)
    features = transformer.transform(IMAGES)
    (tmp_path / "pickle").write_bytes(pickle.dumps(transformer))
    np.save(tmp_path / "images.npy", IMAGES)
    np.save(tmp_path / "features.npy", features)
    (tmp_path / "run").rename(tmp_path / "gone")
    code = (
        "import numpy, pickle\nfound = pickle.load(open('pickle', 'rb'))\n"
        "theirs = found.transform(numpy.load('images.npy'))\n"
        "assert (theirs == numpy.load('features.npy')).all()\nprint(found)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(sparring.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "SparringTransformer(" in done.stdout


def test_an_unfitted_transformer_says_so() -> None:
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError, match="call fit, or give run="):
        small().transform(IMAGES)


def test_a_missing_scikit_learn_costs_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    monkeypatch.delitem(sys.modules, "sparring.api.transformer", raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'sparring\[sklearn\]'"):
        _ = sparring.SparringTransformer


@pytest.mark.slow
@pytest.mark.shared
def test_a_search_in_a_pipeline_chooses_on_real_images(shared_data: Path) -> None:
    from io import BytesIO

    import pyarrow.parquet as parquet
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline

    table = parquet.read_table(shared_data / "cifar10-test.parquet").slice(0, 120).to_pydict()
    images = np.stack([np.asarray(Image.open(BytesIO(one["bytes"]))) for one in table["image"]])
    labels = np.array(table["label"]) % 2
    pipeline = make_pipeline(small(image_size=32), LogisticRegression(max_iter=2000))
    search = GridSearchCV(pipeline, {"sparringtransformer__epochs": [1, 2]}, cv=2)
    search.fit(images, labels)
    assert search.cv_results_["mean_test_score"].shape == (2,)
    assert search.best_estimator_.predict(images[:7]).shape == (7,)


@pytest.mark.slow
def test_everything_is_imported_without_scikit_learn() -> None:
    lines = ["import sys", "sys.modules['sklearn'] = None", "from sparring import *"]
    shown = "print(callable(train), 'SparringTransformer' in dir())"
    command = [sys.executable, "-c", "\n".join([*lines, shown])]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True", "False"]


@pytest.mark.slow
def test_another_run_that_is_given_later_is_the_one_in_use(tmp_path: Path) -> None:
    first, second = (
        small(out=tmp_path / str(seed), seed=seed).fit(IMAGES).transform(IMAGES) for seed in (0, 1)
    )
    transformer = small(run=tmp_path / "0")
    np.testing.assert_array_equal(transformer.transform(IMAGES), first)
    transformer.set_params(run=tmp_path / "1")
    np.testing.assert_array_equal(transformer.transform(IMAGES), second)
