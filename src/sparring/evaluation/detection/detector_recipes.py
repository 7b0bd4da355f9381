"""Settings of the detectors by name. Importing this file does not import torch: the catalogue reads
it."""

from sparring.config import Tree

_PAPER: Tree = {
    "batch_size": 16,
    "learning_rate": 0.02,
    "warmup_steps": 100,
    "max_size": 1333,
    "test_size": 800,
    "anchor_scale": 8.0,
    "channels": 256,
    "hidden": 1024,
    "regions": 512,
    "proposals": 1000,
    "precise_steps": 200,
}
_COCO: Tree = {"min_size": tuple(range(640, 801, 32)), "drops": (2 / 3, 8 / 9)}

_COCO_C4_2X: Tree = {**_PAPER, **_COCO, "architecture": "c4", "steps": 180_000}

_RECIPES: dict[str, Tree] = {
    # Either architecture, with everything else as it is by default.
    "fpn": {"architecture": "fpn"},
    "c4": {"architecture": "c4"},
    # Faster R-CNN with a ResNet-50's fourth stage as head, 24k steps of 16 images of VOC 07 and 12.
    "voc-c4": {
        **_PAPER,
        "architecture": "c4",
        "steps": 24_000,
        "drops": (0.75, 22 / 24),
        "min_size": tuple(range(480, 801, 32)),
    },
    # 180k steps of 16 images of COCO train2017: twice detectron2's standard schedule.
    "coco-c4-2x": _COCO_C4_2X,
    "coco-fpn-2x": {**_COCO_C4_2X, "architecture": "fpn"},
    "coco-fpn-1x": {**_COCO_C4_2X, "architecture": "fpn", "steps": 90_000},
}


def detector_variants(*names: str) -> dict[str, Tree]:
    """Settings of the named recipes, as variants of a protocol that trains a detector."""
    return {name: _RECIPES[name] for name in names}
