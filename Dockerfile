# From the slowest layer to the quickest: a code change reinstalls nothing. docs/container.md says how to use it.
ARG BASE_IMAGE=python:3.11-slim

# What a run needs, apart from all else in pyproject.toml: only a change of it installs anything again.
FROM ${BASE_IMAGE} AS needed
COPY pyproject.toml /
RUN python3 -c 'import tomllib as t; print(*t.load(open("/pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
      > /needed.txt

FROM ${BASE_IMAGE}
# kedro-docker mounts conf/local, data and logs here.
WORKDIR /home/kedro_docker
# An environment of its own: Debian's Python refuses packages beside its own.
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# In the versions and with the hashes of the lock; a contributor's tools stay out. TORCH_INDEX: a package index with
# another build of torch. `docker history` shows it to everybody: no password in it.
ARG TORCH_INDEX=
COPY requirements.txt requirements-torch.txt ./
COPY --from=needed /needed.txt /tmp/
# pip takes no hashes from constraints, uv does; it leaves again.
RUN sed -n '/^uv==/,/[^\\]$/p' requirements.txt > /tmp/uv.txt \
    && pip install --no-deps --require-hashes --requirement /tmp/uv.txt \
    && pip install --no-deps ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} --requirement requirements-torch.txt \
    && uv pip install --python /opt/venv/bin/python --no-cache --compile-bytecode --verify-hashes \
      --constraint requirements.txt --constraint requirements-torch.txt --requirement /tmp/needed.txt setuptools \
    && pip uninstall --yes uv

# The commands, which lead to src, where the code will be.
COPY pyproject.toml README.md LICENSE ./
RUN mkdir src && pip install --no-deps --no-build-isolation --editable .

# kedro-docker passes the caller's ids, so that what a run leaves belongs to the caller.
ARG KEDRO_UID=999
ARG KEDRO_GID=0
RUN uid="${KEDRO_UID}"; \
    if [ "$uid" = 0 ]; then echo "built for uid 0: the user is made with 1000"; uid=1000; fi; \
    (getent group "${KEDRO_GID}" >/dev/null || groupadd --gid "${KEDRO_GID}" kedro_group) \
    && useradd --uid "$uid" --non-unique --gid "${KEDRO_GID}" --no-log-init --no-create-home \
      --home-dir /home/kedro_docker kedro_docker \
    && mkdir -p conf/local data logs && chown "$uid:${KEDRO_GID}" . data logs

COPY conf conf
COPY src src
RUN python -m compileall -q src

# No VOLUME: its unnamed volumes would hide that a mount is missing, and `docker run --rm` would delete them.
ENV THRIFTUNE_IMAGE=1 HF_HOME=/home/kedro_docker/data/huggingface PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=1 MLFLOW_DISABLE_TELEMETRY=true
USER kedro_docker
CMD ["kedro", "run"]
