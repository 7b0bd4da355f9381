"""What it costs to let PyTorch's threads spin while they wait, alone and beside other programs.

    python benchmarks/openmp_spin.py

Every row is a process of its own, rows alternate. On one machine of two cores (torch 2.14.1), forward and backward of a narrow ResNet-18 on
64 images of 32 px, milliseconds per step, two threads, GOMP_SPINCOUNT unset / 1000:
alone 100, 101, 124 / 105, 106, 119; beside programs that want twice the cores 2,279, 2,972 / 445, 643. One thread alone: 126.
"""

import os
import subprocess
import sys
import time

STEPS = 20


def measure() -> None:
    """Print the time of a step in this process."""
    import torch

    from sparring.models.backbones import EncoderSettings, make_backbone

    backbone = make_backbone(EncoderSettings(width=0.25), image_size=32).to(memory_format=torch.channels_last)
    images = torch.rand(64, 3, 32, 32).to(memory_format=torch.channels_last)
    for step in range(STEPS + 2):
        if step == 2:
            wall, cpu = time.perf_counter(), time.process_time()
        backbone(images).sum().backward()
    wall, cpu = (1000 * seconds / STEPS for seconds in (time.perf_counter() - wall, time.process_time() - cpu))
    print(
        f"spin {os.environ.get('GOMP_SPINCOUNT', 'default'):>8}  {wall:7.0f} ms wall  {cpu:7.0f} ms CPU  {torch.get_num_threads()} threads"
    )


def main() -> None:
    """Alternate the settings, alone and beside as many busy processes as there are cores."""
    for title, num_others in (("alone", 0), ("beside busy processes", os.cpu_count() or 1)):
        print(title)
        others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(num_others)]
        try:
            for spin in ["", "1000"] * 3:
                environment = {**os.environ, "GOMP_SPINCOUNT": spin} if spin else dict(os.environ)
                subprocess.run([sys.executable, __file__, "measure"], env=environment, check=True)
        finally:
            for other in others:
                other.kill()
                other.wait()


if __name__ == "__main__":
    measure() if "measure" in sys.argv else main()
