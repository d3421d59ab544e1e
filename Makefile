# The commands of this project; `make` alone lists them. Each one first sees to it that what it
# needs is there: .venv (from requirements-dev.lock) and .tools (Prometheus and Alertmanager).

PYTHON := .venv/bin/python
# The Python that .venv is made from, such as BASE_PYTHON=python3.13; it stays until another is asked for.
export BASE_PYTHON
TOOLS := .tools/bin
MAKEFLAGS += --no-print-directory
# Words for pytest, such as PYTEST="-k demo".
PYTEST :=
# Most tests with processes wait more than they compute: several files at once, in their order, so
# that the long ones begin first. Those that measure come after, one by one.
PARALLEL := -n 3 --dist loadfile --no-loadscope-reorder
# Options for the benchmark, such as BENCH="--rounds 1".
BENCH :=

.DEFAULT_GOAL := help

##@ The two that matter

.PHONY: demo
demo: environment ## Run the whole stack here; with ONCE=1 make the calls, check, and end
	@$(PYTHON) -m demo $(if $(ONCE),--once)

# Every check runs, whatever became of the one before; the last line says which failed.
CHECKS := lint rules tests conformance soak-smoke bench-smoke

.PHONY: test check
test check: environment monitoring ## Everything: lint, types, rules, unit and end-to-end tests
	@failed=; \
	for check in $(CHECKS); do \
	    echo "== $$check"; \
	    $(MAKE) $$check || failed="$$failed $$check"; \
	done; \
	if [ -n "$$failed" ]; then echo "Failed:$$failed" >&2; exit 1; fi; \
	echo "All passed: $(CHECKS)"

##@ Parts of make test

.PHONY: lint
lint: environment ## Format, lint, types, and who may import whom (ruff, mypy, import-linter)
	@status=0; \
	$(PYTHON) -m ruff format --check . || status=1; \
	$(PYTHON) -m ruff check . || status=1; \
	$(PYTHON) -m mypy || status=1; \
	.venv/bin/lint-imports --no-cache || status=1; \
	exit $$status

# The tests with a mark; none chosen (5), as with PYTEST="-k demo", is no failure.
pytest = { $(PYTHON) -m pytest -m "$(1)" $(2) $(PYTEST) || [ $$? -eq 5 ]; }

