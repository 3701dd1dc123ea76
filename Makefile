# The two commands are `make demo` and `make test`; both do all set-up themselves.
#   make demo            everything on the embedded example, then the server (SERVE=0: without; FULL=1: all questions)
#   make test            all tests;  make test-fast  without the slow ones (WORKERS=0: in one process)
#   make setup GPU=1     for a machine with an NVIDIA card

VENV ?= .venv
WORKERS ?= 2
KIND := $(if $(GPU),gpu,cpu)
RUN  := $(VENV)/bin
# Workers that share the cores: threads of one would only wait for those of the other.
TEST := OMP_NUM_THREADS=1 $(RUN)/python -m pytest -n $(WORKERS)
export VENV
export OMP_WAIT_POLICY = passive
# The thousands of modules of torch and transformers are compiled once, and not again by every process.
export PYTHONDONTWRITEBYTECODE =

.PHONY: setup demo test test-fast lint benchmark clean help

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -5

setup:
	@requirements/install.sh $(KIND)

demo: setup
	@$(RUN)/python examples/lifecycle/demo.py $(if $(FULL),--full) $(if $(filter 0,$(SERVE)),--no-serve)

test: setup
	@$(TEST)

test-fast: setup
	@$(TEST) -m "not slow and not medium"

lint: setup
	@$(RUN)/ruff check . && $(RUN)/ruff format --check . && $(RUN)/mypy && $(RUN)/lint-imports

benchmark: setup
	@$(RUN)/python benchmarks/finetune_throughput.py --config configs/lifecycle.yaml
	@$(RUN)/python benchmarks/serving_ttft.py
	@$(RUN)/python benchmarks/stages.py

clean:
	rm -rf $(VENV) workspace build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
