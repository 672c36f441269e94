"""The page's pure functions and handlers, on hand-made results; no browser, no model."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image

import app
from ltad.app import class_names, detection_view, draw, html, inspect, train_view
from ltad.app.components import UNEXPECTED, friendly
from ltad.app.page import badge_text, card_html, header_html
from ltad.config import Config
from ltad.inference.registry import ModelRegistry
from ltad.io import heatmap
from ltad.types import Detection, NearestToken, PromptError, Region, UnknownClassError

RUDE_NAME = "<img src=x onerror=alert(1)> ${2+2} {{value}} `x`"


def make_detection(**changes: object) -> Detection:
    ramp = np.linspace(0, 1, 12 * 16, dtype=np.float32).reshape(12, 16)
    plain = Detection(
        score=12.0, reconstruction_score=2.0, semantic_score=0.02, threshold=10.0,
        is_anomalous=True, class_name="hex_nut",
        class_probabilities={"hex_nut": 0.7, "gear": 0.2, "bolt": 0.06, "tile": 0.04},
        is_recognised=True, was_class_given=False, anomaly_map=2 + 500 * ramp,
        reconstruction_map=2 * ramp, semantic_map=ramp,
        map_scale={"combined": (0.0, 400.0), "reconstruction": (0.0, 4.0), "semantic": (0.0, 1.0)},
        pixel_threshold=200.0, regions=(Region(4, 3, 8, 6, 12, 12.0),),
        explanation="The semantic branch raised the alarm.", normal_prompt="a",
        abnormal_prompt="a broken", lam=500.0, tau=1.0, false_alarm_rate=0.05,
    )
    return replace(plain, **changes)


class StandIn:
    """Answers like a Scorer, from nothing; remembers what it was asked first."""

    class_names = ("hex_nut", "gear")
    config = Config()
    name = "stand-in"
    asked: tuple = ()

    @property
    def card(self):
        return {"encoder": RUDE_NAME, "classes": {RUDE_NAME: 12_000}, "is_embedded_encoder": False}

    def prepare(self, image):
        return image.size

    def score(self, *question):
        self.asked = self.asked or question
        return make_detection()

    def semantic_map(self, *question):
        return make_detection().semantic_map

    def unknown_words(self, text):
        return [word for word in text.split() if word == "frobbed"]

    def nearest_tokens(self, class_name, k=10):
        if class_name not in self.class_names:
            raise UnknownClassError(f"{class_name} is not known.")
        return [[NearestToken(RUDE_NAME, 0.5, 1.0)] * k, [NearestToken("nut", 0.1, 2.0)] * k]

    def nearest_tokens_of_words(self, words, k=10):
        return {word: [NearestToken(word, 1.0, 0.0)] * k for word in words.split()}

    def name_drift(self, class_name):
        return [(0.9, 0.1), (0.8, 0.2)]

    def own_name_ranks(self):
        return dict.fromkeys(self.class_names, 2)

    def random_baseline(self, k=10):
        return [0.3] * k

    def vocabulary_map(self):
        return make_vocabulary()

    def text_similarity(self):
        return np.eye(2, dtype=np.float32)


def make_vocabulary() -> SimpleNamespace:
    return SimpleNamespace(
        tokens=("nut", "nuts", "gear"), token_xy=np.zeros((3, 2), np.float32),
        names=("hex_nut 1", "gear 1"), name_xy=np.ones((2, 2), np.float32),
        initial_xy=np.zeros((1, 2), np.float32), explained=0.25,
    )


PHOTO = detection_view.Photo("data:image/jpeg;base64,", width=320, height=120)


# --- images ------------------------------------------------------------------------------------


def test_colour_scale_grows_lighter_and_more_solid():
    table = heatmap.colour_table().astype(float)
    lightness = table[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert table.shape == (256, 4)
    assert (np.diff(lightness) >= -0.5).all() and lightness[-1] > 5 * lightness[0]
    assert table[0, 3] == 0 and table[-1, 3] == 255 and (np.diff(table[:, 3]) >= 0).all()


def test_colour_levels_are_fixed_by_the_scale_alone():
    values = np.array([[-5.0, 0.0, 5.0, 10.0, 99.0, np.nan]])
    assert heatmap.colour_levels(values, 0, 10).tolist() == [[0, 0, 128, 255, 255, 0]]


def test_heat_png_shows_the_table_colour():
    png = heatmap.heat_png(np.array([[0.0, 10.0]] * 3), 0, 10)
    heat = Image.open(io.BytesIO(png)).convert("RGBA")
    assert heat.size == (2, 3)
    assert heat.getpixel((0, 0))[3] == 0
    assert heat.getpixel((1, 2)) == tuple(heatmap.colour_table()[-1])


@pytest.mark.parametrize("shape", [(1, 1), (5, 9), (64, 48)])
def test_values_under_the_pointer_round_trip(shape):
    random = np.random.default_rng(0)
    maps = [random.normal(size=shape).astype(np.float32) * size for size in (1, 500, 0)]
    packed, ranges = heatmap.pack_maps(maps)
    for values, read in zip(maps, heatmap.unpack_maps(packed, ranges, shape), strict=True):
        np.testing.assert_allclose(read, values, atol=float(np.ptp(values)) / 65535 + 1e-9)


def test_photo_keeps_its_proportions():
    small = Image.open(io.BytesIO(heatmap.photo_jpeg(Image.new("RGB", (2000, 500)))))
    assert small.size == (heatmap.PHOTO_SIDE, heatmap.PHOTO_SIDE // 4)


# --- HTML ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (0.1234, "0.123"), (7.077, "7.08"), (70.77, "70.8"),
                        (707.7, "708"), (0.00001, "1.00e-05")],
)
def test_number(value, shown):
    assert html.number(value) == shown


def test_near_numbers_are_told_apart():
    assert html.apart(3.0, 700.0) == ("3.00", "700")
    assert html.apart(246.97, 247.0) == ("246.97", "247.00")
    assert html.apart(5.0, 5.0) == ("5.00", "5.00")


def gauge(score: float, threshold: float, start: float) -> str:
    return html.render("detection.gauge", detection_view.scale(score, threshold, start))


def test_gauge_keeps_the_threshold_in_the_middle():
    assert "left:50.0%" in gauge(5.0, 10.0, 0.0)
    assert "width:25.0%" in gauge(5.0, 10.0, 0.0)
    assert "left:50.0%" in gauge(245.0, 247.0, 246.0)
    far = gauge(100.0, 10.0, 0.0)
    assert "width:87.0%" in far and "left:8.7%" in far


def test_verdict_is_said_in_words_and_not_by_colour_alone():
    bad = detection_view.answer_html(make_detection())
    good = detection_view.answer_html(make_detection(is_anomalous=False, score=3.0))
    assert "Anomalous" in bad and "<svg" in bad and "above the threshold 10.0" in bad
    assert "Normal" in good and "<svg" in good and "not above the threshold 10.0" in good


def test_unrecognised_part_is_announced():
    assert "not to be trusted" not in detection_view.answer_html(make_detection())
    given = detection_view.answer_html(make_detection(is_recognised=False, was_class_given=True))
    assert "not to be trusted" in given and "Anomalous?" in given
    assert "choose its class" not in given


@pytest.mark.parametrize("is_anomalous", [True, False])
def test_a_part_that_the_model_does_not_know_is_not_judged(is_anomalous):
    unknown = make_detection(is_recognised=False, is_anomalous=is_anomalous)
    assert not unknown.is_judged
    shown = detection_view.answer_html(unknown)
    title = shown.partition("</h2>")[0]
    assert title.endswith("Not judged") and "lt-doubtful" in title
    assert "none of the parts this model knows" in shown and "Measured as hex nut" in shown
    assert "choose its class by hand" in shown and "Train tab" in shown
    assert "score 12.0" in shown and "threshold 10.0" in shown
    assert inspect.detection_record(unknown)["verdict"] == "not judged"
    by_hand = replace(unknown, was_class_given=True)
    assert by_hand.verdict == ("anomalous" if is_anomalous else "normal")


def test_three_most_probable_classes_are_shown():
    shown = html.render("detection.recognised", make_detection())
    assert "hex nut" in shown and "70%" in shown and "bolt" in shown and "tile" not in shown


def test_names_cannot_become_markup_or_template():
    rude = make_detection(
        class_name=RUDE_NAME, explanation=RUDE_NAME, class_probabilities={RUDE_NAME: 1.0}
    )
    page = detection_view.answer_html(rude) + detection_view.maps_html(rude, PHOTO)
    page += class_names.describe_names(StandIn(), "hex_nut", 1) + header_html(StandIn())
    page += card_html(StandIn().card)
    page += detection_view.prompt_notes("a", "b", [RUDE_NAME])
    trial = {"good": 3, "defective": 9, "false_alarms": 0, "found": 0, "auroc": 0.5}
    page += train_view.figures_html({"false_alarm_rate": 0.05, "command": RUDE_NAME, "classes": [{
        "class_name": RUDE_NAME, "is_new": True, "training": 12, "held_out": 3, "recognised": 1.0,
        "is_pooled": False, "are_held_out": True, "painted": trial, "test": None}]})
    page += html.render("train.added", RUDE_NAME, 0, [RUDE_NAME])
    page += draw.trial_html(rude, rude, draw.Coverage(0.0, None, None, None, None), False)
    assert "<img src=x" not in page and "${" not in page and "{{" not in page


def test_badge_says_which_encoder_answers():
    assert "not ALIGN" in badge_text({"is_embedded_encoder": True, "encoder": "encoder"})
    assert badge_text({"is_embedded_encoder": False, "encoder": "x/y"}) == "Encoder: x/y"
    assert badge_text({"encoder": str(Path.cwd() / "align")}) == "Encoder: align"


def test_card_is_readable():
    table = card_html({"per_class": {"hex_nut": 1200}, "unknown": None, "ready": True})
    assert "hex nut 1,200" in table and "unknown" not in table and "yes" in table


def test_maps_carry_the_values_of_all_three():
    detection = make_detection()
    page = detection_view.maps_html(detection, PHOTO)
    packed = page.split("data-packed='")[1].split("'")[0]
    ranges = json.loads(page.split("data-ranges='")[1].split("'")[0])
    combined, _, semantic = heatmap.unpack_maps(packed, ranges, (12, 16))
    np.testing.assert_allclose(combined, detection.anomaly_map, atol=0.01)
    np.testing.assert_allclose(semantic, detection.semantic_map, atol=1e-4)
    assert page.count("class='lt-frame'") == 3 and page.count("class='lt-box'") == 1


def test_regions_are_told_in_pixels_of_the_photograph():
    region = make_detection().regions[0]
    assert PHOTO.box(region, (12, 16)) == (80, 30, 160, 60)
    assert "x 80–160, y 30–60" in detection_view.maps_html(make_detection(), PHOTO)
    assert "No region" in detection_view.maps_html(make_detection(regions=()), PHOTO)


def test_prompt_notes():
    assert detection_view.prompt_notes("a", "a broken", []) == ""
    assert "0.5 everywhere" in detection_view.prompt_notes("a  good", " a good", [])
    assert "frobbed" in detection_view.prompt_notes("a", "a frobbed", ["frobbed"])


# --- handlers ------------------------------------------------------------------------------------


def test_inspect_photo_passes_the_settings_on():
    scorer = StandIn()
    registry = ModelRegistry(scorer)
    photo = inspect.load_photo(registry, "stand-in", sent(32, 16))
    verdict, maps, notes = inspect.inspect_photo(
        registry, False, photo, "stand-in", "gear", " a good ", "a frobbed", 3.0, 0.5, 0.1, 2.0
    )
    assert scorer.asked == ((32, 16), "gear", "a good", "a frobbed", 3.0, 0.5, 0.1, 2.0)
    assert "Anomalous" in verdict and "lt-maps" in maps and "frobbed" in notes


def test_empty_boxes_mean_the_models_own_words():
    scorer = StandIn()
    registry = ModelRegistry(scorer)
    photo = inspect.load_photo(registry, "", sent(32, 16))
    inspect.inspect_photo(registry, False, photo, "", "", "  ", "", 3.0, 0.5, 0.1)
    assert scorer.asked[1:4] == (None, "a", "a broken")


def test_a_picture_made_ready_for_another_model_waits():
    scorer = StandIn()
    photo = inspect.load_photo(ModelRegistry(scorer), "", sent(32, 16))
    answered = inspect.inspect_photo(
        ModelRegistry(scorer), False, photo, "another", "", "a", "a b", 3.0, 0.5, 0.1
    )
    assert all("__type__" in part for part in answered) and not scorer.asked


def sent(width: int, height: int) -> dict:
    """An image as the browser sends it."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "PNG")
    return {"url": heatmap.data_url(buffer.getvalue(), "image/png"), "orig_name": "part.png"}


