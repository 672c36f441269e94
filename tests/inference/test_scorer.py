"""The scorer: what it returns, what it keeps, what it refuses."""

import dataclasses
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from ltad import load_scorer
from ltad.inference import scoring
from ltad.inference.recognition import ClassRecogniser
from ltad.inference.scorer import ImageReader
from ltad.io.cache import OBJECT_BYTES, ByteCache, TensorCache
from ltad.models.class_names import spoken
from ltad.synthetic.render import render_part
from ltad.types import (
    CheckpointError,
    EncoderMismatchError,
    ImageError,
    PromptError,
    SettingError,
    UnknownClassError,
)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return render_part("leather", 9, 96, "stain").image


def test_detection_fields_agree_with_each_other(tiny_scorer, picture):
    found = tiny_scorer.score(picture, class_name="leather")
    size = tiny_scorer.config.features.image_size
    for name in ("anomaly_map", "reconstruction_map", "semantic_map"):
        array = getattr(found, name)
        assert array.shape == (size, size) and array.dtype == np.float32
    np.testing.assert_allclose(
        found.anomaly_map, found.reconstruction_map + found.lam * found.semantic_map, rtol=1e-5
    )
    assert found.is_anomalous == (found.score > found.threshold)
    assert sum(found.class_probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert list(found.class_probabilities.values()) == sorted(
        found.class_probabilities.values(), reverse=True
    )


def test_scores_and_regions_are_those_of_the_maps(tiny_scorer, picture):
    found = tiny_scorer.score(picture, "leather", false_alarm_rate=0.9)
    pool = tiny_scorer.config.model.score_pool
    for score, name in ((found.score, "anomaly_map"),
                        (found.reconstruction_score, "reconstruction_map"),
                        (found.semantic_score, "semantic_map")):
        values = torch.from_numpy(getattr(found, name))[None]
        highest = torch.nn.functional.avg_pool2d(values, pool, stride=1).max().item()
        assert score == pytest.approx(highest, rel=1e-4), name
    quiet = tiny_scorer.score(picture, "leather", false_alarm_rate=0.01)
    for one in (found, quiet):
        assert one.regions == tuple(scoring.regions(one.anomaly_map, one.pixel_threshold))
    assert found.is_anomalous and found.regions != quiet.regions
    assert quiet.pixel_threshold != quiet.threshold


def test_a_given_class_counts_whatever_is_recognised(tiny_scorer, picture):
    own, other = (tiny_scorer.score(picture, name) for name in ("leather", "screw"))
    assert (own.class_name, other.class_name) == ("leather", "screw")
    assert own.class_probabilities == other.class_probabilities
    assert not np.array_equal(own.semantic_map, other.semantic_map)


def test_the_texts_of_each_class_are_its_own_and_kept(tiny_scorer):
    names = ["screw", "leather"]
    indices = [tiny_scorer.detector.index(name) for name in names]
    expected = tiny_scorer.detector.texts(tiny_scorer.encoder, "a dusty", indices)
    for _ in range(2):
        torch.testing.assert_close(tiny_scorer.texts(names, "a dusty"), expected)
    assert not torch.equal(*expected)


def test_a_text_that_leaves_the_memory_while_others_are_read_is_still_given(
    tiny_scorer, monkeypatch
):
    first, second = tiny_scorer.class_names[:2]
    wanted = tiny_scorer.texts((first, second), "a good")
    monkeypatch.setattr(tiny_scorer, "_texts", TensorCache(wanted[0].nbytes + OBJECT_BYTES))
    tiny_scorer.texts((first,), "a good")
    torch.testing.assert_close(tiny_scorer.texts((first, second), "a good"), wanted)


def test_recognition_ranks_the_true_class_first(tiny_scorer):
    for name in ("hex_nut", "leather"):
        found = tiny_scorer.score(render_part(name, 700, 96).image)
        assert found.class_name == name and not found.was_class_given


def test_a_part_that_the_model_does_not_know_is_judged_only_as_a_given_class(tiny_scorer):
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    unknown, given = tiny_scorer.score(noise), tiny_scorer.score(noise, "screw")
    assert not unknown.is_recognised and unknown.verdict == "not judged"
    assert given.verdict == ("anomalous" if given.is_anomalous else "normal")


def test_another_prompt_changes_the_semantic_map_only(tiny_scorer, picture):
    first = tiny_scorer.score(picture, "leather")
    other = tiny_scorer.score(picture, "leather", abnormal_prompt="a stained")
    np.testing.assert_array_equal(first.reconstruction_map, other.reconstruction_map)
    assert np.abs(first.semantic_map - other.semantic_map).max() > 1e-4


def test_identical_prompts_give_one_half_everywhere(tiny_scorer, picture):
    found = tiny_scorer.score(picture, "leather", "a broken", "a broken")
    np.testing.assert_allclose(found.semantic_map, 0.5, atol=1e-6)


def test_a_second_call_runs_no_image_encoder(tiny_scorer, picture, monkeypatch):
    prepared = tiny_scorer.prepare(picture)
    tiny_scorer.score(prepared)

    def refuse(*_args, **_kwargs):
        raise AssertionError("the image encoder ran again")

    monkeypatch.setattr(tiny_scorer.encoder, "image_features", refuse)
    monkeypatch.setattr(tiny_scorer.detector.reconstruction, "forward", refuse)
    tiny_scorer.score(prepared, normal_prompt="a good", lam=2.0, tau=0.5, false_alarm_rate=0.2)


def test_batch_equals_singles_and_keeps_order(tiny_scorer):
    pictures = [render_part("hex_nut", seed, 96).image for seed in (20, 21, 20)]
    batch = tiny_scorer.score_batch(pictures)
    singles = [tiny_scorer.score(p) for p in pictures]
    assert [b.score for b in batch] == pytest.approx([s.score for s in singles], rel=1e-5)
    assert batch[0].score == batch[2].score != batch[1].score


def test_threads_share_one_scorer(tiny_scorer):
    jobs = [(name, seed) for seed in range(30, 36) for name in ("hex_nut", "leather")]
    pictures = {job: render_part(job[0], job[1], 96).image for job in jobs}
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda job: tiny_scorer.score(pictures[job]), jobs * 2))
    for job, found in zip(jobs * 2, together, strict=True):
        assert found.score == pytest.approx(tiny_scorer.score(pictures[job]).score, rel=1e-6)


