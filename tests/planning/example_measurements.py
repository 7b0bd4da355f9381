"""Made-up measurements, as input of the tests."""

from dataclasses import replace
from typing import Any

from sparring.planning.measurement import Measurement

MIB = 2**20

EXAMPLE = Measurement(
    batch_size=16,
    seconds=[2.0, 1.0, 30.0],
    cpu_seconds=[1.0],
    monitor_seconds=10.0,
    cpu_monitor_seconds=10.0,
    checkpoint_seconds=0.0,
    opponent_pretraining_seconds=0.0,
    bytes_before=300 * MIB,
    bytes_of_steps=500 * MIB,
    bytes_of_all=500 * MIB,
    bytes_at_rest=400 * MIB,
    store_bytes=0,
    unread_store_bytes=0,
    free_bytes=None,
    weight_bytes=10 * MIB,
    gradient_bytes=10 * MIB,
    optimizer_bytes=10 * MIB,
    feature_channels=64,
)
"""Measurement at batch size 16; the median step takes 2 s."""


def measurement_with(**changed: Any) -> Measurement:
    """Copy of `EXAMPLE` with some fields changed."""
    return replace(EXAMPLE, **changed)
