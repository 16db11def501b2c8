# Uses the virtual environment that the README's test command makes; another one: make VENV=path.
VENV ?= .venv

.PHONY: check lint test format docs

check: ## what CI runs, in a fresh copy and a fresh virtual environment
	bash .ci/run

lint: ## CI's static checks, here
	PATH="$(abspath $(VENV))/bin:$$PATH" bash .ci/run --lint

test:
	$(VENV)/bin/python -m pytest -n 2

format:
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

docs: ## the generated pages
	$(VENV)/bin/python -c "from lazytorch.config import describe; print(describe(), end='')" > docs/configuration.md
	$(VENV)/bin/python -c "from lazytorch.tools.reference import describe_operations as page; print(page(), end='')" > docs/operations.md
