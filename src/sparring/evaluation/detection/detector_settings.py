"""Settings that object detection and instance segmentation share."""

from typing import Literal, Self

from pydantic import Field, model_validator

from sparring.config import Settings

# Sides below this round the strides of the maps to other powers of two in torchvision's RoI
# pooling.
_SMALLEST = 96


class DetectorSettings(Settings):
    """Base of the settings of `detection` and `instance-segmentation`; the defaults train on small
    sets of small images within minutes."""

    architecture: Literal["fpn", "c4"] = "fpn"
    """`fpn`: a feature pyramid and two linear layers (Lin et al. 2017, arXiv:1612.03144); `c4`: the
    map of the third stage, and the fourth stage on each region (Ren et al. 2015, arXiv:1506.01497;
    with a batch norm after it as in MoCo, He et al. 2020)."""
    steps: int = Field(default=300, ge=1)
    """Training steps."""
    batch_size: int = Field(default=4, ge=1)
    """Images per step; the batch norms learn from them together, and the papers take 16."""
    learning_rate: float = Field(default=0.05, gt=0)
    """Learning rate of SGD with momentum 0.9; 0.02 in the papers, which take many more steps."""
    drops: tuple[float, ...] = (0.75, 0.92)
    """Shares of the steps after which the rate falls to a tenth; 18k and 22k of 24k in MoCo's
    recipe for VOC."""
    warmup_steps: int = Field(default=50, ge=0)
    """Steps on which the rate rises from a thousandth; 100 in the recipe for VOC."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """Weight decay of SGD; 1e-4 in the papers."""
    min_size: tuple[int, ...] = (208, 240, 272)
    """Shorter sides in pixels, of which one is drawn per image and step."""
    max_size: int = Field(default=480, ge=_SMALLEST)
    """Bound of the longer side; it wins over the shorter one."""
    test_size: int = Field(default=240, ge=_SMALLEST)
    """Shorter side when scoring."""
    anchor_scale: float = Field(default=4.0, gt=0)
    """Sides of the anchors in strides of their map; 8 with a pyramid and 2 to 32 on one map (32 to
    512 px) in the papers, for images of 800 px. On one map this scales those five: half of them at
    4."""
    channels: int = Field(default=32, ge=1)
    """Channels of the pyramid and of the mask head; 256 in the papers."""
    hidden: int = Field(default=256, ge=1)
    """Width of the pyramid's two linear layers; 1024 in the papers."""
    regions: int = Field(default=128, ge=1)
    """Regions per image that the box head learns from; 512 in the papers."""
    proposals: int = Field(default=300, ge=1)
    """Regions per image that the box head is offered in scoring, and twice as many in training;
    1000 in the papers."""
    precise_steps: int = Field(default=20, ge=0)
    """Batches over which the batch norms' statistics are taken anew before scoring; 200 in the
    papers' code; 0: running averages."""
    score_threshold: float = Field(default=0.05, ge=0, lt=1)
    """Detections below this are left out; 0.05 in the papers."""
    max_detections: int = Field(default=100, ge=1)
    """Largest number of detections per image; COCO counts the first 100."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.min_size or min(self.min_size) < _SMALLEST:
            raise ValueError(f"min_size needs sides of at least {_SMALLEST} px")
        if self.max_size < max(*self.min_size, self.test_size):
            raise ValueError("max_size must be at least every min_size and test_size")
        if not all(0 < share < 1 for share in self.drops):
            raise ValueError("drops are shares of the steps, between 0 and 1")
        return self