def test_a_refused_picture_leaves_its_reason_in_the_answers_place():
    registry = ModelRegistry(StandIn())
    refused = inspect.load_photo(registry, "", sent(4, 4))
    verdict, maps, _ = inspect.inspect_photo(
        registry, True, refused, "", "", "a", "a b", 1.0, 1.0, 0.1)
    assert "This image cannot be used" in verdict and maps == ""
    assert "part.png is 4 x 4 pixels, but both sides must be at least 8." in verdict


def test_a_finished_training_with_poor_figures_is_not_called_finished_only():
    def trial(auroc, found):
        return {"good": 5, "defective": 5, "false_alarms": 0, "found": found, "auroc": auroc}

    def one(name, painted, test=None):
        return {"class_name": name, "painted": painted, "test": test}

    fine = one("cog", trial(0.9, 4))
    assert train_view.poor_classes({"classes": [fine]}) == []
    assert train_view.poor_classes(None) == []
    classes = [fine, one("blind", trial(0.55, 4)), one("deaf", trial(0.9, 0)),
               one("tested", trial(0.9, 4), trial(0.5, 3))]
    assert train_view.poor_classes({"classes": classes}) == ["blind", "deaf", "tested"]


def test_a_stranger_is_listed_without_percentages():
    """Probabilities tell classes apart; of a part that is none of them they would say 100%."""
    known = html.render("detection.recognised", make_detection())
    stranger = html.render("detection.recognised", make_detection(is_recognised=False))
    assert "70%" in known and "%" not in stranger
    assert "far from every class" in stranger and "hex nut" in stranger


