"""The paper's 18 long-tailed training sets, and the command that prints them."""

import pytest

from ltad.cli.main import main
from ltad.data.splits import NATURAL_COUNTS, named_splits, splits_table
from ltad.types import SettingError

LARGEST = {"mvtec": 391, "visa": 905, "dagm": 1000}
TOTALS = {"mvtec": 3629, "visa": 8659, "dagm": 7004}
HALVES = {"mvtec": (7, 8), "visa": (6, 6), "dagm": (5, 5)}


def test_the_papers_eighteen_splits():
    splits = named_splits()
    assert [s.name for s in splits] == [
        "mvtec-exp100", "mvtec-exp200", "mvtec-step100", "mvtec-step200",
        "visa-exp100", "visa-exp200", "visa-exp500",
        "visa-step100", "visa-step200", "visa-step500",
        "dagm-exp50", "dagm-exp100", "dagm-exp200", "dagm-exp500",
        "dagm-step50", "dagm-step100", "dagm-step200", "dagm-step500",
    ]
    for named in splits:
        counts, largest = named.counts, LARGEST[named.dataset]
        smallest = largest // named.split.imbalance_factor
        assert (max(counts.values()), min(counts.values())) == (largest, smallest)
        assert named.ratio == largest / smallest
        assert tuple(map(len, named.groups.values())) == HALVES[named.dataset]
        high, low = ([counts[c] for c in names] for names in named.groups.values())
        assert min(high) > max(low)
        if named.split.kind == "step":
            assert set(low) == {smallest}
    for dataset, natural in NATURAL_COUNTS.items():
        assert max(natural.values()) == LARGEST[dataset]
        assert sum(natural.values()) == TOTALS[dataset]


def test_splits_are_printed(capsys):
    assert main(["splits", "--dataset", "visa"]) == 0
    printed = capsys.readouterr().out
    assert printed == splits_table(named_splits("visa")) + "\n"
    # int(905 * 100^(-1/11)) = 595
    assert "visa-exp100: 12 classes" in printed and "905 / 9 = 100.6" in printed
    assert "  High (6): pcb3 905, pcb1 595, " in printed and "mvtec" not in printed
    assert main(["splits"]) == 0
    assert sum(not line.startswith(" ") for line in capsys.readouterr().out.splitlines()) == 18
    with pytest.raises(SettingError, match=r"'coco'.*mvtec, visa, dagm"):
        named_splits("coco")


def test_any_split_of_a_folder_is_counted_and_plotted(parts_folder, tmp_path, capsys):
    """Natural counts 24, 24 and 4; in reverse: 4, then int(24 / 10^(1/2)) = 7, int(24 / 10) = 2."""
    plot = tmp_path / "splits.html"
    command = ["splits", "--data", str(parts_folder), "--split", "exp10-reversed"]
    assert main([*command, "--plot", str(plot)]) == 0
    printed = capsys.readouterr().out
    assert "High (1): leather 7" in printed and "Low (2): screw 4, hex_nut 2" in printed
    page = plot.read_text("utf-8")
    assert '"y":[4,7,2]' in page and "Plotly.newPlot" in page
    assert main(["splits", "--dataset", "visa", "--split", "none"]) == 0
    assert "visa-none: 12 classes, 8659 images" in capsys.readouterr().out
