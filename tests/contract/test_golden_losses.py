"""The first losses of every method are those on file."""

import pytest

from golden import first_losses, golden
from sparring.methods import registry


def test_every_shipped_method_has_golden_losses() -> None:
    assert golden().keys() == registry.shipped("method").keys()


@pytest.mark.parametrize("method", registry.shipped("method"))
def test_the_first_losses_are_the_golden_ones(method: str) -> None:
    # Processors round convolutions differently, and six steps amplify it; a changed algorithm
    # differs in the first digits. A cosine may be near 0, where its rounding is absolute.
    assert first_losses(method) == pytest.approx(golden()[method], rel=2e-3, abs=1e-4)
