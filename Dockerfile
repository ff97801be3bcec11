# syntax=docker/dockerfile:1
# Layers from the slowest to the quickest to change: a code change reinstalls nothing.
ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE}

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 DO_NOT_TRACK=1 MLFLOW_DISABLE_TELEMETRY=true \
    HF_HOME=/home/kedro/cache/huggingface
WORKDIR /home/kedro/project

# kedro-docker passes the caller's ids, so that what a run leaves belongs to the caller; 0 falls back to 1000.
ARG KEDRO_UID=999
ARG KEDRO_GID=0
RUN uid="${KEDRO_UID}"; \
    if [ "$uid" = 0 ]; then echo "built for uid 0: the user is made with 1000"; uid=1000; fi; \
    (getent group "${KEDRO_GID}" >/dev/null || groupadd --gid "${KEDRO_GID}" kedro_group) \
    && useradd --uid "$uid" --gid "${KEDRO_GID}" --create-home --home-dir /home/kedro kedro_docker \
    && mkdir -p /home/kedro/cache /home/kedro/project && chown -R "$uid:${KEDRO_GID}" /home/kedro

COPY requirements.txt ./
RUN pip install --no-cache-dir --disable-pip-version-check -r requirements.txt
COPY --chown=kedro_docker pyproject.toml README.md LICENSE ./
COPY --chown=kedro_docker src src
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps -e .
COPY --chown=kedro_docker conf conf

USER kedro_docker
# Mount data and logs (and the cache) to keep them.
VOLUME ["/home/kedro/project/data", "/home/kedro/project/logs", "/home/kedro/cache"]
CMD ["kedro", "run"]
