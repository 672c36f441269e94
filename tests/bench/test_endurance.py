"""Endurance in a minute and a half, every fault once; and its own eyes: what it must notice."""

import json
import math
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ltad.bench.clients import Acknowledged, Brought
from ltad.bench.faults import KilledApp, Struck, damaged, plan
from ltad.bench.findings import (
    changed_scores,
    growth,
    is_clear,
    is_explained,
    lost_decisions,
    unscored_batches,
)
from ltad.bench.served import Call
from ltad.io.cache import ByteCache, TensorCache
from ltad.review.database import Database
from ltad.review.records import NewItem

FAULTS = {"private app killed", "public app killed", "training killed", "disk full",
          "cache damaged", "database locked"}


@pytest.fixture
def decided(tmp_path):
    """A database, an acknowledged decision with a mask, and the batch that it is in."""
    database = Database(tmp_path / "desk.sqlite")
    batch = database.create_batch("shift", "Ann", "demo", {})
    item, = database.add_items(batch.id, [NewItem("a.png", "")])
    made = database.decide(item, "defective", "Ann", mask_key=database.put_blob(b"mask"))
    database.close()
    return Acknowledged(database.path, made.id, item, "Ann", "defective", made.mask_key), batch.id


@pytest.mark.parametrize(("field", "other"), [
    ("id", 7), ("item_id", 7), ("person", "Bo"), ("verdict", "good"), ("mask_key", ""),
])
def test_a_decision_that_is_not_there_as_it_was_answered_is_lost(decided, field, other):
    one, _ = decided
    assert lost_decisions([one]) == []
    assert len(lost_decisions([one, Acknowledged(**{**vars(one), field: other})])) == 1


def test_a_batch_that_waits_is_told_from_one_that_is_scored(decided):
    one, batch = decided
    brought = [Brought(one.database, batch, lambda: None)]
    assert unscored_batches(brought) == brought
    database = Database(one.database)
    database.record_outcomes({one.item_id: "It is empty."})
    database.set_batch_state(batch, "finished")
    database.close()
    assert unscored_batches(brought) == []


def test_a_score_that_changed_is_noticed():
    assert changed_scores([(1, "a", 0.5), (1, "a", 0.5000001), (2, "a", 0.7), (1, "b", 9.0)]) == 0
    assert changed_scores([(1, "a", 0.5), (1, "a", 0.6), (2, "a", 0.5)]) == 1


def test_growth_is_the_slope_after_the_warm_up_with_its_interval():
    times = [float(n) for n in range(3600)]
    dice = random.Random(0)
    steady = [1000 - 900 * math.exp(-t / 100) + 12 * t / 3600 + dice.gauss(0, 3) for t in times]
    found = growth(times, steady)
    assert found.low < 12 < found.high and found.high - found.low < 6
    assert growth(times[:300], steady[:300]) is None


@pytest.mark.parametrize("text", [
    "", "  ", "Internal Server Error", "(nothing was said)", "Traceback (most recent call last):",
    "Something went wrong on the server. It has been logged; please try again.",
])
def test_an_error_that_tells_nothing_is_not_clear(text):
    assert not is_clear(text) and is_clear("The server's disk is full. Nothing was saved.")


def test_an_error_is_explained_by_a_fault_that_its_request_met():
    fault = [Struck("disk full", 100.0, 108.0, "")]
    assert is_explained(Call(70.0, "score", 31.0, 500, "no"), fault)
    assert is_explained(Call(109.0, "score", 1.0, 500, "no"), fault)
    assert not is_explained(Call(70.0, "score", 29.0, 500, "no"), fault)
    assert not is_explained(Call(140.0, "score", 1.0, 500, "no"), fault)


@pytest.mark.parametrize("seed", range(5))
def test_a_plan_has_every_fault_in_time_and_kills_the_app_early(seed):
    for seconds, rounds in ((60.0, 1), (3600.0, 6)):
        planned = plan(seconds, seed)
        assert {fault.name for _, fault in planned} == FAULTS
        times = [after for after, _ in planned]
        assert times == sorted(times) and times[0] > 0 and times[-1] < seconds
        assert sum(fault.name == "disk full" for _, fault in planned) == rounds
        last = max(after for after, fault in planned if isinstance(fault, KilledApp))
        assert rounds == 1 or last < 0.4 * seconds
    assert plan(60.0, seed) == plan(60.0, seed) != plan(60.0, seed + 1)


@pytest.mark.parametrize("kind", range(3))
def test_damage_is_noticed_by_the_cache(tmp_path, kind):
    disk = ByteCache(tmp_path)
    TensorCache(10**6, disk).put("features", {"map": torch.arange(3000.0)})
    disk.put("features", damaged(disk.get("features"), kind))
    assert TensorCache(10**6, disk).get("features") is None
    disk.close()


@pytest.mark.slow
def test_faults_under_load_lose_nothing(tiny_model_folder, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "ltad.bench.endurance", "--minutes", "0.8", "--clients", "6",
         "--model", str(tiny_model_folder), "--json", str(tmp_path / "found.json"),
         "--plot", str(tmp_path / "plot.html")],
        capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=600,
    )
    told = f"{done.stdout}\n{done.stderr[-3000:]}"
    assert (tmp_path / "found.json").exists(), told
    found = json.loads((tmp_path / "found.json").read_text())
    assert {fault["name"] for fault in found["faults"]} == FAULTS
    assert not any(fault["told"].startswith("0 of") or "no training" in fault["told"]
                   or "could not" in fault["told"] for fault in found["faults"]), told
    assert not found["decisions_lost"] and found["decisions"] > 20, told
    assert not found["batches_unscored"] and found["batches"] > 5, told
    assert not found["scores_of_another_image"] and found["scores_compared"] > 50, told
    assert not found["scores_changed"], told
    assert any("disk is full" in error or "No space" in error for error in found["errors"]), told
    assert not found["errors_unclear"] and not found["errors_without_fault"], told
    assert not found["findings"] and found["trainings"].get("interrupted", 0) >= 1, told
    assert done.returncode == 0 and "plotly" in (tmp_path / "plot.html").read_text()
