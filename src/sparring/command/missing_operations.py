"""Setting needed before torch is imported: where operations run that Apple's GPUs (MPS) lack."""

import os
import sys

FALLBACK = "PYTORCH_ENABLE_MPS_FALLBACK"
"""Environment variable that PyTorch reads once, when it is imported."""


def settle_missing_operations() -> None:
    """Let the CPU compute what MPS cannot, unless the user has set it."""
    if sys.platform == "darwin":
        os.environ.setdefault(FALLBACK, "1")
