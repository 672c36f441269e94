"""The measurement of many visitors: it starts a page, and it notices another image's answer."""

import io

import pytest
from PIL import Image

from ltad import load_scorer
from ltad.bench.served import image_file, strangers
from ltad.bench.visitors import Seen, _row, main


def test_an_answer_to_another_image_is_noticed(tmp_path):
    scorer = load_scorer("assets/demo", cache=tmp_path)
    answers = []
    for number in range(4):
        image = Image.open(io.BytesIO(image_file(number)))
        found = scorer.score(image, normal_prompt="a", abnormal_prompt="a dirty")
        answers.append((number, "a dirty", found.score))
    assert strangers(scorer, answers) == 0
    (first, _, one), (second, _, other), *rest = answers
    assert one != other
    assert strangers(scorer, [(first, "a dirty", other), (second, "a dirty", one), *rest]) == 2


def test_every_image_is_another_one():
    assert len({image_file(number) for number in range(50)}) == 50


def test_a_row_counts_answers_and_failures():
    seen = Seen([0.1, 0.3], [0.02], [(0, "a", 1.0)] * 6, ["no"])
    assert _row(2, 3.0, seen, 0.6).split() == ["2", "2.0", "200", "290", "20", "20", "100.0", "1"]


@pytest.mark.slow
def test_visitors_of_a_page_are_answered(tiny_model_folder, capsys):
    assert main(["--model", str(tiny_model_folder), "--visitors", "3", "--seconds", "2"]) == 0
    told = capsys.readouterr().out
    assert "page served after" in told and "0 of " in told.splitlines()[-1]
    visitors, rate, *_, failures = told.splitlines()[2].split()
    assert (visitors, failures) == ("3", "0") and float(rate) > 0
