"""Object detection: a Faster R-CNN that starts from the encoder, trained on boxes and scored as
COCO does."""

from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.detection.detector_recipes import detector_variants
from sparring.evaluation.detection.detector_settings import DetectorSettings
from sparring.evaluation.detection.detector_trial import DetectionTask, trial
from sparring.evaluation.detection.detectors import box_detector
from sparring.evaluation.protocol import Protocol, Result

TASK = DetectionTask(name="detection", build=box_detector, scores={"": "bbox"})


PROTOCOL = Protocol(
    name="detection",
    function="detection",
    settings="DetectionSettings",
    title="Object detection",
    question="how well does a detector that starts from the encoder find objects?",
    labels="boxes",
    headline="ap",
    measure="average precision (COCO)",
    source=(
        "Faster R-CNN, Ren et al. 2015, arXiv:1506.01497, with the recipes of MoCo, He et al. "
        "2020, arXiv:1911.05722"
    ),
    variants=detector_variants("fpn", "c4", "voc-c4", "coco-fpn-1x", "coco-fpn-2x", "coco-c4-2x"),
    is_frozen=False,
    is_for_colours=True,
)


class DetectionSettings(DetectorSettings):
    """Settings of `detection`."""


def detection(
    evaluated: EvaluatedEncoder, data: EvaluationData, settings: DetectionSettings
) -> Result:
    """Average precision of boxes; `ap` is COCO's mean over thresholds of overlap, `ap50` the one
    that VOC reports.

    Deviations from MoCo's recipe, which is detectron2's: torchvision's layers and initialisation;
    one process, so that the batch norms see the whole batch; images of any shape share a batch; and
    VOC is counted over 101 recalls like COCO (`ap50_11_points` has VOC 2007's).

    Raises:
        DataError: unless both sets have boxes.
        ConfigError: for a backbone that is no ResNet.
        TrainingError: for a loss that is not finite.

    Source: He et al. 2020, arXiv:1911.05722, section 4.2.
    """
    return trial(evaluated, data, settings, TASK)
