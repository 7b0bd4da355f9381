"""Images of an evaluation on its device, brought there once."""

from sparring.evaluation.data import EvaluationData
from sparring.evaluation.device_work import DeviceImages, ImageSet


def resident(data: EvaluationData, dataset: ImageSet) -> DeviceImages:
    """The images of one set of an evaluation, brought to its device once for all protocols and both
    encoders."""
    return data.once(
        ("images on the device", id(dataset)),
        lambda: DeviceImages(dataset, data.device, stays=True),
    )
