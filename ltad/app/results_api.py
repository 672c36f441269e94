"""The Results tab's endpoints: what a person sees there, as plain data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gradio.events import api

from ltad.app import results_gallery, results_table, results_view
from ltad.app.components import ONE_AT_A_TIME, friendly
from ltad.evaluation.operating_point import (
    OperatingPoint,
    confusions,
    count_verdicts,
    judge,
    record,
)
from ltad.evaluation.run_store import RunReader
from ltad.inference.registry import ModelRegistry
from ltad.types import SettingError

RATE = 0.05
MOST_ROWS = 5000


def build_results_endpoints(
    reader: RunReader, registry: ModelRegistry, work: Path, is_public: bool
) -> None:
    """Add the named endpoints to the current ``gr.Blocks``; arguments as `RunReader.again`.

    On a public page there is none that changes the runs.
    """

    def runs() -> list[Any]:
        """All runs, the newest first, with what they measured and their All / High / Low."""
        return [
            {key: run.about.get(key) for key in
             ("name", "created", "kind", "row", "group", "seed", "branches", "settings")}
            | {"pictures": len(run.images), "classes": run.class_names,
               "summary": run.results["summary"]}
            for run in reader.all(reader.names())
        ]

    def run_table(
        names: list[Any], columns: list[Any] | None = None, baseline: str = "", entry: str = "",
        as_csv: bool = False,
    ) -> dict[str, Any]:
        """Figures per class and All / High / Low of several runs, in percent; `baseline` is
        "run:NAME" or "table:3" to "table:9" with `entry` as the page offers it."""
        if not names:
            raise SettingError("names is empty. Give the names of one or more runs.")
        found = results_view.find_baseline(reader, baseline, entry)
        table = results_table.results_table(
            reader.all([str(name) for name in names]), columns or [], found
        )
        return {
            "rows": results_table.table_records(table),
            "csv": results_table.table_csv(table) if as_csv else None,
            "baseline": None if found is None else {"name": found.name, "source": found.source},
        }

    def run_gallery(
        name: str, class_name: str = "", defect: str = "", verdict: str = "",
        sort: str = "false alarms", rate: float = RATE, score: float | None = None,
        branch: str = "", count: int = 100,
    ) -> list[Any]:
        """Test images of a run in the order asked for, with scores and verdicts."""
        query = results_gallery.GalleryQuery(class_name, defect, verdict, sort)
        rows = results_gallery.select(judge(reader.run(name), _point(rate, score, branch)), query)
        return [results_gallery.record(row)
                for row in rows.head(max(1, min(MOST_ROWS, int(count)))).to_dict("records")]

    def run_confusion(
        name: str, rate: float = RATE, score: float | None = None, branch: str = ""
    ) -> dict[str, Any]:
        """Counts, precision, recall and F1 of a run at an operating point, and per class."""
        run, point = reader.run(name), _point(rate, score, branch)
        judged = judge(run, point)
        return {
            "all": record(count_verdicts(judged)), "thresholds": point.thresholds(run),
            "classes": {name: record(one) for name, one in confusions(judged).items()},
            "thresholds_are_hindsight": point.is_hindsight(run),
        }

    def re_evaluate(name: str) -> str:
        """Evaluate a run's model once more, on its data and with its settings, which takes as long
        as the evaluation did; the new run's name."""
        return reader.re_evaluate(name, work, str(registry.first.encoder.device))

    def run_delete(name: str) -> bool:
        """Delete a run for good."""
        reader.delete(name)
        return True

    for endpoint in (runs, run_table, run_gallery, run_confusion):
        api(friendly(endpoint), api_name=endpoint.__name__)
    if is_public:
        return
    api(friendly(run_delete), api_name="run_delete")
    api(friendly(re_evaluate), api_name="run_again", concurrency_limit=1,
           concurrency_id=ONE_AT_A_TIME)


def _point(rate: float, score: float | None, branch: str) -> OperatingPoint:
    return OperatingPoint(float(rate), None if score is None else float(score), branch)
