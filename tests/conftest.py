"""Shapes in signatures are checked at run time; one thread, so that sums have one order."""

from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

# beartype cannot check typing.Self or plain protocols, so packages that use them stay outside.
WITH_SHAPES = (
    "acceleration.bank_games",
    "acceleration.bank_softmax",
    "acceleration.given_gradient",
    "acceleration.largest",
    "acceleration.narrow_batch_norm",
    "data.views",
    "measures",
    "methods",
    "models",
    "negatives",
    "objectives",
    "opponents",
    "optim",
)
install_import_hook([f"sparring.{package}" for package in WITH_SHAPES], "beartype.beartype")

torch.set_num_threads(1)

pytest_plugins = ["hub_sets", "tiny"]

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def shared_data() -> Path:
    """Folder of real images; the test is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real images of ../shared/data are not here")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def cache_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stores of decoded images go to a folder of the test session."""
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
