"""Instance segmentation: a Mask R-CNN that starts from the encoder, trained on outlines and scored
as COCO does."""

from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.detection.detector_settings import DetectorSettings
from sparring.evaluation.detection.detector_trial import Task, trial
from sparring.evaluation.detection.detectors import mask_detector
from sparring.evaluation.protocol import Result

TASK = Task(name="instance segmentation", build=mask_detector, scores={"": "segm", "box_": "bbox"})


class InstanceSegmentationSettings(DetectorSettings):
    """Settings of `instance-segmentation`."""


def instance_segmentation(
    evaluated: EvaluatedEncoder, data: EvaluationData, settings: InstanceSegmentationSettings
) -> Result:
    """Average precision of outlines, COCO's mean over thresholds of overlap; the boxes' as `box_ap`
    and so on.

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
