# docker build -t asr .                            for CPUs
# docker build -t asr --build-arg TORCH=cuda .     for NVIDIA GPUs: some 3 GB more
FROM python:3.11-slim-bookworm

ARG TORCH=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /app
COPY requirements.txt requirements.lock ./
# The lock leaves torch out: its builds have other requirements.
RUN grep '^torch==' requirements.txt >torch.txt \
    && case "$TORCH" in \
        cpu) sed -i 's/$/+cpu/' torch.txt; pip install --no-deps --index-url https://download.pytorch.org/whl/cpu -r torch.txt ;; \
        cuda) pip install -r torch.txt ;; \
        *) echo "TORCH is cpu or cuda" >&2; exit 2 ;; \
    esac \
    && pip install --no-deps -r requirements.lock

RUN useradd --create-home --uid 1000 asr && install --directory --owner=asr --mode=700 /data /cache
COPY app.py ./
COPY asr_app asr_app
COPY assets assets
COPY docs docs
COPY example example
COPY LICENSE ./

USER 1000:1000
# Journal and recordings; downloads and variants, which may be lost.
ENV ASR_HOME=/data ASR_CACHE=/cache/asr HF_HOME=/cache/huggingface MODELSCOPE_CACHE=/cache/modelscope XDG_CACHE_HOME=/cache
VOLUME ["/data", "/cache"]
EXPOSE 6006
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:6006/healthz', timeout=4)"]
# The container's own address is no loopback: the token of the printed address is asked for.
ENTRYPOINT ["python", "app.py", "--host", "0.0.0.0"]
