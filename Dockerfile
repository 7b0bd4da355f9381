# sparring in a container, for the CPU or for NVIDIA GPUs:
#
#   docker build --tag sparring .
#   docker build --tag sparring:cuda --build-arg TORCH_INDEX=https://pypi.org/simple .
#   docker run --rm --volume "$PWD:/work" sparring train --data photos/ --out runs/photos
#   docker run --rm --gpus all --volume "$PWD:/work" sparring:cuda doctor
#
# hadolint checks this file; it has never been built (docs/packaging.md).

ARG PYTHON=3.12

FROM python:${PYTHON}-slim-bookworm AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE ./
COPY src ./src
RUN SPARRING_KERNEL=required pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim-bookworm
# Wheels for the CPU; those of PyPI bring CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG TORCH=2.14.1
ARG TORCHVISION=0.29.1
# The largest layer, which changes of the library leave as it is.
RUN pip install --no-cache-dir --index-url "${TORCH_INDEX}" \
    --extra-index-url https://pypi.org/simple \
    "torch==${TORCH}" "torchvision==${TORCHVISION}"
# hadolint ignore=DL3013
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    set -- /wheels/*.whl && pip install --no-cache-dir "$1[parquet]"

# Run by `--user "$(id -u):$(id -g)"` if what is written should belong to you.
RUN useradd --create-home --uid 1000 sparring && mkdir /work && chown sparring /work
USER 1000
ENV SPARRING_CACHE=/tmp/sparring MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /work
ENTRYPOINT ["sparring"]
CMD ["--help"]
