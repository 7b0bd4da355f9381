"""Process that indexes the shards whose paths it is given: `python -m` this module.

It reads paths, each with a NUL after it, and answers each with the length of a packed index in
eight bytes, and the index; a length of 0 means that the shard cannot be read. It imports no torch,
so that it starts at once.
"""

import sys
from pathlib import Path
from typing import BinaryIO

from sparring.data.sources.shard_index import shard_index


def answer(paths: BinaryIO, answers: BinaryIO) -> None:
    """Answer every path until there are no more.

    Args:
        paths: stream of paths.
        answers: stream of indexes.
    """
    text = bytearray()
    while character := paths.read(1):
        if character != b"\0":
            text += character
            continue
        try:
            content = shard_index(Path(text.decode("utf-8", "surrogateescape"))).packed()
        except OSError:
            content = b""
        answers.write(len(content).to_bytes(8, "little") + content)
        answers.flush()
        text.clear()


if __name__ == "__main__":
    answer(sys.stdin.buffer, sys.stdout.buffer)
