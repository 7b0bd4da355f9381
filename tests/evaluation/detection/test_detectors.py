"""The two forms of detector: which maps and anchors they use, and that all of the encoder
learns."""

from typing import Any

import pytest
import timm
import tiny_encoders
import torch
from torch import nn

from sparring.errors import ConfigError
from sparring.evaluation.catalogue import choose
from sparring.evaluation.detection.detection import DetectionSettings
from sparring.evaluation.detection.detectors import (
    LEVELS,
    Pyramid,
    box_detector,
    mask_detector,
    resize_to,
)
from sparring.evaluation.detection.instance_segmentation import InstanceSegmentationSettings
from sparring.models.backbones import Backbone
from sparring.models.encoder import Encoder

TINY = {
    "channels": 8,
    "hidden": 16,
    "regions": 8,
    "proposals": 20,
    "min_size": (96,),
    "test_size": 96,
}


def detector(architecture: str, *, small_images: bool = True, **more: object) -> Any:
    torch.manual_seed(0)
    settings = DetectionSettings.build({**TINY, "architecture": architecture, **more})
    encoder = tiny_encoders.encoder(small_images=small_images).train().requires_grad_(True)
    return box_detector(encoder, settings, num_classes=2)


def target(*, masks: bool = False) -> dict[str, torch.Tensor]:
    boxes = torch.tensor([[10.0, 10, 40, 50], [50, 20, 90, 80]])
    found = {"boxes": boxes, "labels": torch.tensor([1, 2])}
    if masks:
        found["masks"] = torch.zeros(2, 96, 96, dtype=torch.uint8)
        found["masks"][:, 20:50, 20:60] = 1
    return found


