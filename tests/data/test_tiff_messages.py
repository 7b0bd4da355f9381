"""What libtiff says about a damaged file stands beside the file's reason, not on standard error."""

import io
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from sparring.data.decode import UnreadableImageError, decode
from sparring.data.tiff_messages import _set_handlers

pytestmark = pytest.mark.skipif(
    not features.check("libtiff") or not _set_handlers(),
    reason="Pillow has no libtiff here whose messages can be caught",
)


def damaged(compression: str) -> bytes:
    """A TIFF whose compressed pixels were changed."""
    values = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF", compression=compression)
    content = bytearray(file.getvalue())
    content[300:400] = b"\xff" * 100
    return bytes(content)


@pytest.mark.parametrize(
    ("compression", "words"),
    [("tiff_lzw", "Using code not yet in table"), ("tiff_deflate", "Decoding error at scanline")],
)
def test_the_reason_holds_the_message_and_nothing_is_written(
    compression: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UnreadableImageError, match=rf"; libtiff: .*{words}"):
        decode(damaged(compression))
    assert capfd.readouterr().err == ""


def test_each_thread_hears_of_its_own_image(capfd: pytest.CaptureFixture[str]) -> None:
    contents = [damaged(("tiff_lzw", "tiff_deflate")[number % 2]) for number in range(40)]

    def reason(content: bytes) -> str:
        with pytest.raises(UnreadableImageError) as caught:
            decode(content)
        return str(caught.value)

    with ThreadPoolExecutor(8) as pool:
        reasons = list(pool.map(reason, contents))
    assert ["scanline" in each for each in reasons] == [False, True] * 20
    assert all(len(re.findall("libtiff", each)) == 1 for each in reasons)
    assert capfd.readouterr().err == ""


def test_what_other_code_decodes_is_told_as_before(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Image.open(io.BytesIO(damaged("tiff_lzw"))) as image, pytest.raises(OSError, match="-2"):
        image.load()
    assert "Using code not yet in table" in capfd.readouterr().err
