"""Plants one-line faults, one at a time, and counts those that the tests near them notice.

``python tests/planted_faults.py`` works on a copy of the package and names what survives; with
words, only faults whose place holds one of them. A fault whose line is gone is an error: it has to
be planted anew.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
SCORES = "test_scoring.py test_service.py test_calibration.py"
FAULTS: list[tuple[str, str, str, str]] = [
    # scoring
    ("scoring.py", "(reconstruction - patches).square()", "(reconstruction - patches).abs()",
     SCORES),
    ("scoring.py", "abnormal_text - normal_text)", "normal_text - abnormal_text)", SCORES),
    ("scoring.py", "abnormal_text) / tau)", "abnormal_text) * tau)", SCORES),
    ("scoring.py", "return reconstruction_map + lam * semantic_map",
     "return lam * reconstruction_map + semantic_map", SCORES),
    ("scoring.py", "return pooled.amax(dim=(1, 2))", "return pooled.mean(dim=(1, 2))", SCORES),
    ("scoring.py", "(len(ordered) + 1) * (1.0", "len(ordered) * (1.0", SCORES),
    ("scoring.py", "anomaly_map > threshold)", "anomaly_map >= threshold)", SCORES),
    ("scoring.py", "if area >= minimum_area:", "if area > minimum_area:", SCORES),
    ("scoring.py", "if score > threshold else pixel_threshold",
     "if score < threshold else pixel_threshold", SCORES),
    ("scoring.py", "zero = float(raw.median())", "zero = float(raw.amin())", SCORES),
    # calibration
    ("calibration.py", "total = total + settings.reference_weight * parts[REFERENCE]",
     "total = total + parts[REFERENCE]", SCORES),
    ("calibration.py", "(parts[\"semantic\"] - zero) / (one - zero)",
     "(parts[\"semantic\"] - zero) / one", SCORES),
    ("calibration.py", "own + 1 >= 1.0 / rate", "own >= 1.0 / rate", SCORES),
    ("calibration.py", "below = sum(normal < score", "below = sum(normal <= score", SCORES),
    ("calibration.py", "share = round((count + 1) / (count + 1 - below))",
     "share = round(count / (count + 1 - below))", SCORES),
    ("calibration.py", "over = [b for b in scores if b != \"combined\" and scores[b] >",
     "over = [b for b in scores if b != \"combined\" and scores[b] <", SCORES),
    ("calibration.py", "{b: float(np.median(v)) for b, v in normal.scores",
     "{b: float(np.max(v)) for b, v in normal.scores", SCORES),
    # service, recognition
    ("service.py", "is_anomalous=score > threshold", "is_anomalous=score >= 0.9 * threshold",
     SCORES),
    ("service.py", "was_class_given=class_name is not None", "was_class_given=True", SCORES),
    ("service.py", "name = class_name or seen.best", "name = seen.best", SCORES),
    ("recognition.py", "limits = self.limit * (1 + 1 /", "limits = self.limit * (2 + 1 /",
     "test_recognition.py"),
    ("recognition.py", "kept = flat.shape[2] - int(trimmed * flat.shape[2])",
     "kept = flat.shape[2]", "test_recognition.py"),
    ("reader.py", "return f\"features-{self._encoder.fingerprint}-{prepared.key}\"",
     "return f\"features-{prepared.key}\"", "test_service.py test_shelf.py"),
    # metrics
    ("metrics_pixel.py", "0.5 *", "1.0 *", "test_metrics.py test_metrics_pixel.py"),
    ("metrics.py", "np.isfinite(scores).all()", "np.isfinite(scores).any()", "test_metrics.py"),
    ("metrics.py", "np.bincount(places[labels]", "np.bincount(places[~labels]", "test_metrics.py"),
    # models
    ("models/residual.py", "residual.square().sum(dim=1)", "residual.square().mean(dim=1)",
     "test_residual.py test_training.py test_reference.py"),
    ("models/residual.py", "return 1.0 - functional.cosine_similarity",
     "return functional.cosine_similarity", "test_residual.py"),
    ("models/residual.py", "(residual / self.scale[class_index]",
     "(residual / self.scale[0]", "test_residual.py"),
    ("models/residual.py", "residual.movedim(1, -1) - self.mean[class_index]",
     "residual.movedim(1, -1)", "test_residual.py"),
    ("models/reference.py", "avg_pool2d(patches, 3, 1, 1", "avg_pool2d(patches, 1, 1, 0",
     "test_reference.py"),
    ("models/detector.py", "return (scores - zero) / (one - zero)", "return (scores - zero) / one",
     "test_reference.py test_reference_mode.py"),
    ("reference_mode.py", "if at != place for fine in row", "for fine in row",
     "test_reference_mode.py"),
    # data
    ("data/masks.py", "covered >= 0.5", "covered > 0.5", "test_layouts.py"),
    ("data/masks.py", "return marked | thin, thin", "return marked, thin",
     "test_layouts.py"),
    ("data/masks.py", "color, alpha = values[..., :3].max(axis=-1)",
     "color, alpha = values[..., :3].min(axis=-1)", "test_layouts.py"),
    ("data/masks.py", "levels.max() / 2)", "levels.max())", "test_layouts.py"),
    ("data/longtail.py", "** (-rank / (classes - 1))", "** (-rank / classes)", "test_longtail.py"),
    ("data/longtail.py", "rank < classes // 2 else", "rank <= classes // 2 else",
     "test_longtail.py"),
    ("data/longtail.py", "int(exact + 1e-9)", "int(exact)",
     "test_longtail.py test_named_splits.py"),
    ("data/longtail.py", "key = (seed, zlib.crc32(class_name.encode()))", "key = (seed, 0)",
     "test_longtail.py"),
    ("data/longtail.py", "order.reverse()", "pass", "test_longtail.py"),
    # desk
    ("desk/thresholds.py", "int(item.score > thresholds", "int(item.score >= thresholds",
     "test_desk_thresholds.py"),
    ("desk/thresholds.py", "self.true_positives + self.false_negatives)",
     "self.true_positives + self.false_positives)", "test_desk_thresholds.py"),
    ("desk/thresholds.py", "return _share(2 * self.true_positives, 2 *",
     "return _share(self.true_positives, 2 *", "test_desk_thresholds.py"),
    ("desk/thresholds.py", "f1 = 2 * caught / (alarms", "f1 = caught / (1 + alarms",
     "test_desk_thresholds.py"),
    ("desk/thresholds.py", "int(miss_rate * len(defective) + 1e-9)",
     "int(miss_rate * len(defective)) + 1", "test_desk_thresholds.py"),
    ("desk/regions.py", "detection.pixel_threshold + (threshold - detection.threshold)",
     "detection.pixel_threshold - (threshold - detection.threshold)", "test_desk_regions.py"),
    ("desk/regions.py", "smallest = minimum_area * mask.size", "smallest = minimum_area",
     "test_desk_regions.py"),
    ("desk/run_lengths.py", "reshape(width, height).T", "reshape(height, width)",
     "test_desk_export.py test_desk_import.py"),
    ("desk/run_lengths.py", "value = count - counts[index - 2] if index > 2",
     "value = count - counts[index - 2] if index > 1", "test_desk_export.py"),
    ("desk/tables.py", "text.startswith(_GUARDED)", "text.startswith('=')",
     "test_desk_export.py test_desk_import.py"),
    ("desk/tables.py", "\"decided_threshold\": decision.threshold if decision",
     "\"decided_threshold\": decision.score if decision", "test_desk_export.py"),
    ("desk/tables.py", "\"has_mask\": bool(decision and decision.mask_key)",
     "\"has_mask\": bool(decision)", "test_desk_export.py"),
    # training
    ("training/phase2.py", "patches.norm(dim=1, keepdim=True) / patches.shape[1] * scale",
     "patches.norm(dim=1, keepdim=True) * scale", "test_training.py"),
    ("training/phase2.py", ">= chance[classes]", "< chance[classes]", "test_training.py"),
    ("training/phase2.py", "functional.softplus(-logits[1])", "functional.softplus(logits[1])",
     "test_training.py"),
    ("training/phase2.py", "return p_real * shares if distribution_aware",
     "return p_real * (1 - shares) if distribution_aware", "test_training.py"),
    ("training/train.py", "if len(positions) >= 10 else 0", "if len(positions) >= 100 else 0",
     "test_training.py test_teach.py"),
    ("models/reference.py", "STILL_ALIKE = 1.6", "STILL_ALIKE = 0.0",
     "test_reference.py test_reference_mode.py"),
    # prompt lab
    ("prompt_lab/names.py", "derangement(len(rows), detector.config.training.seed)",
     "range(len(rows))", "test_prompt_lab.py"),
    ("prompt_lab/names.py", "every = EVERY_CLASS in replacements", "every = False",
     "test_prompt_lab.py"),
    ("prompt_lab/experiment.py", "round(100 * figures[metric][branch], 3)",
     "round(100 * figures[metric][branch], 0)", "test_prompt_lab.py"),
    ("prompt_lab/experiment.py", "(\"--lam\", self.lam), (\"--tau\", self.tau))",
     "(\"--lam\", self.tau), (\"--tau\", self.lam))", "test_prompt_lab.py"),
]


def is_noticed(package: Path, fault: tuple[str, str, str, str]) -> bool:
    """Whether the tests fail with the fault in the copy of the package."""
    name, before, after, tests = fault
    path = package / "ltad" / name
    whole = path.read_text(encoding="utf-8")
    if before not in whole:
        raise SystemExit(f"{name} no longer holds {before!r}. Plant that fault anew.")
    path.write_text(whole.replace(before, after, 1), encoding="utf-8")
    try:
        found = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider",
             *(f"tests/{one}" for one in tests.split())],
            cwd=package, capture_output=True, check=False,
        )
        return found.returncode == 1
    finally:
        path.write_text(whole, encoding="utf-8")


def main(words: list[str]) -> int:
    """Plant them all. Returns the exit status: 1 when less than nine in ten are noticed."""
    chosen = [f for f in FAULTS if not words or any(w in f[0] for w in words)]
    with tempfile.TemporaryDirectory() as temporary:
        package = Path(temporary) / "package"
        shutil.copytree(ROOT, package, ignore=shutil.ignore_patterns(".git", ".ltad", ".venv"))
        survived = 0
        for number, fault in enumerate(chosen, 1):
            noticed = is_noticed(package, fault)
            survived += not noticed
            print(f"{number:3} {'noticed ' if noticed else 'SURVIVED'} {fault[0]}: {fault[2]}",
                  flush=True)
    print(f"{len(chosen) - survived} of {len(chosen)} planted faults noticed")
    return int(survived > len(chosen) / 10)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
