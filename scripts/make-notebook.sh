#!/usr/bin/env bash
# Makes docs/notebook.ipynb, with its outputs, of docs/notebook.py. Needs `pip install "clcc-flow[test]"`.
set -euo pipefail
docs=$(cd "$(dirname "$0")/../docs" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
jupytext --to ipynb --output notebook.ipynb "$docs/notebook.py"
jupyter execute --inplace notebook.ipynb
# Times of execution and this machine's Python would change it at every making.
python - "$docs/notebook.ipynb" <<'PYTHON'
import sys
import nbformat

notebook = nbformat.read("notebook.ipynb", as_version=4)
for number, cell in enumerate(notebook.cells):
    cell.metadata = {}
    cell.id = f"cell-{number}"
notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"]}
nbformat.write(notebook, sys.argv[1])
PYTHON
