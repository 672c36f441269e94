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
SCORES = "inference/test_scoring.py inference/test_scorer.py inference/test_calibration.py"
FAULTS: list[tuple[str, str, str, str]] = [
    # scoring
    ("inference/scoring.py", "(reconstruction - patches).square()",
     "(reconstruction - patches).abs()",
     SCORES),
    ("inference/scoring.py", "abnormal_text - normal_text)", "normal_text - abnormal_text)",
     SCORES),
    ("inference/scoring.py", "abnormal_text) / tau)", "abnormal_text) * tau)", SCORES),
    ("inference/scoring.py", "return reconstruction_map + lam * semantic_map",
     "return lam * reconstruction_map + semantic_map", SCORES),
    ("inference/scoring.py", "return pooled.amax(dim=(1, 2))", "return pooled.mean(dim=(1, 2))",
     SCORES),
    ("inference/scoring.py", "(len(ordered) + 1) * (1.0", "len(ordered) * (1.0", SCORES),
    ("inference/scoring.py", "anomaly_map > threshold)", "anomaly_map >= threshold)", SCORES),
    ("inference/scoring.py", "if area >= minimum_area:", "if area > minimum_area:", SCORES),
    ("inference/scoring.py", "if score > threshold else pixel_threshold",
     "if score < threshold else pixel_threshold", SCORES),
    ("inference/scoring.py", "zero = float(raw.median())", "zero = float(raw.amin())", SCORES),
    # calibration
    ("inference/calibration.py", "total = total + settings.reference_weight * parts[REFERENCE]",
     "total = total + parts[REFERENCE]", SCORES),
    ("inference/calibration.py", "(part - zero) / (one - zero)",
     "(part - zero) / one", SCORES),
    ("inference/calibration.py", "own + 1 >= 1.0 / rate", "own >= 1.0 / rate", SCORES),
    ("inference/calibration.py", "below = sum(normal < score", "below = sum(normal <= score",
     SCORES),
    ("inference/calibration.py", "share = round((count + 1) / (count + 1 - below))",
     "share = round(count / (count + 1 - below))", SCORES),
    ("inference/calibration.py", "over = [b for b in scores if b != \"combined\" and scores[b] >",
     "over = [b for b in scores if b != \"combined\" and scores[b] <", SCORES),
    ("inference/calibration.py", "{b: float(np.median(v)) for b, v in normal.scores",
     "{b: float(np.max(v)) for b, v in normal.scores", SCORES),
    # service, recognition
    ("inference/scorer.py", "is_anomalous=score > threshold",
     "is_anomalous=score >= 0.9 * threshold",
     SCORES),
    ("inference/scorer.py", "was_class_given=class_name is not None", "was_class_given=True",
     SCORES),
    ("inference/scorer.py", "name = class_name or seen.best", "name = seen.best", SCORES),
    ("inference/recognition.py", "limits = self.limit * (1 + 1 /", "limits = self.limit * (2 + 1 /",
     "inference/test_recognition.py"),
    ("inference/recognition.py", "remaining = flat.shape[2] - int(trimmed * flat.shape[2])",
     "remaining = flat.shape[2]", "inference/test_recognition.py"),
    ("inference/scorer.py", "return f\"features-{self._encoder.fingerprint}-{prepared.key}\"",
     "return f\"features-{prepared.key}\"", "inference/test_scorer.py inference/test_registry.py"),
    # metrics
    ("evaluation/metrics.py", "0.5 *", "1.0 *",
     "evaluation/test_metrics.py evaluation/test_metrics_pixel.py"),
    ("evaluation/metrics.py", "np.isfinite(scores).all()", "np.isfinite(scores).any()",
     "evaluation/test_metrics.py"),
    ("evaluation/metrics.py", "np.bincount(places[labels]", "np.bincount(places[~labels]",
     "evaluation/test_metrics.py"),
    # models
    ("models/residual.py", "residual.square().sum(dim=1)", "residual.square().mean(dim=1)",
     "models/test_residual.py training/test_training.py models/test_reference.py"),
    ("models/residual.py", "return 1.0 - functional.cosine_similarity",
     "return functional.cosine_similarity", "models/test_residual.py"),
    ("models/residual.py", "(residual / self.scale[class_index]",
     "(residual / self.scale[0]", "models/test_residual.py"),
    ("models/residual.py", "residual.movedim(1, -1) - self.mean[class_index]",
     "residual.movedim(1, -1)", "models/test_residual.py"),
    ("models/reference.py", "avg_pool2d(patches, 3, 1, 1", "avg_pool2d(patches, 1, 1, 0",
     "models/test_reference.py"),
    ("models/detector.py", "return (scores - zero) / (one - zero)", "return (scores - zero) / one",
     "models/test_reference.py inference/test_reference_mode.py"),
    ("inference/reference_mode.py", "if at != place for fine in row", "for fine in row",
     "inference/test_reference_mode.py"),
    # data
    ("data/datasets.py", "covered >= 0.5", "covered > 0.5", "data/test_layouts.py"),
    ("data/datasets.py", "return marked | thin, thin", "return marked, thin",
     "data/test_layouts.py"),
    ("io/cache.py", "tensor.nbytes + OBJECT_BYTES", "tensor.nbytes", "io/test_cache.py"),
    ("io/masks.py", "color, alpha = values[..., :3].max(axis=-1)",
     "color, alpha = values[..., :3].min(axis=-1)", "data/test_layouts.py"),
    ("data/datasets.py", "levels.max() / 2)", "levels.max())", "data/test_layouts.py"),
    ("data/splits.py", "** (-rank / (classes - 1))", "** (-rank / classes)",
     "data/test_longtail.py"),
    ("data/splits.py", "rank < classes // 2 else", "rank <= classes // 2 else",
     "data/test_longtail.py"),
    ("data/splits.py", "int(exact + 1e-9)", "int(exact)",
     "data/test_longtail.py data/test_named_splits.py"),
    ("data/splits.py", "key = (seed, zlib.crc32(class_name.encode()))", "key = (seed, 0)",
     "data/test_longtail.py"),
    ("data/splits.py", "order.reverse()", "pass", "data/test_longtail.py"),
    # desk
    ("review/thresholds.py", "int(item.score > thresholds", "int(item.score >= thresholds",
     "review/test_thresholds.py"),
    ("evaluation/metrics.py", "self.true_positives + self.false_negatives)",
     "self.true_positives + self.false_positives)",
     "evaluation/test_metrics.py review/test_thresholds.py"),
    ("evaluation/metrics.py", "return _share(2 * self.true_positives, 2 *",
     "return _share(self.true_positives, 2 *",
     "evaluation/test_metrics.py review/test_thresholds.py"),
    ("evaluation/metrics.py", "/ (flagged + defective.sum())", "/ flagged",
     "evaluation/test_metrics.py review/test_thresholds.py"),
    ("review/thresholds.py", "int(miss_rate * len(defective) + 1e-9)",
     "int(miss_rate * len(defective)) + 1", "review/test_thresholds.py"),
    ("review/regions.py", "detection.pixel_threshold + (threshold - detection.threshold)",
     "detection.pixel_threshold - (threshold - detection.threshold)", "review/test_regions.py"),
    ("review/regions.py", "smallest = minimum_area * mask.size", "smallest = minimum_area",
     "review/test_regions.py"),
    ("io/masks.py", "reshape(width, height).T", "reshape(height, width)",
     "review/test_export.py review/test_imports.py"),
    ("io/masks.py", "value = count - counts[index - 2] if index > 2",
     "value = count - counts[index - 2] if index > 1", "review/test_export.py"),
    ("review/export.py", "text.startswith(_GUARDED)", "text.startswith('=')",
     "review/test_export.py review/test_imports.py"),
    ("review/export.py", "\"decided_threshold\": decision.threshold if decision",
     "\"decided_threshold\": decision.score if decision", "review/test_export.py"),
    ("review/export.py", "\"has_mask\": bool(decision and decision.mask_key)",
     "\"has_mask\": bool(decision)", "review/test_export.py"),
    # training
    ("training/phases.py", "patches.norm(dim=1, keepdim=True) / patches.shape[1] * scale",
     "patches.norm(dim=1, keepdim=True) * scale", "training/test_training.py"),
    ("training/phases.py", ">= chance[classes]", "< chance[classes]", "training/test_training.py"),
    ("training/phases.py", "functional.softplus(-logits[1])", "functional.softplus(logits[1])",
     "training/test_training.py"),
    ("training/phases.py", "return p_real * shares if distribution_aware",
     "return p_real * (1 - shares) if distribution_aware", "training/test_training.py"),
    ("training/train.py", "if len(positions) >= 10 else 0", "if len(positions) >= 100 else 0",
     "training/test_training.py jobs/test_jobs.py"),
    ("models/reference.py", "STILL_ALIKE = 1.6", "STILL_ALIKE = 0.0",
     "models/test_reference.py inference/test_reference_mode.py"),
    # prompt lab
    ("prompts/variants.py", "derangement(len(rows), detector.config.training.seed)",
     "range(len(rows))", "prompts/test_lab.py"),
    ("prompts/variants.py", "every = EVERY_CLASS in replacements", "every = False",
     "prompts/test_lab.py"),
    ("prompts/experiment.py", "round(100 * value, 3)",
     "round(100 * value, 0)", "prompts/test_lab.py"),
    ("prompts/experiment.py", "(\"--lam\", self.lam), (\"--tau\", self.tau))",
     "(\"--lam\", self.tau), (\"--tau\", self.lam))", "prompts/test_lab.py"),
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
