# make demo: own virtual environment, install, cluster the example data.
# make docs: the documentation site in site/, every warning an error.
# make test-lowest: own virtual environment with the lowest versions that pyproject.toml allows, all fast tests.
# make test: own virtual environment with the development tools, lint, types, all fast tests.

PYTHON ?= python3
DEMO = .venv/bin
DEV = .venv-dev/bin
LOWEST = .venv-lowest/bin
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo docs test test-lowest test-slow quality lint format clean

demo: .venv/installed
	@echo "Clustering the simulated wells in example_data/ (about half a minute):"
	$(DEMO)/cytomoe cluster example_data/*.fcs --gate-channel gate --gate-names example_data/gates.csv --reference pbmc --out demo_results --force
	@echo "Open demo_results/report.html in a browser, or the files in demo_results/fcs in FlowJo."
	@echo "To use cytomoe in this terminal: . .venv/bin/activate"

test: .venv-dev/installed lint
	OMP_NUM_THREADS=1 $(DEV)/python -m pytest -n auto  # one worker per core already

test-lowest: .venv-lowest/installed
	OMP_NUM_THREADS=1 $(LOWEST)/python -m pytest -n auto

docs: .venv-dev/installed
	$(DEV)/python docs/commands.py
	$(DEV)/python -m mkdocs build --strict

test-slow: .venv-dev/installed
	$(DEV)/python -m pytest -m slow

# Hours on two cores the first time; runs that docs/results/quality.csv holds are not done again.
quality: .venv-dev/installed
	$(DEV)/python $(PIP_INSTALL) --editable '.[baselines]'
	$(DEV)/python benchmarks/quality.py

lint: .venv-dev/installed
	$(DEV)/ruff format --check .
	$(DEV)/ruff check .
	$(DEV)/mypy

format: .venv-dev/installed
	$(DEV)/ruff format .
	$(DEV)/ruff check --fix .

# torch first and alone, so that the pinned build is there when the rest asks for a range.
.venv/installed: pyproject.toml constraints.txt $(shell find cytomoe -name '*.py' -o -name '*.csv' -o -path '*/assets/*')
	@echo "Making an environment of its own in .venv (some minutes the first time, about 2 GB):"
	$(PYTHON) -m venv .venv
	@echo "1 of 2: torch, which the model is made with ..."
	@$(DEMO)/python $(PIP_INSTALL) torch
	@echo "2 of 2: cytomoe and what else it needs ..."
	@$(DEMO)/python $(PIP_INSTALL) .
	touch $@

.venv-dev/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-dev
	$(DEV)/python $(PIP_INSTALL) torch
	$(DEV)/python $(PIP_INSTALL) --editable '.[dev,docs]'
	touch $@

.venv-lowest/installed: pyproject.toml constraints.txt constraints-lowest.txt
	$(PYTHON) -m venv .venv-lowest
	$(LOWEST)/python $(PIP_INSTALL) torch
	$(LOWEST)/python $(PIP_INSTALL) --constraint constraints-lowest.txt --editable . 'hypothesis>=6.100' 'pytest>=8' 'pytest-xdist>=3.6'
	touch $@

clean:
	rm -rf .venv .venv-dev .venv-lowest demo_results site
