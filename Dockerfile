FROM python:3.11.17-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv /opt/mcp-exporter
ENV PATH=/opt/mcp-exporter/bin:$PATH

# Dependencies before code: a change of the code leaves these layers in the cache.
COPY requirements.lock deploy/build.lock ./
RUN pip install --only-binary=:all: --require-hashes -r requirements.lock
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --only-binary=:all: --require-hashes -r build.lock

COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
COPY mcp_servers mcp_servers
RUN /opt/build/bin/python -m hatchling build --target wheel --directory /dist \
 && pip install --no-deps --no-index /dist/*.whl \
 && pip check \
 && pip uninstall --yes setuptools pip


FROM python:3.11.17-slim-bookworm

LABEL org.opencontainers.image.title="mcp-exporter" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.description="Prometheus exporter that relays Model Context Protocol traffic and measures every call"

COPY --from=build /opt/mcp-exporter /opt/mcp-exporter

# HOME is where servers started as child processes may write when the root file system is read-only.
ENV PATH=/opt/mcp-exporter/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MCP_EXPORTER_CONFIG_FILE=/etc/mcp-exporter/config.yml

# A number, so that Kubernetes' runAsNonRoot can check it.
USER 65534:65534
EXPOSE 6279 6280
STOPSIGNAL SIGTERM

HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 \
  CMD ["python", "-c", "import http.client, os; port = os.environ.get('MCP_EXPORTER_WEB_LISTEN_ADDRESS', ':6280').rpartition(':')[2]; probe = http.client.HTTPConnection('127.0.0.1', int(port), timeout=4); probe.request('GET', '/-/healthy'); raise SystemExit(probe.getresponse().status != 200)"]

ENTRYPOINT ["mcp-exporter"]
CMD ["serve"]
