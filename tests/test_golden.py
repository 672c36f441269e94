"""What users call, have on disk and see keeps its names: `golden.json` against what is there."""

from __future__ import annotations

import json

import golden
import pytest

KNOWN = json.loads(golden.FILE.read_text(encoding="utf-8"))


def test_the_commands_keep_their_names_and_options():
    assert golden.commands() == KNOWN["commands"]


def test_the_endpoints_keep_their_names_and_parameters(tiny_scorer):
    assert golden.endpoints(tiny_scorer) == KNOWN["endpoints"]


@pytest.mark.slow
def test_the_examples_keep_their_verdicts():
    found = golden.detections(golden.load_scorer(golden.MODEL))
    assert found.keys() == KNOWN["detections"].keys()
    for name, detection in found.items():
        known = KNOWN["detections"][name]
        assert (detection["verdict"], detection["class"]) == (known["verdict"], known["class"])
        assert detection["score"] == pytest.approx(known["score"], abs=0.02)
