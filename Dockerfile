FROM python:3.13-slim

RUN useradd --create-home --uid 1000 allocation
WORKDIR /home/allocation
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir -c constraints.txt '.[extensions]'

USER allocation
ENTRYPOINT ["allocation"]
CMD ["--help"]