def test_without_a_picture_the_page_says_what_to_do():
    registry = ModelRegistry(StandIn())
    assert inspect.load_photo(registry, "", None) is None
    verdict, maps, _ = inspect.inspect_photo(
        registry, True, None, "", "", "a", "a b", 1.0, 1.0, 0.1)
    assert "Drop a photograph" in verdict and "examples" in verdict and maps == ""


def test_detection_record_is_plain_json():
    record = json.loads(json.dumps(inspect.detection_record(make_detection(), include_maps=True)))
    assert record["verdict"] == "anomalous" and record["regions"][0]["left"] == 4
    assert np.shape(record["maps"]["semantic"]) == (12, 16)
    assert "maps" not in inspect.detection_record(make_detection())


def test_vectors_no_better_than_chance_are_named():
    page = class_names.describe_names(StandIn(), "hex_nut", 2)
    assert "Vector 2 is no nearer to any word than a random vector is." in page
    assert "To the words “hex nut”, its own vectors have rank 2 among those of 2 classes" in page
    assert "the mean rank is 2.0; vectors without a meaning reach 1.5." in page
    near = NearestToken("nut", 0.9, 0.1)
    start = NearestToken("object", 0.95, 0.1)
    assert class_names.baseline_findings([[near]], [0.3]) == []
    assert class_names.baseline_findings([[start, near]], [0.3]) == []
    assert "where it began" in class_names.baseline_findings([[start]], [0.3])[0]


