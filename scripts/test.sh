#!/bin/sh
# All checks: format, lint, types, tests with coverage. Makes its own environment (.venv-test);
# may be run again. Arguments go to pytest: ./scripts/test.sh tests/unit -k gguf
set -eu
cd "$(dirname "$0")/.."
. scripts/environment.sh

make_environment .venv-test "qtool and what its tests need" \
    --constraint tests/constraints.txt --group dev --editable .

want_program aria2c aria2
want_disk 12

PATH=$PWD/.venv-test/bin:$PATH
export PATH
echo "==> ruff"
ruff format --check .
ruff check .
echo "==> mypy --strict"
mypy
echo "==> pytest"
exec python -m pytest -n 2 --dist loadfile --cov --cov-report=term "$@"
