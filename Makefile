# make demo [VIDEO=path] [INPUT=events] and make test need python3 (3.10 to 3.13), python3-venv and make. PyPI has the rest.
PYTHON ?= python3
# Number of pytest workers. Many tests wait for a node, so use more workers than cores.
PROCESSES ?= 2
VENV := .venv
PIP := $(VENV)/bin/python -m pip install -c config/constraints.txt
INPUTS := package.xml setup.py setup.cfg config/constraints.txt

.PHONY: demo test lint bench docs dist clean

demo: $(VENV)/.demo
	$(VENV)/bin/stvae demo $(if $(VIDEO),--video '$(VIDEO)') $(if $(INPUT),--input '$(INPUT)') $(ARGS)

test: $(VENV)/.test
	$(VENV)/bin/python -m pytest -n $(PROCESSES) --dist worksteal $(ARGS)

lint: $(VENV)/.test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy --config-file setup.cfg
	$(VENV)/bin/lint-imports setup.cfg

bench: $(VENV)/.demo
	$(VENV)/bin/stvae benchmark $(ARGS)

docs: $(VENV)/.test
	$(VENV)/bin/sphinx-build -W -q -c docs . build/pages
	@echo "==> build/pages/docs/index.html"

dist: $(VENV)/.test
	$(VENV)/bin/python -m build

clean:
	rm -rf $(VENV) build dist install log *.egg-info

# A new pip resolves the versions in half the time of the pip that comes with Python.
$(VENV)/bin/python:
	@echo "==> creating $(VENV)"
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 13) else "Python %d.%d is not supported: give one of 3.10 to 3.13, as in make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv --upgrade-deps $(VENV)

$(VENV)/.demo: $(VENV)/bin/python $(INPUTS)
	@echo "==> installing the node, ROS 2 and PyTorch into $(VENV) (minutes the first time)"
	$(PIP) -e '.[ros]'
	@touch $@

$(VENV)/.test: $(VENV)/bin/python $(INPUTS)
	@echo "==> installing the node, ROS 2, PyTorch, trainer and test tools into $(VENV) (minutes the first time)"
	$(PIP) -e '.[ros,train,eval,bags,events,onnx,docs,dev,test]'
	@touch $(VENV)/.demo $@
