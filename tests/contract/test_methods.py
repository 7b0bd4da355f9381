"""Every shipped method against the public contract; no method is known by name here."""

import pytest

from sparring.contract.check import Check
from sparring.methods import registry
from sparring.testing import method_checks

CHECKS = [
    pytest.param(check, id=f"{name}: {check.name}", marks=[pytest.mark.slow] * check.is_slow)
    for name in registry.shipped("method")
    for check in method_checks(name)
]


@pytest.mark.parametrize("check", CHECKS)
def test_a_method_keeps_the_contract(check: Check) -> None:
    check.run()