def test_vocabulary_figure_marks_class_and_word():
    figure = class_names.vocabulary_figure(make_vocabulary(), "hex_nut", "NUT")
    shown = {trace.name: list(trace.text) for trace in figure.data}
    assert shown["hex nut"] == ["hex nut 1"] and shown["“NUT”"] == ["nut", "nuts"]
    plain = class_names.vocabulary_figure(make_vocabulary(), "hex_nut")
    assert len(plain.data) == len(figure.data) - 1
    assert plain.layout.paper_bgcolor == "rgba(0,0,0,0)"


def test_a_long_class_name_is_shortened_on_the_map_and_whole_under_the_pointer():
    name = "aluminium_extrusion_profile_with_anodised_surface"
    vocabulary = make_vocabulary()
    vocabulary.names = (f"{name} 1", *vocabulary.names[1:])
    mine = class_names.vocabulary_figure(vocabulary, name).data[2]
    assert list(mine.text) == ["aluminium extrusion… 1"]
    assert list(mine.hovertext) == ["aluminium extrusion profile with anodised surface 1"]


def test_errors_reach_the_page_without_paths_or_markup():
    @friendly
    def ours():
        raise PromptError("<b>too long</b>")

    @friendly
    def theirs():
        raise ValueError("secret/place")

    with pytest.raises(gr.Error) as raised:
        ours()
    assert raised.value.message == "&lt;b&gt;too long&lt;/b&gt;"
    with pytest.raises(gr.Error) as raised:
        theirs()
    assert raised.value.message == UNEXPECTED


def test_a_space_listens_on_every_address(monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert app.parse_arguments([]).host == "127.0.0.1"
    monkeypatch.setenv("SPACE_ID", "someone/ltad")
    assert app.parse_arguments([]).host == "0.0.0.0"
    assert not app.parse_arguments([]).share


def test_the_server_says_where_it_keeps_things():
    asked = app.parse_arguments(["--work", "desk", "--folder", "line 1", "--folder", "line 2"])
    assert asked.work == Path("desk") and asked.folder == [Path("line 1"), Path("line 2")]
    assert app.parse_arguments([]).work == Path(".ltad") and app.parse_arguments([]).folder == []