@pytest.mark.parametrize(("small_images", "stages"), [(True, 2), (False, 4)])
def test_the_pyramid_has_the_papers_strides_and_anchors_on_either_stem(
    small_images: bool, stages: int
) -> None:
    model = detector("fpn", small_images=small_images, anchor_scale=8)
    assert model.backbone.strides == [4, 8, 16, 32, 64]
    assert model.backbone.num_stages == stages
    assert model.rpn.anchor_generator.sizes == [(32,), (64,), (128,), (256,), (512,)]
    assert model.rpn.anchor_generator.aspect_ratios == [(0.5, 1.0, 2.0)] * LEVELS
    levels = model.backbone(torch.zeros(1, 3, 128, 192))
    assert [tuple(level.shape) for level in levels.values()] == [
        (1, 8, 128 // stride, 192 // stride) for stride in (4, 8, 16, 32, 64)
    ]


def test_smaller_anchors_send_smaller_regions_to_the_coarser_level() -> None:
    for scale, side in ((8, 224), (4, 112)):
        assert detector("fpn", anchor_scale=scale).roi_heads.box_roi_pool.canonical_scale == side


@pytest.mark.parametrize(("small_images", "stride"), [(True, 4), (False, 16)])
def test_the_single_map_has_fifteen_anchors_per_place(small_images: bool, stride: int) -> None:
    model = detector("c4", small_images=small_images, anchor_scale=8)
    assert model.rpn.anchor_generator.sizes == (
        (2 * stride, 4 * stride, 8 * stride, 16 * stride, 32 * stride),
    )
    assert model.rpn.anchor_generator.num_anchors_per_location() == [15]
    assert model.backbone(torch.zeros(1, 3, 96, 96))["0"].shape == (
        1,
        16,
        96 // stride,
        96 // stride,
    )
    assert model.roi_heads.box_roi_pool.output_size == (14, 14)
    assert isinstance(
        model.roi_heads.box_head[0][-1], nn.BatchNorm2d
    )  # the extra norm after the fourth stage


@pytest.mark.parametrize("architecture", ["fpn", "c4"])
def test_every_weight_of_the_encoder_learns_and_its_normalisation_is_kept(
    architecture: str,
) -> None:
    settings = DetectionSettings.build({**TINY, "architecture": architecture})
    encoder = tiny_encoders.encoder().train().requires_grad_(True)
    model: Any = box_detector(encoder, settings, num_classes=2)
    before = {
        name: buffer.clone()
        for name, buffer in encoder.backbone.network.named_buffers()
        if "running_mean" in name
    }
    losses = model([torch.rand(3, 96, 96)] * 2, [target()] * 2)
    torch.stack(list(losses.values())).sum().backward()
    assert all(
        p.grad is not None and p.grad.any() for p in encoder.backbone.network.layer4.parameters()
    )
    assert all(p.grad is not None for p in encoder.backbone.network.parameters())
    assert all(
        not torch.equal(before[name], dict(encoder.backbone.network.named_buffers())[name])
        for name in before
    )
    white = model.transform([torch.ones(3, 96, 96)])[0].tensors[0, :, 0, 0]
    assert torch.allclose(white, ((1 - encoder.mean) / encoder.std).flatten())


@pytest.mark.parametrize("architecture", ["fpn", "c4"])
def test_masks_come_with_the_boxes(architecture: str) -> None:
    settings = InstanceSegmentationSettings.build(
        {**TINY, "architecture": architecture, "score_threshold": 0}
    )
    model = mask_detector(
        tiny_encoders.encoder().train().requires_grad_(True), settings, num_classes=2
    )
    losses = model([torch.rand(3, 96, 96)] * 2, [target(masks=True)] * 2)
    assert set(losses) == {
        "loss_classifier",
        "loss_box_reg",
        "loss_mask",
        "loss_objectness",
        "loss_rpn_box_reg",
    }
    (output,) = model.eval()([torch.rand(3, 60, 80)])
    assert output["masks"].shape == (len(output["boxes"]), 1, 60, 80)
    assert len(output["boxes"]) > 0


def test_boxes_and_masks_share_the_fourth_stage() -> None:
    settings = InstanceSegmentationSettings.build({**TINY, "architecture": "c4"})
    model: Any = mask_detector(tiny_encoders.encoder(), settings, num_classes=2)
    assert model.roi_heads.box_head[0] is model.roi_heads.mask_head
    names = [name for name, _ in model.named_parameters()]
    assert len(names) == len(set(names))


def test_scoring_has_a_size_of_its_own() -> None:
    model = detector("fpn", min_size=(96, 128))
    resize_to(model, 160)
    assert model.eval().transform([torch.zeros(3, 80, 100)])[0].image_sizes == [(160, 200)]


def test_other_backbones_are_refused() -> None:
    backbone = Backbone(
        timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32), image_size=32
    )
    encoder = Encoder(backbone, nn.Identity(), mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    for architecture in ("fpn", "c4"):
        with pytest.raises(ConfigError, match="need a ResNet"):
            box_detector(
                encoder, DetectionSettings.build({"architecture": architecture}), num_classes=2
            )


def test_the_pyramids_levels_have_batch_norms() -> None:
    pyramid = Pyramid(tiny_encoders.encoder().backbone.network, channels=8)
    assert (
        sum(isinstance(module, nn.BatchNorm2d) for module in pyramid.pyramid.modules())
        == 2 * pyramid.num_stages
    )


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"min_size": [64]}, "min_size needs sides of at least 96 px"),
        ({"min_size": []}, "min_size needs sides of at least 96 px"),
        ({"max_size": 200}, "max_size must be at least every min_size and test_size"),
        ({"drops": [100]}, "drops are shares of the steps, between 0 and 1"),
        ({"learning_rate": 0}, "learning_rate: .* greater than 0"),
        ({"architecture": "yolo"}, "architecture: .*'fpn' or 'c4'"),
        ({"step": 10}, "did you mean 'detection.steps'"),
    ],
)
def test_wrong_settings_are_told_in_a_sentence(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        choose(["detection"], {"detection": values})


def test_the_recipes_of_the_papers_are_variants() -> None:
    names = [
        "detection:voc-c4",
        "detection:coco-fpn-1x",
        "detection:coco-fpn-2x",
        "detection:coco-c4-2x",
        "detection:c4",
        "detection:fpn",
    ]
    voc, once, twice, c4, small, _ = [chosen.settings for chosen in choose(names)]
    assert isinstance(voc, DetectionSettings)
    assert (voc.architecture, voc.steps, voc.batch_size, voc.learning_rate, voc.test_size) == (
        "c4",
        24_000,
        16,
        0.02,
        800,
    )
    assert [round(drop * voc.steps) for drop in voc.drops] == [18_000, 22_000]
    assert voc.min_size == (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
    assert isinstance(twice, DetectionSettings)
    assert isinstance(once, DetectionSettings)
    assert (once.steps, twice.steps) == (90_000, 180_000)
    assert [round(drop * twice.steps) for drop in twice.drops] == [120_000, 160_000]
    assert isinstance(c4, DetectionSettings)
    assert (c4.architecture, twice.architecture) == ("c4", "fpn")
    assert small == DetectionSettings(architecture="c4")
    (instances,) = choose(["instance-segmentation:coco-c4-2x"])
    assert isinstance(instances.settings, InstanceSegmentationSettings)
    assert (
        instances.settings.steps,
        instances.settings.min_size[0],
        instances.settings.max_size,
    ) == (180_000, 640, 1333)
