"""Feature extraction leaves the encoder as it was and gives each image its own row."""

import contextlib

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sparring.evaluation.features import evaluating, extract_features, unit_images


class Images:
    """Random uint8 images by index."""

    def __init__(self, count: int) -> None:
        self.values = torch.randint(
            0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
        )

    def __len__(self) -> int:
        return len(self.values)

    def images(self, indices: np.ndarray) -> Tensor:
        return self.values[torch.from_numpy(indices)]


class Encoder(nn.Module):
    """Convolution, batch norm and dropout: everything that behaves differently in training."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Dropout(0.5))

    def features(self, images: Tensor) -> Tensor:
        assert 0 <= images.min() <= images.max() <= 1
        assert images.is_contiguous(memory_format=torch.channels_last)
        output: Tensor = self.layers(images)
        return output.mean(dim=(2, 3))


@pytest.fixture
def encoder() -> Encoder:
    return Encoder().train()


def test_rows_are_in_the_order_of_the_data_set_whatever_the_batch(encoder: Encoder) -> None:
    data = Images(11)
    whole = extract_features(encoder, data, batch_size=11)
    assert whole.shape == (11, 5)
    assert whole.dtype == torch.float32
    # Convolutions of other batch sizes may sum in another order.
    torch.testing.assert_close(
        extract_features(encoder, data, batch_size=4), whole, rtol=1e-5, atol=1e-6
    )
    data.values = data.values.flip(0)
    torch.testing.assert_close(
        extract_features(encoder, data, batch_size=4), whole.flip(0), rtol=1e-5, atol=1e-6
    )


def test_the_encoder_is_the_same_to_the_bit_afterwards(encoder: Encoder) -> None:
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    features = extract_features(encoder, Images(6))
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert not features.requires_grad


def test_every_module_gets_its_own_mode_back_even_after_a_failure(encoder: Encoder) -> None:
    encoder.layers[1].eval()
    extract_features(encoder, Images(3))
    assert [module.training for module in encoder.layers] == [True, False, True]
    with contextlib.suppress(RuntimeError), evaluating(encoder.modules()):
        assert not any(module.training for module in encoder.modules())
        raise RuntimeError
    assert [module.training for module in encoder.layers] == [True, False, True]


def test_progress_ends_at_the_number_of_images(encoder: Encoder) -> None:
    calls: list[tuple[int, int]] = []
    extract_features(
        encoder, Images(7), batch_size=3, progress=lambda done, total: calls.append((done, total))
    )
    assert calls == [(3, 7), (6, 7), (7, 7)]


def test_bytes_become_floats_between_zero_and_one() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    assert unit_images(images).flatten().tolist() == pytest.approx([0, 0.2, 1])
