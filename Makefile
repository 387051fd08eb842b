# fedbench needs Python 3.11 to 3.13 and make; everything else is installed into .venv on first use.
#
#   PROFILE      tiny | smoke | cpu | cpu-hub | rules | heterogeneity | bytes | gallery | attacks | faults |
#                privacy | pretraining | paper: which grid `figures` and `tune` compute, and which one `verify` and `compare` look at
#   PYTHON       the Python that .venv is made from (default: the first on PATH that fits)
#   EXTRAS       what is installed beside the runtime: dev (default), flower, bench, as dev,flower,bench; .venv remembers it
#   TORCH_INDEX  where PyTorch comes from: the CPU build by default. For an NVIDIA GPU, in a fresh
#                .venv: make env TORCH_INDEX=https://download.pytorch.org/whl/cu130
#                An index that does not answer is replaced by the plain package index.

VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
INSTALLED := $(shell cat $(STAMP) 2>/dev/null)

PROFILE ?= smoke
PYTHON ?=
EXTRAS ?= $(or $(INSTALLED),dev)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

UNFINISHED := $(VENV)/.unfinished
PIP := $(RUN) -m pip --disable-pip-version-check
FITS := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

# Processes run side by side, one thread each: sums then have one order, and cores are not contended.
export OMP_NUM_THREADS := 1
export TOKENIZERS_PARALLELISM := false
export HF_HUB_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help doctor figures report verify compare status plan test test-slow test-real test-all soak vulnerabilities lint format bench profile energy controls tune backbones notebooks env lock wheel clean FORCE

help: ## Show this list
	@echo "make TARGET [PROFILE=tiny|smoke|cpu|cpu-hub|rules|heterogeneity|bytes|gallery|attacks|faults|privacy|pretraining|paper] [PYTHON=...] [EXTRAS=...] [TORCH_INDEX=...]"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' Makefile

figures: $(STAMP) ## Compute what is missing of PROFILE, then draw its tables and figures
	@$(RUN) -m fedbench figures --profile $(PROFILE)

verify: $(STAMP) ## Tell the verdict of PROFILE on every claim, hold it against the recorded one
	@$(RUN) -m fedbench verify --profile $(PROFILE)

compare: $(STAMP) ## Hold the tables of PROFILE against those of the last commit
	@$(RUN) -m fedbench compare --profile $(PROFILE)

report: $(STAMP) ## Make one HTML site of PROFILE's executed notebooks in build/report/
	@$(RUN) -m fedbench report --profile $(PROFILE)

status: $(STAMP) ## List which runs of PROFILE are fresh, stale or missing, why, and the time left
	@$(RUN) -m fedbench status --profile $(PROFILE)

plan: $(STAMP) ## Say what PROFILE needs (runs, memory, hours, downloads, disk, energy)
	@$(RUN) -m fedbench plan --profile $(PROFILE)

doctor: $(STAMP) ## Check machine, environment, disk, data and permissions, and say what to do
	@$(RUN) -m fedbench doctor

test: $(STAMP) ## Run the fast tests
	@$(RUN) -m pytest -m "not slow and not real" -n 2

test-slow: $(STAMP) ## Run the tests that take minutes
	@$(RUN) -m pytest -m "slow and not real" -n 2

test-real: $(STAMP) ## Run the tests on real datasets (FEDBENCH_DATA names their folder)
	@$(RUN) -m pytest -m real -n 2

test-all: ## Run every test; those on real datasets are skipped, with the reason, where there are none
	@$(MAKE) --no-print-directory test
	@$(MAKE) --no-print-directory test-slow
	@$(MAKE) --no-print-directory test-real

soak: $(STAMP) ## Run the campaigns of crashes, faults and bad input at full size (an hour)
	@rm -rf build/soak
	@FEDBENCH_CAMPAIGN=build/soak $(RUN) -m pytest tests/campaigns -m "not real" -n 2 --durations=0
	@$(RUN) -m tests.campaigns.outcome build/soak

vulnerabilities: $(STAMP) ## Report known vulnerabilities of what is locked, by pip-audit (needs the network)
	@$(RUN) -m tests.vulnerabilities

lint: $(STAMP) ## Check style, format and types
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy --strict fedbench

format: $(STAMP) ## Format the code and the notebooks, mend what can be mended
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

bench: $(STAMP) ## Time steps, rounds and whole processes beside others (at most 20 minutes)
	@$(RUN) -m fedbench.bench

profile: $(STAMP) ## Show where the time of a run and of a training step goes
	@$(RUN) -m fedbench.bench profile

