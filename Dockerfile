# The application with all its extensions, from wheels. It runs as a user without rights, and writes to no file of
# its own: run it with a read-only file system, and a /tmp.
# By its digest: the same image for the same commit; a newer one comes with the next release.
ARG PYTHON=python:3.13.15-slim-trixie@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b

FROM ${PYTHON} AS build
RUN python3 -m venv /pip && python3 -m venv --without-pip /opt/allocation
WORKDIR /build
# what others have made, in the versions that were tested, and no file that was not there then
COPY requirements.txt constraints.txt ./
RUN /pip/bin/pip --python /opt/allocation install --no-cache-dir --require-hashes --only-binary :all: -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY packages packages
# also what builds the wheels is as it was tested: pip calls these constraints by two names
RUN PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt /pip/bin/pip wheel --no-cache-dir --no-deps --wheel-dir dist . ./packages/*/ \
    && /pip/bin/pip --python /opt/allocation install --no-cache-dir --no-index --no-deps dist/*.whl \
    && /pip/bin/pip --python /opt/allocation check

FROM ${PYTHON}
RUN useradd --uid 1000 allocation && install -d -o allocation /home/allocation
COPY --from=build /opt/allocation /opt/allocation
ENV PATH=/opt/allocation/bin:$PATH ALLOCATION_METRICS_PORT=9464
WORKDIR /home/allocation
# by its number: a name tells Kubernetes nothing
USER 1000
# asks each process that goes on, worker or server: it answers 503 while its event loop is blocked
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"ALLOCATION_METRICS_PORT\"]}/healthz', timeout=5)"]
ENTRYPOINT ["allocation"]
CMD ["--help"]
