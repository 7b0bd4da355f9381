"""What EXIF turns upright can be turned back, and the header tells the upright size."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from sparring.data.decode import decode, header_size
from sparring.data.orientation import upright
from sparring.data.stored_picture import as_stored, stored_orientation

Picture = Callable[..., Image.Image]
Encode = Callable[..., bytes]


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_what_is_turned_upright_is_turned_back(
    picture: Picture, encode: Encode, turn: int, format_: str
) -> None:
    image, exif = picture(16, 24), Image.Exif()
    exif[0x0112] = turn
    content, plain = encode(image, format_, exif=exif), decode(encode(image, format_))
    assert stored_orientation(lambda _: content, 0) == turn
    assert torch.equal(upright(plain, turn), decode(content))
    assert torch.equal(as_stored(decode(content), turn), plain)
    assert header_size(content) == tuple(decode(content).shape[1:])


@pytest.mark.parametrize("content", [b"", b"nonsense", np.zeros((4, 5, 3), np.uint8)])
def test_what_has_no_exif_is_upright(content: bytes | np.ndarray) -> None:
    assert stored_orientation(lambda _: content, 0) == 1