.PHONY: rules
rules: monitoring ## Configurations, rules and their tests (promtool, amtool)
	@status=0; \
	$(TOOLS)/promtool check config prometheus/prometheus.yml || status=1; \
	$(TOOLS)/promtool check rules --lint=all --lint-fatal $$(ls prometheus/rules/*.yml | grep -v '[.]test[.]yml$$') || status=1; \
	$(TOOLS)/promtool test rules prometheus/rules/*.test.yml || status=1; \
	$(TOOLS)/amtool check-config prometheus/alertmanager.yml || status=1; \
	exit $$status

.PHONY: tests
tests: environment monitoring
	@$(call pytest,not alone,$(PARALLEL)); parallel=$$?; \
	$(call pytest,alone,); alone=$$?; \
	exit $$((parallel | alone))

.PHONY: unit
unit: environment ## The tests that start no process
	@$(call pytest,not e2e,)

.PHONY: e2e
e2e: environment monitoring ## The tests with real processes
	@$(call pytest,e2e and not alone,$(PARALLEL)); parallel=$$?; \
	$(call pytest,e2e and alone,); alone=$$?; \
	exit $$((parallel | alone))

.PHONY: conformance
conformance: environment ## The official MCP conformance suite, directly and through the exporter (npm)
	@$(PYTHON) -m tests.conformance

SOAK_MINUTES := 30

.PHONY: soak-smoke
soak-smoke: ## The same as make soak, for three minutes
	@$(MAKE) soak SOAK_MINUTES=3

##@ Long proofs

.PHONY: soak
soak: environment monitoring ## Mixed traffic, restarts and reloads for SOAK_MINUTES=30; every count is compared
	@$(PYTHON) -m tests.soak --minutes $(SOAK_MINUTES)

.PHONY: rollouts
rollouts: environment ## Ten restarts of one of two exporters behind HAProxy (Debian's); no call fails
	@$(PYTHON) -m tests.soak.rollouts

.PHONY: bench-smoke
bench-smoke: environment ## One short round of the benchmark; fails on errors, never on time
	@$(PYTHON) -m bench --smoke

.PHONY: cluster
cluster: environment ## The Helm chart and the discovery on a real kube-apiserver and etcd (Go; builds it once)
	@$(PYTHON) -m tests.cluster

FUZZ_EXECUTIONS := 1000000

.PHONY: fuzz
fuzz: environment ## FUZZ_EXECUTIONS=1000000 inputs made from those kept, and some guided by coverage
	@$(PYTHON) -m tests.fuzz --executions $(FUZZ_EXECUTIONS)
	@$(PYTHON) -m tests.fuzz.guided
	@$(PYTHON) -m tests.fuzz.slopes

##@ Upkeep

.PHONY: format
format: environment ## Rewrite the sources as the formatter wants them
	@$(PYTHON) -m ruff format .
	@$(PYTHON) -m ruff check --fix .

.PHONY: dashboards
dashboards: environment ## Write grafana/dashboards/*.json from grafana/build/
	@$(PYTHON) -m grafana.build

.PHONY: alerts
alerts: environment ## Write prometheus/rules/*.yml from prometheus/objectives.yml
	@$(PYTHON) -m prometheus.build

.PHONY: crds
crds: environment ## The Prometheus operator's schemas, which the chart's tests check with where they are (Go)
	@$(PYTHON) -m scripts.crds

.PHONY: chart
chart: environment ## Write the golden files of the Helm chart
	@$(PYTHON) -m tests.support.chart

.PHONY: quiet
quiet: environment monitoring ## See that nothing but the Watchdog fires in ten minutes of traffic, of rest, and with two replicas
	@$(PYTHON) -m tests.monitoring.quiet --minutes 10
	@$(PYTHON) -m tests.monitoring.quiet --minutes 10 --idle
	@$(PYTHON) -m tests.monitoring.quiet --minutes 10 --replicas 2

.PHONY: bench
bench: environment ## What the exporter costs, beside nginx and others: build/bench; BENCH="--rounds 1"
	@$(PYTHON) -m bench --output build/bench $(BENCH)

.PHONY: docs-site
docs-site: environment ## The documents as a site, every link checked: build/site (MkDocs)
	@$(PYTHON) -m scripts.docs_site

ZIZMOR := zizmor==1.32.0
ACTIONLINT := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

.PHONY: workflows
workflows: environment ## Check .github/workflows with zizmor, and with actionlint where Go is
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --upgrade --target .tools/zizmor $(ZIZMOR)
	@.tools/zizmor/bin/zizmor --offline --quiet .github
	@if command -v go >/dev/null; then \
	    cd .tools && GOBIN=$$PWD/zizmor/bin go install $(ACTIONLINT) && zizmor/bin/actionlint ../.github/workflows/*.yml; \
	else echo "make workflows: actionlint was not run, for there is no Go here"; fi

.PHONY: docs
docs: environment ## Write docs/metrics.md from the code
	@$(PYTHON) -m scripts.metric_docs

.PHONY: dist
dist: environment ## What a release is made of, into dist/: wheel, sdist, chart, dashboards, rules, SBOM, checksums
	@$(PYTHON) -m scripts.dist

UV := uv==0.13.9

COMPILE := .tools/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header

.PHONY: lock
lock: environment ## Renew the lock files after a change of dependencies; UPGRADE=1 takes newer versions
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --upgrade --target .tools/uv $(UV)
	@set -e; for lock in requirements.lock "requirements-dev.lock --group dev --constraint requirements.lock"; do \
	    $(COMPILE) --extra all $(if $(UPGRADE),--upgrade) pyproject.toml --output-file $$lock; \
	done; \
	for lock in build release docs installers; do \
	    $(COMPILE) --constraint requirements-dev.lock $(if $(UPGRADE),--upgrade) \
	        deploy/$$lock.in --output-file deploy/$$lock.lock; \
	done

.PHONY: clean
clean: ## Remove what was built and measured here, and the demo's data; .venv and .tools stay
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^##@/ {print "\n" substr($$0, 5)} \
	    /^[a-z].*:.*## / {split($$1, names, " "); printf "  make %-14s %s\n", names[1], $$2}' Makefile

# What the others stand on; silent and quick where nothing is to be done.

.PHONY: environment
environment:
	@python=$$(scripts/python) && "$$python" -m scripts.environment

.PHONY: monitoring
monitoring: environment
	@$(PYTHON) -m scripts.monitoring
