"""Checks of an installation, for `sparring doctor`."""

import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True)
class Finding:
    """Result of one check: its name, whether it passed, and details."""

    name: str
    is_ok: bool
    detail: str


def run_checks() -> list[Finding]:
    """Results of all checks; a check that raises has failed."""
    checks: dict[str, Callable[[], str]] = {
        "torch and torchvision": _torch,
        "image decoding": _decoding,
        "views on the CPU": _views,
        "backbones": _backbones,
        "devices": _devices,
        "parquet": _parquet,
        "cache": _cache,
    }
    findings = []
    for name, check in checks.items():
        try:
            findings.append(Finding(name, True, check()))
        except Exception as error:  # any error is a finding
            findings.append(
                Finding(
                    name, False, ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
                )
            )
    return findings


def _torch() -> str:
    import torch
    import torchvision

    # A torchvision built for another torch can be imported, but lacks its operators.
    torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    return f"{version('torch')}, {version('torchvision')}"


def _decoding() -> str:
    from PIL import Image

    from sparring.data.decode import decode

    content = io.BytesIO()
    Image.new("RGB", (8, 8), (255, 0, 0)).save(content, "JPEG")
    assert decode(content.getvalue()).shape == (3, 8, 8)
    return "JPEG decodes"


def _views() -> str:
    from sparring.acceleration import view_kernel

    if view_kernel.library():
        return "compiled kernel"
    return (
        "PyTorch's own kernels, three times as slow as the compiled kernel, which is not here; "
        "install a wheel for this platform, or install again where there is a C compiler"
    )


def _backbones() -> str:
    import timm

    return f"timm {version('timm')}, {len(timm.list_models()):,} models"


def _devices() -> str:
    import torch

    found = ["cpu"]
    found += [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    found += ["mps"] if torch.backends.mps.is_available() else []
    threads = torch.get_num_threads()
    return f"{', '.join(found)}; {threads} thread{'s' * (threads > 1)}"


def _parquet() -> str:
    try:
        return f"pyarrow {version('pyarrow')}"
    except ModuleNotFoundError:
        return "pyarrow is not installed; parquet data needs `pip install sparring[parquet]`"


def _cache() -> str:
    from sparring.data.store import cache_folder

    folder = cache_folder(None)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 2**30
    if free < 1:
        raise OSError(f"{folder}: only {free:.1f} GiB free")
    return f"{_with_tilde(folder)}, {free:.0f} GiB free"


def _with_tilde(path: Path) -> str:
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
