"""torchvision and timm work although they were imported without PyTorch's compiler, which comes when it is asked for."""

import subprocess
import sys
import textwrap
from pathlib import Path

START = """
import sys
import torch
"""

TRAINS = """
from pathlib import Path
import sparring
images = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
settings = {"encoder": {"width": 0.125}, "training": {"monitor_images": 16}}
for optimizer in ("sgd", "adamw", "lars"):
    own = settings | {"players": {"encoder": {"optimizer": optimizer}}}
    sparring.train(images, out=Path(sys.argv[1]) / optimizer, method="simclr", settings=own, epochs=1, batch_size=32, device="cpu")
assert "torch._dynamo" not in sys.modules
assert "torch._dynamo.utils" not in sys.modules
"""

ASKS = """
own = torch.compiler.disable
from sparring.vision import timm, torchvision
from timm.models import naflexvit
assert torch.compiler.disable is own

# A function that the compiler must leave alone works, and knows its name.
assert naflexvit.NaFlexRopeIterator.__next__.__name__ == "__next__"
assert naflexvit.disable_compiler(recursive=False)(lambda number: number + 1)(1) == 2

# torchvision's question is answered by the compiler itself.
from torchvision.ops.roi_align import is_compile_supported
assert is_compile_supported("cpu") is sys.modules["torch._dynamo.utils"].is_compile_supported("cpu")
boxes = [torch.tensor([[0.0, 0.0, 4.0, 4.0]])]
crop = torch.compile(lambda images: torchvision.ops.roi_align(images, boxes, 2) + 1, backend="eager")
images = torch.arange(64.0).view(1, 1, 8, 8)
assert torch.equal(crop(images), torchvision.ops.roi_align(images, boxes, 2) + 1)
"""

FAILS = """
import importlib
from unittest.mock import patch
real, asked = importlib.import_module, []

def without_the_name(name, *given, **named):
    asked.append(name)
    if name == "torchvision.io":
        del sys.modules["torch._dynamo.utils"].is_compile_supported  # as if a version wanted another name
    return real(name, *given, **named)

with patch("importlib.import_module", without_the_name):
    from sparring.vision import timm, torchvision
assert asked[0] == "torchvision.io"
assert "timm" not in asked
assert "torch._dynamo" in sys.modules
assert torch.equal(torchvision.ops.nms(torch.tensor([[0.0, 0, 1, 1]]), torch.ones(1), 0.5), torch.tensor([0]))
assert timm.create_model("resnet18", num_classes=0).num_features == 512
"""


def run(program: str, *arguments: str) -> None:
    """In a process of its own, as this one has the compiler already."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(START + program), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_training_never_imports_the_compiler(tmp_path: Path) -> None:
    run(TRAINS, str(tmp_path))


def test_the_names_that_were_lent_ask_the_compiler() -> None:
    run(ASKS)


def test_versions_that_want_more_are_imported_as_usual() -> None:
    run(FAILS)
