"""The compiled kernel of the package; pyproject.toml describes everything else.

The environment variable SPARRING_KERNEL chooses at build time:

* `auto`, the default: built where there is a C compiler, else left out with one line;
* `required`: the build fails without it, as it should for a release;
* `off`: left out, and the wheel fits every platform (py3-none-any).

The kernel is plain C without Python's headers and is called by ctypes, so one wheel per platform
(cp311-abi3) serves every version of Python from 3.11 on.
"""

import os
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

CHOICES = ("auto", "required", "off")
CHOICE = os.environ.get("SPARRING_KERNEL", "auto")
KERNEL = Extension(
    "sparring.acceleration._views",
    sources=["src/sparring/acceleration/_views.c"],
    export_symbols=["sparring_make_views", "sparring_views_interface"],
    py_limited_api=True,
    optional=CHOICE != "required",
)
FLAGS = ["-O3", "-std=c11", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"]
FLAGS_OF_MSVC = ["/O2", "/std:c11", "/fp:precise"]
"""Neither names a processor, so that a wheel runs on older ones than that which built it."""


class BuildKernel(build_ext):
    """Compiles the kernel by the flags of the compiler at hand, or says why there is none."""

    def build_extension(self, ext: Extension) -> None:
        """Compile, or print one line; with SPARRING_KERNEL=required an error stops the build."""
        is_msvc = self.compiler.compiler_type == "msvc"
        ext.extra_compile_args = FLAGS_OF_MSVC if is_msvc else FLAGS
        if self.inplace:
            self._remove_older()
        try:
            super().build_extension(ext)
        except (CCompilerError, BaseError) as error:
            if not ext.optional:
                raise
            print(
                "warning: sparring is built without its compiled kernel, so views on a CPU are "
                f"made by PyTorch's own kernels, three times as slowly; the compiler said: {error}"
            )

    def get_export_symbols(self, ext: Extension) -> list[str]:
        """Functions of the kernel; Python's linker flags would ask for PyInit__views too."""
        return list(ext.export_symbols)

    def _remove_older(self) -> None:
        """Remove kernels that an earlier version left in this folder under names of one Python's
        version, which Python would find first."""
        for path in Path("src/sparring/acceleration").glob("_views.*.so"):
            if ".abi3." not in path.name:
                path.unlink()


if CHOICE not in CHOICES:
    raise SystemExit(f"SPARRING_KERNEL must be one of {', '.join(CHOICES)}, got {CHOICE!r}")
setup(
    ext_modules=[] if CHOICE == "off" else [KERNEL],
    cmdclass={"build_ext": BuildKernel},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
