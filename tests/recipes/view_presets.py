"""Values of every preset of views at ImageNet's 224 pixels."""

from typing import Any, NamedTuple


def view(**values: Any) -> dict[str, Any]:
    """MoCo v2's view without blur, and what this one does differently."""
    return {
        "size": 224,
        "crop_scale": (0.2, 1.0),
        "crop_ratio": (3 / 4, 4 / 3),
        "flip": 0.5,
        "jitter": 0.8,
        "brightness": 0.4,
        "contrast": 0.4,
        "saturation": 0.4,
        "hue": 0.1,
        "greyscale": 0.2,
        "blur": 0.0,
        "blur_sigma": (0.1, 2.0),
        "solarise": 0.0,
        "solarise_threshold": 128 / 255,
        **values,
    }


class Preset(NamedTuple):
    """Where a preset comes from, and its views."""

    source: str
    views: list[dict[str, Any]]


def two_sided(crop_scale: tuple[float, float]) -> list[dict[str, Any]]:
    """BYOL's pair: the first always blurred, the second seldom and sometimes solarised."""
    both: dict[str, Any] = {"crop_scale": crop_scale, "saturation": 0.2}
    return [view(**both, blur=1.0), view(**both, blur=0.1, solarise=0.2)]


DINO = "Caron et al. 2021 (DINO, arXiv:2104.14294), released main_dino.py"


def multi_crop_dino(border: float, num_small: int) -> list[dict[str, Any]]:
    """BYOL's pair of large crops, and small ones that are blurred half the time."""
    small = view(saturation=0.2, blur=0.5, size=96, crop_scale=(0.05, border))
    return [*two_sided((border, 1.0)), *[small] * num_small]


VIEW_PRESETS = {
    "mocov2": Preset(
        "Chen et al. 2020 (MoCo v2, arXiv:2003.04297), released code --aug-plus; AdCo's "
        "training/main_worker.py has the same",
        [view(blur=0.5)] * 2,
    ),
    "mocov2-small": Preset("MoCo v2's without blur: ours: docs/log", [view()] * 2),
    "simclr-cifar": Preset(
        "Chen et al. 2020 (SimCLR, arXiv:2002.05709), appendix B.9: strength 0.5, no blur (not "
        "verified)",
        [view(crop_scale=(0.08, 1.0))] * 2,
    ),
    "simclr-imagenet": Preset(
        "Chen et al. 2020 (SimCLR, arXiv:2002.05709), appendix A: strength 1 of (0.8, 0.8, 0.8, "
        "0.2), blur of half the images (not verified)",
        [
            view(
                crop_scale=(0.08, 1.0),
                brightness=0.8,
                contrast=0.8,
                saturation=0.8,
                hue=0.2,
                blur=0.5,
            )
        ]
        * 2,
    ),
    "byol": Preset(
        "Grill et al. 2020 (BYOL, arXiv:2006.07733), appendix B, table 6", two_sided((0.08, 1.0))
    ),
    "mocov3": Preset(
        "Chen et al. 2021 (MoCo v3, arXiv:2104.02057), released code with --crop-min=.2; CaCo's "
        "training/main_worker.py has the same",
        two_sided((0.2, 1.0)),
    ),
    "uel": Preset(
        "Ho & Vasconcelos 2020 (CLAE, arXiv:2010.12050), released code, Plain/main.py: "
        "ColorJitter(0.4, 0.4, 0.4, 0.4), always",
        [view(jitter=1.0, hue=0.4)] * 2,
    ),
    "multi-crop-adco": Preset(
        "Hu et al. 2021 (AdCo, arXiv:2011.08435), released code, ops/argparser.py: key crop, "
        "size_crops, min_scale_crops, max_scale_crops; MoCo v2's distortions",
        [
            view(blur=0.5, size=size, crop_scale=scale)
            for size, scale in [
                (224, (0.2, 1.0)),
                (224, (0.2, 1.0)),
                (192, (0.172, 0.86)),
                (160, (0.143, 0.715)),
                (128, (0.114, 0.571)),
                (96, (0.086, 0.429)),
            ]
        ],
    ),
    "multi-crop-caco": Preset(
        "Wang et al. 2022 (CaCo, arXiv:2203.14370), released code, ops/argparser.py and "
        "data_processing/: two crops of 14 to 100 % and six of 5 to 14 %, none solarised",
        [view(blur=0.5, crop_scale=(0.14, 1.0))] * 2
        + [view(blur=0.5, size=96, crop_scale=(0.05, 0.14))] * 6,
    ),
    "multi-crop-dino": Preset(
        DINO + ", defaults: crops of 40 to 100 % and eight of 5 to 40 %", multi_crop_dino(0.4, 8)
    ),
    "multi-crop-dino-resnet": Preset(
        DINO + ", README, command for ResNet-50: crops of 14 to 100 % and eight of 5 to 14 %",
        multi_crop_dino(0.14, 8),
    ),
    "multi-crop-dino-800": Preset(
        DINO + ", args.txt of ViT-S/16: crops of 25 to 100 % and ten of 5 to 25 %",
        multi_crop_dino(0.25, 10),
    ),
    "multi-crop-dino-small": Preset(
        "small crops of half the side, no blur: ours: docs/log/dino-short-runs.md",
        [view(), view()] + [view(size=112, crop_scale=(0.1, 0.4))] * 4,
    ),
}