def test_a_lower_false_alarm_rate_never_lowers_the_threshold(tiny_scorer, picture):
    rates = (0.5, 0.3, 0.1, 0.01)
    limits = [tiny_scorer.score(picture, "screw", false_alarm_rate=r).threshold for r in rates]
    assert limits == sorted(limits)


def test_a_small_class_is_calibrated_with_the_pooled_pictures_and_says_so(tiny_scorer, picture):
    found = tiny_scorer.score(picture, "screw")
    assert "all classes together" in found.explanation


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"class_name": "spoon"}, UnknownClassError, "hex_nut"),
        ({"normal_prompt": "  "}, PromptError, "normal prompt"),
        ({"tau": 0.0}, SettingError, "tau"),
        ({"lam": -1.0}, SettingError, "lam"),
        ({"false_alarm_rate": 0.0}, SettingError, "between 0 and 1"),
        ({"false_alarm_rate": 1.0}, SettingError, "between 0 and 1"),
        ({"abnormal_prompt": "word " * 80}, PromptError, "tokens"),
    ],
)
def test_errors_name_the_value_and_the_cure(tiny_scorer, picture, arguments, error, words):
    with pytest.raises(error, match=words):
        tiny_scorer.score(picture, **arguments)


def test_a_text_file_is_refused(tiny_scorer, tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("no image")
    with pytest.raises(ImageError, match=r"notes\.png"):
        tiny_scorer.score(path)


def test_nearest_tokens_match_a_direct_search(tiny_scorer):
    vectors = tiny_scorer.tokens.vectors("leather")
    words = tiny_scorer.encoder.vocabulary().whole_words()
    for vector, nearest in zip(vectors, tiny_scorer.nearest_tokens("leather", 5), strict=True):
        cosines = torch.nn.functional.cosine_similarity(vector[None], words.embeddings)
        assert [n.token for n in nearest] == [words.tokens[i] for i in cosines.topk(5).indices]
        assert nearest[0].distance == pytest.approx(
            float((vector - words.embeddings[cosines.argmax()]).norm()), rel=1e-5
        )


def test_the_rank_of_own_vectors_is_told_by_the_name_and_by_no_other(tiny_scorer, monkeypatch):
    """Vectors set to the names' own words are the nearest; handed round by one, they are not."""
    names = tiny_scorer.class_names
    words = {name: tiny_scorer.encoder.token_vectors(spoken(name)).cpu() for name in names}
    monkeypatch.setattr(tiny_scorer.tokens, "vectors", words.__getitem__)
    assert tiny_scorer.own_name_ranks() == dict.fromkeys(names, 1)
    others = dict(zip(names, [*names[1:], names[0]], strict=True))
    monkeypatch.setattr(tiny_scorer.tokens, "vectors", lambda name: words[others[name]])
    assert all(rank > 1 for rank in tiny_scorer.own_name_ranks().values())


def test_word_neighbours_drift_and_maps(tiny_scorer):
    assert set(tiny_scorer.nearest_tokens_of_words("a broken", 4)) == {"a", "broken"}
    assert len(tiny_scorer.name_drift("screw")) == 2
    baseline = tiny_scorer.random_baseline(6)
    assert baseline == sorted(baseline, reverse=True)
    plane = tiny_scorer.vocabulary_map()
    assert plane.name_xy.shape == (6, 2) and len(plane.tokens) == len(plane.token_xy)
    similarity = tiny_scorer.text_similarity()
    np.testing.assert_allclose(np.diag(similarity), 1, atol=1e-5)


def test_a_checkpoint_refuses_another_encoder(tiny_model_folder, tiny_encoder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_folder, folder)
    data = json.loads((folder / "model.json").read_text())
    data["encoder_fingerprint"] = "0123456789abcdef"
    (folder / "model.json").write_text(json.dumps(data))
    with pytest.raises(EncoderMismatchError) as caught:
        load_scorer(folder, cache=tmp_path / "cache")
    assert "0123456789abcdef" in str(caught.value)
    assert tiny_encoder.fingerprint in str(caught.value)


def test_a_folder_without_a_model_is_explained(tmp_path):
    with pytest.raises(CheckpointError, match="model folder"):
        load_scorer(tmp_path, cache=tmp_path / "cache")


def test_after_a_restart_neither_towers_nor_transformer_run_for_a_known_image(
    tiny_model_folder, tmp_path, monkeypatch
):
    image = render_part("screw", 5, 96).image
    before = load_scorer(tiny_model_folder, cache=tmp_path).score(image, "leather")
    again = load_scorer(tiny_model_folder, cache=tmp_path)

    def forbidden(*_, **__):
        raise AssertionError("computed once more")

    monkeypatch.setattr(again.encoder, "image_features", forbidden)
    monkeypatch.setattr(again.detector, "reconstruction_scores", forbidden)
    monkeypatch.setattr(ClassRecogniser, "measure", forbidden)
    # The calibration images are other images: their limits are those of the model before.
    again.__dict__["calibration"] = load_scorer(tiny_model_folder, cache=tmp_path).calibration
    after = again.score(image, "leather")
    assert after.score == before.score
    assert list(after.class_probabilities.items()) == list(before.class_probabilities.items())
    assert after.is_recognised == before.is_recognised
    np.testing.assert_array_equal(after.reconstruction_map, before.reconstruction_map)


def test_scores_on_disk_are_never_those_of_other_settings(tiny_model_folder, tmp_path):
    """A detector with the same weights, whose image border counts for nothing."""
    folder, image = tmp_path / "model", render_part("screw", 6, 96).image
    shutil.copytree(tiny_model_folder, folder)
    whole = load_scorer(folder, cache=tmp_path / "cache").score(image, "leather")
    about = json.loads((folder / "model.json").read_text())
    about["config"]["model"]["border_weight"] = 0.0
    (folder / "model.json").write_text(json.dumps(about))
    inside = load_scorer(folder, cache=tmp_path / "cache").score(image, "leather")
    assert inside.reconstruction_map[0, 0] < whole.reconstruction_map[0, 0]


def test_recognitions_on_disk_are_another_recognisers_never(tiny_scorer):
    """The same classes, of which the second one takes no image for one of them."""
    image = render_part("leather", 11, 96).image
    seen = tiny_scorer.recognise(image)
    recogniser = tiny_scorer.checkpoint.recogniser
    strict = dataclasses.replace(
        tiny_scorer.checkpoint, recogniser=dataclasses.replace(recogniser, limit=0.0))
    other = tiny_scorer.with_checkpoint(strict, "strict").recognise(image)
    assert seen.is_known and not other.is_known
    assert list(seen.probabilities.items()) == list(other.probabilities.items())


def test_features_on_disk_are_another_encoders_never(tiny_scorer, tmp_path):
    """Two encoders share the folder of the cache; the second one doubles what it sees."""

    class Doubled:
        fingerprint = "another"

        def __getattr__(self, name):
            return getattr(tiny_scorer.encoder, name)

        def image_features(self, pixels, with_latent=False):
            found = tiny_scorer.encoder.image_features(pixels, with_latent)
            return dataclasses.replace(found, taps=tuple(2 * tap for tap in found.taps))

    image, seen = render_part("screw", 3, 96).image, []
    for encoder in (tiny_scorer.encoder, Doubled()):
        reader = ImageReader(encoder, tiny_scorer.detector, ByteCache(tmp_path))
        seen.append(reader.patches(reader.prepare(image)).float())
    assert torch.linalg.norm(seen[1] - 2 * seen[0]) < 0.01 * torch.linalg.norm(seen[0])


def test_a_new_lambda_adds_up_the_maps_that_are_there(tiny_model_folder, tmp_path, monkeypatch):
    image = render_part("leather", 77, 96, "stain").image
    scorer = load_scorer(tiny_model_folder, cache=tmp_path / "one")
    scorer.score(image, "leather")
    calls, upsample = [], scoring.upsample
    monkeypatch.setattr(scoring, "upsample", lambda *given: calls.append(1) or upsample(*given))
    found = scorer.score(image, "leather", lam=3.0)
    assert calls == []
    fresh = load_scorer(tiny_model_folder, cache=tmp_path / "two").score(image, "leather", lam=3.0)
    assert calls
    for name in ("anomaly_map", "reconstruction_map", "semantic_map"):
        np.testing.assert_array_equal(getattr(found, name), getattr(fresh, name))
    assert (found.score, found.threshold) == (fresh.score, fresh.threshold)


def test_a_semantic_map_alone_needs_no_good_image(tiny_model_folder, picture):
    scorer = load_scorer(tiny_model_folder, cache=None)
    alone = scorer.semantic_map(picture, "leather", "a", "a torn", 0.02)
    assert not scorer.calibration._readings
    whole = scorer.score(picture, "leather", "a", "a torn", tau=0.02)
    np.testing.assert_array_equal(alone, whole.semantic_map)
    alone[:] = 0
    assert scorer.semantic_map(picture, "leather", "a", "a torn", 0.02).any()


def test_a_map_that_a_caller_changes_is_not_the_one_remembered(tiny_scorer, picture):
    first = tiny_scorer.score(picture, "leather")
    kept = {name: getattr(first, name).copy() for name in ("reconstruction_map", "semantic_map")}
    for name in kept:
        getattr(first, name)[:] = -1.0
    second = tiny_scorer.score(picture, "leather")
    for name, values in kept.items():
        np.testing.assert_array_equal(getattr(second, name), values)


def test_images_go_to_the_workers_by_whether_they_are_known(tiny_scorer, monkeypatch):
    asked, workers = [], tiny_scorer._reader.workers
    run = workers.run

    def noted(works):
        works = list(works)
        asked.extend(is_quick for _, is_quick in works)
        return run(works)

    monkeypatch.setattr(workers, "run", noted)
    image = render_part("screw", 4321, 96).image
    tiny_scorer.score(image)
    tiny_scorer.score(image, abnormal_prompt="a dirty")
    assert asked == [True, False, True, True]  # decoded, and then scored
    tiny_scorer.score_batch([image, render_part("screw", 4322, 96).image])
    assert asked[4:] == [True, True, True, False]
