# LoRA Studio in a container; docs/deploy.md says how to run it.
#   docker build -t lora-studio .                              for the CPU
#   docker build -t lora-studio:cuda --build-arg TORCH=cu130 . for NVIDIA cards (cu126 for older ones)
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
ARG TORCH=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python -m venv /venv
COPY requirements.txt constraints.txt launch.py ./
RUN index=$(python -c "import launch; print(launch.TORCH_INDEX)") && \
    /venv/bin/python -m pip install -r requirements.txt -c constraints.txt setuptools --extra-index-url "$index$TORCH"
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE app.py ./
COPY examples examples
COPY models/starter models/starter
COPY models/starter-flow models/starter-flow
COPY lora_studio lora_studio
RUN /venv/bin/python -m pip install --no-deps --no-build-isolation .

FROM python:${PYTHON}-slim
RUN useradd --create-home --uid 1000 studio && install -d -o studio -g studio /data
COPY --from=build /venv /venv
# The tunables: freed memory is put together at once, which a training on the CPU takes less of; OpenMP: threads that
# wait soon leave their core to others (docs/deploy.md).
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    GLIBC_TUNABLES=glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0 \
    GOMP_SPINCOUNT=20000 \
    HF_HOME=/data/huggingface \
    LORA_STUDIO_HOME=/data/studio_data \
    LORA_STUDIO_MODELS=/data/models \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER studio
WORKDIR /data
VOLUME /data
EXPOSE 7860
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:7860/healthz', timeout=8)"]
ENTRYPOINT ["lora-studio"]
CMD ["serve", "--host", "0.0.0.0", "--port", "7860"]
