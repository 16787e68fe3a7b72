# by its digest: the same image for the same commit; a newer one comes with the next release
FROM python:3.13.15-slim-trixie@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b

RUN useradd --create-home --uid 1000 allocation
WORKDIR /home/allocation
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
COPY packages packages
# in the versions that were tested, also of what builds the wheels: pip calls these constraints by two names
RUN PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt pip install --no-cache-dir '.[extensions]' ./packages/*/

USER allocation
ENTRYPOINT ["allocation"]
CMD ["--help"]
