"""Instance segmentation: a Mask R-CNN that starts from the encoder, trained on outlines and scored
as COCO does."""

from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.detection.detector_recipes import detector_variants
from sparring.evaluation.detection.detector_settings import DetectorSettings
from sparring.evaluation.detection.detector_trial import DetectionTask, trial
from sparring.evaluation.detection.detectors import mask_detector
from sparring.evaluation.protocol import Protocol, Result

TASK = DetectionTask(
    name="instance segmentation", build=mask_detector, scores={"": "segm", "box_": "bbox"}
)


PROTOCOL = Protocol(
    name="instance-segmentation",
    function="instance_segmentation",
    settings="InstanceSegmentationSettings",
    title="Instance segmentation",
    question="how well does a detector that starts from the encoder outline objects?",
    labels="outlines",
    headline="ap",
    measure="average precision of outlines (COCO)",
    source=(
        "Mask R-CNN, He et al. 2017, arXiv:1703.06870, with the recipes of MoCo, He et al. "
        "2020, arXiv:1911.05722"
    ),
    variants=detector_variants("fpn", "c4", "coco-fpn-1x", "coco-fpn-2x", "coco-c4-2x"),
    is_frozen=False,
    is_for_colours=True,
)


class InstanceSegmentationSettings(DetectorSettings):
    """Settings of `instance-segmentation`."""


def instance_segmentation(
    evaluated: EvaluatedEncoder, data: EvaluationData, settings: InstanceSegmentationSettings
) -> Result:
    """Average precision of outlines, COCO's mean over thresholds of overlap; that of the boxes is
    `box_ap`.

    Deviations from MoCo's recipe are those of `detection`, and one more: with `c4` the fourth stage
    runs once for boxes and once for masks, so its batch norms take their statistics from each by
    itself.

    Raises:
        DataError: unless both sets have outlines.
        ConfigError: for a backbone that is no ResNet.
        TrainingError: for a loss that is not finite.

    Source: He et al. 2020, arXiv:1911.05722, section 4.2.
    """
    return trial(evaluated, data, settings, TASK)
