"""Fast paths are on in these tests, also where the rest of the suite runs without them."""

import pytest


@pytest.fixture(autouse=True)
def fast_paths_are_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says; a test of the switch turns it off itself."""
    monkeypatch.setenv("SPARRING_ACCELERATION", "on")