energy: $(STAMP) ## Measure PROFILE's energy suite, with the machine to itself
	@$(RUN) -m fedbench energy --profile $(PROFILE)

controls: $(STAMP) ## Check that the look-alikes behave, on generator seeds nothing was chosen on
	@$(RUN) -m fedbench controls --profile $(PROFILE)

tune: $(STAMP) ## Search learning rates for PROFILE on validation data, write data/tuning.json
	@$(RUN) -m fedbench tune --profile $(PROFILE)

backbones: $(STAMP) ## Pretrain the built-in backbones again
	@$(RUN) -m fedbench.pretraining

notebooks: $(STAMP) ## Open the notebooks in JupyterLab
	@$(RUN) -m jupyterlab notebooks

env: $(STAMP) ## Install the environment in .venv, or bring it up to date

lock: $(STAMP) ## Resolve requirements.lock again, moving only what pyproject.toml demands
	@$(RUN) -m uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
	    --no-annotate --quiet --custom-compile-command "make lock" --output-file requirements.lock

wheel: $(STAMP) ## Build a wheel in dist/
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .

clean: ## Remove caches and wheels; runs, figures and .venv stay
	@rm -rf dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find fedbench tests notebooks -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) \
	    -prune -exec rm -rf {} + 2>/dev/null || true

# Other extras were asked for, or the Python behind .venv is gone.
ifneq ($(INSTALLED),$(EXTRAS))
$(STAMP): FORCE
else ifneq ($(shell $(RUN) -c 'print(1)' 2>/dev/null),1)
$(STAMP): FORCE
endif
FORCE:

# The stamp is written last, and .unfinished lies there meanwhile with the number of the process:
# an installation that was interrupted begins again from nothing, and one that is under way in
# another terminal is waited for. PyTorch goes first and alone, so that what follows finds it in
# place and does not fetch another build.
$(STAMP): requirements.lock pyproject.toml
	@set -e; \
	other=$$(cat $(UNFINISHED) 2>/dev/null || true); \
	if [ -n "$$other" ] && kill -0 "$$other" 2>/dev/null; then \
	    echo "Process $$other is installing $(VENV): waiting for it."; \
	    while kill -0 "$$other" 2>/dev/null; do sleep 1; done; \
	    if [ -e $@ ]; then exit 0; fi; \
	fi; \
	if [ -e $(UNFINISHED) ] || ! $(RUN) -c '' 2>/dev/null; then \
	    for python in $(or $(PYTHON),python3.11 python3.12 python3.13 python3) ''; do \
	        if [ -n "$$python" ] && "$$python" -c "$(FITS)" 2>/dev/null; then break; fi; \
	    done; \
	    if [ -z "$$python" ]; then \
	        echo "No suitable Python: fedbench needs 3.11, 3.12 or 3.13 with its venv module (Debian and" \
	             "Ubuntu: python3-venv). Install one, or name it: make $(or $(MAKECMDGOALS),env) PYTHON=/path/to/python" >&2; \
	        exit 1; \
	    fi; \
	    if [ -e $(UNFINISHED) ]; then echo "The last installation was interrupted: starting again."; fi; \
	    rm -rf $(VENV); mkdir $(VENV); echo $$$$ > $(UNFINISHED); \
	    echo "[1/4] $(VENV) from $$("$$python" --version) ($$python)"; \
	    "$$python" -m venv $(VENV); \
	fi; \
	echo $$$$ > $(UNFINISHED); rm -f $@; \
	torch=$$(sed -n 's/^\(torch==[^ ;]*\).*/\1/p' requirements.lock); \
	echo "[2/4] $$torch from $(TORCH_INDEX)"; \
	$(PIP) install --no-deps --index-url $(TORCH_INDEX) --retries 1 --timeout 10 "$$torch" || { \
	    echo "$(TORCH_INDEX) did not provide it: taking it from the plain package index (on Linux" \
	        "that is the CUDA build, some gigabytes)." >&2; \
	    $(PIP) install --no-deps "$$torch"; }; \
	echo "[3/4] the build tools, as locked"; \
	$(PIP) install --quiet -c requirements.lock hatchling editables; \
	echo "[4/4] fedbench[$(EXTRAS)] and its dependencies, as locked (minutes the first time)"; \
	$(PIP) install -c requirements.lock --no-build-isolation -e ".[$(EXTRAS)]"; \
	rm -f $(UNFINISHED); echo '$(EXTRAS)' > $@; \
	echo "$(VENV) is ready."
