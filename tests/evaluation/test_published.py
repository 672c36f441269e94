"""The paper's figures: cells read off its tables, sizes, and what its own averages say."""

import pytest

from ltad.evaluation.ablations import published
from ltad.types import SettingError

SIZES = {3: (8, 8), 4: (12, 5), 5: (12, 5), 6: (8, 6), 7: (4, 6), 8: (3, 6), 9: (4, 8)}


@pytest.mark.parametrize("number, size", SIZES.items())
def test_rows_and_columns(number, size):
    table = published(number)
    assert (len(table.rows), len(table.columns)) == size
    assert {len(row) for row in table.values} == {size[1]} and len(table.values) == size[0]
    assert len(set(table.rows)) == size[0] and len(set(table.columns)) == size[1]
    assert table.source.startswith(f"Table {number} of the paper: ")
    assert all(0 <= v <= 100 for row in table.values for v in row if v is not None)


@pytest.mark.parametrize(
    "number, row, column, value",
    [
        (3, "exp100 Det.", "Cut & Paste", 75.89), (3, "exp200 Det.", "LTAD", 86.05),
        (3, "step200 Seg.", "LTAD", 92.12), (3, "exp100 Seg.", "Cut & Paste", None),
        (4, "exp500 Det.", "RegAD", None), (4, "step100 Det.", "LTAD", 84.80),
        (5, "step100 Seg.", "RegAD", 90.28), (5, "exp500 Seg.", "LTAD w/o SAD", 95.99),
        (6, "6.4", "Det. High", 97.77), (6, "6.8", "Seg. Low", 91.44),
        (7, "7.3", "Seg. All", 91.14), (8, "8.1", "Seg. All", 63.74),
        (9, "a flawless", "a broken Det.", 65.63), (9, "a good", "an abnormal Seg.", 91.15),
    ],
)
def test_cells(number, row, column, value):
    assert published(number).value(row, column) == value


@pytest.mark.parametrize("number", [6, 7, 8])
def test_all_is_the_mean_of_seven_and_eight_classes(number):
    table = published(number)
    for row in table.rows:
        for task in ("Det.", "Seg."):
            mean, high, low = (table.value(row, f"{task} {g}") for g in ("All", "High", "Low"))
            assert (7 * high + 8 * low) / 15 == pytest.approx(mean, abs=0.011)


def test_tables_agree_where_they_print_the_same_model():
    assert published(7).values[-1] == published(8).values[-1]
    assert published(9).values[0][:2] == tuple(published(7).values[-1][i] for i in (0, 3))
    tables = published(3), published(6)
    for task in ("Det.", "Seg."):
        assert tables[0].value(f"step100 {task}", "LTAD w/o SAD") == tables[1].value(
            "6.8", f"{task} All"
        )


def test_what_is_missing_is_said():
    for number in (3, 4):
        assert "N/A" in published(number).note
    assert "83.37" in published(3).note and published(3).value("step100 Det.", "UniAD") == 83.37
    assert "82.63" in published(3).note and published(6).value("6.1", "Det. All") == 82.63
    assert "beta 50" in published(5).note
    assert set(published(6).about) == set(published(6).rows)


def test_wrong_names():
    with pytest.raises(SettingError, match=r"table is 2, .*3, 4, 5"):
        published(2)
    with pytest.raises(SettingError, match=r"'exp50 Det\.' is no row of Table 5.*exp100 Det\."):
        published(5).value("exp50 Det.", "LTAD")
    with pytest.raises(SettingError, match="'SAD' is no column of Table 3"):
        published(3).value("exp100 Det.", "SAD")
