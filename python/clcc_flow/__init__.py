"""clcc-flow from Python: run a workflow, read its results, start one from an AnnData.

The program does the work; this module starts it, shows its progress and reads what it wrote.

>>> import clcc_flow
>>> workflow = clcc_flow.init(adata, patient="sample", cell_type="cell_type", cancer="Epithelial")
>>> results = clcc_flow.run(workflow).read()
>>> results.tables["dosage_genes"].query("`class` == 'insensitive'")
>>> results.cohort
"""

from ._errors import (
    ClccFlowError,
    MissingPackage,
    NodeFailure,
    NotInstalled,
    ProgramError,
    ResultsError,
    RunFailed,
    WorkflowError,
)
from ._init import init
from ._program import executable, version
from ._results import Results, read_results
from ._run import Event, Run, RunWarning, run
from ._tables import Tables

__all__ = [
    "ClccFlowError",
    "Event",
    "MissingPackage",
    "NodeFailure",
    "NotInstalled",
    "ProgramError",
    "Results",
    "ResultsError",
    "Run",
    "RunFailed",
    "RunWarning",
    "Tables",
    "WorkflowError",
    "executable",
    "init",
    "read_results",
    "run",
    "version",
]
