"""Frozen protocols on class labels against the public contract, at toy size; the others need boxes,
masks, domains or minutes, and have tests of their own."""

from dataclasses import replace

import pytest

from sparring.contract.check import Check
from sparring.evaluation.catalogue import PROTOCOLS
from sparring.evaluation.data import EvaluationData
from sparring.evaluation.protocol import Protocol, Result
from sparring.testing import check_protocol, protocol_checks

QUICK = [
    protocol
    for protocol in PROTOCOLS.values()
    if protocol.is_frozen and not protocol.is_joint and protocol.labels in ("none", "classes")
]
CHECKS = [
    pytest.param(
        check, id=f"{protocol.name}: {check.name}", marks=[pytest.mark.slow] * bool(number)
    )
    for protocol in QUICK
    for number, check in enumerate(protocol_checks(protocol))
]


@pytest.mark.parametrize("check", CHECKS)
def test_a_protocol_keeps_the_contract(check: Check) -> None:
    check.run()


def test_a_protocol_that_changes_the_encoder_is_told() -> None:
    def spoils(evaluated: object, data: object, settings: object) -> dict[str, float]:
        evaluated.encoder.mean.add_(1)  # type: ignore[attr-defined]
        return {"accuracy": 2.0}

    broken = Protocol(name="spoils", function=spoils, question="does it spoil?")
    with pytest.raises(
        AssertionError, match=r"(?s)breaks 2 of 5 promises.*headline.*encoder as it"
    ):
        check_protocol(broken)


def test_predictions_that_are_not_of_the_scored_images_are_told() -> None:
    def of_some(_: object, data: EvaluationData, __: object) -> Result:
        known = data.classes
        half = replace(known, test_rows=known.test_rows[::2], test_labels=known.test_labels[::2])
        return {"accuracy": 0.0, "predictions": half.predictions(half.test_labels), **known.sizes}

    def as_a_list(_: object, data: EvaluationData, __: object) -> Result:
        return {"accuracy": 0.0, "predictions": data.classes.test_labels.tolist()}

    for function, told in ((of_some, "predictions of 16 of 32"), (as_a_list, "of type list")):
        broken = Protocol(name="broken", function=function, question="is it?")
        with pytest.raises(AssertionError, match=rf"(?s)breaks 1 of 5 promises.*{told}"):
            check_protocol(broken)
