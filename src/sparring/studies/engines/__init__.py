"""Engines on which the runs of a study are made."""

from sparring.studies.engines.engine import OPTIONS, run_orders

__all__ = ["OPTIONS", "run_orders"]
