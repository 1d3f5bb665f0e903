"""The report of a finished run, served to the browser instead of written into a file."""

from collections.abc import Callable

from zarrbench.report.page import report_html
from zarrbench.report.server import serve
from zarrbench.stages.report import known_timings, report_inputs
from zarrbench.stages.workspace import Workspace


def explore(workspace: Workspace, port: int, say: Callable[[str], None]) -> None:
    """Serve the report of a run on 127.0.0.1 until Ctrl-C; genes are read from the stores.

    `say` is told the URL. Nothing is written.

    Raises
    ------
    StoreLayoutError, RecipeError
        If there are no statistics, or not those of the pipeline file.
    StorageError
        If the port cannot be used.
    """
    inputs = report_inputs(workspace, known_timings(workspace))
    assert inputs.views is not None
    serve(report_html(inputs, embed=False), inputs.views, port, say)
