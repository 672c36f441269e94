"""What the Draw tab answers, as HTML: found or missed, how far it was covered, and the maps."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy import ndimage

from ltad.coverage import Coverage
from ltad.types import Detection
from ltad.ui import answer, pictures
from ltad.ui.text import escape, notice, number, readable

_LINE, _HALO = (255, 255, 255, 255), (10, 10, 10, 255)


def empty_answer(has_examples: bool) -> str:
    """What stands here before there is a picture."""
    choice = "Choose a good example" if has_examples else "Drop a picture of a good part"
    return (
        "<div class='lt-empty'><h2>Would it be found?</h2>"
        f"<p>{choice}, then paint a scratch, a stain, a hole or a crack on it. The score before "
        "and after, the maps and how much of your defect they cover appear here while you "
        "paint.</p></div>"
    )


def stage_html(photo_url: str, width: int, height: int) -> str:
    """The picture to paint on; the script ``draw.js`` does the rest."""
    return (
        f"<div class='lt-stage' style='--lt-aspect:{width}/{height}'>"
        f"<img src='{photo_url}' alt='' draggable='false' data-good='{photo_url}'>"
        "<canvas tabindex='0' role='application' aria-label='The picture to paint on. Arrow keys "
        "move the brush, space lowers and lifts it, control Z takes the last stroke back.'>"
        "</canvas></div><p class='lt-quiet' id='lt-draw-pen' aria-live='polite'>Paint with the "
        "pointer, or with the arrow keys and space.</p>"
    )


def trial_html(
    before: Detection, after: Detection, coverage: Coverage, is_painted: bool
) -> str:
    """The verdict on what was painted."""
    notices = ""
    if before.is_judged and not before.is_recognised:
        notices += notice(answer.DOUBT)
    if before.verdict == "anomalous":
        notices += notice("The model calls this picture anomalous before anything is painted. "
                          "Paint on a good one to learn what it finds.")
    return (
        notices + _verdict_html(before, after, coverage, is_painted)
        + _coverage_html(coverage, after)
    )


def _outcome(after: Detection, coverage: Coverage) -> tuple[str, str, str]:
    """Tone, word and reason: an alarm finds a defect only where the map shows it."""
    if not after.is_judged:
        return "doubtful", "Not judged", ""
    if not after.is_anomalous:
        return "bad", "Missed", ""
    if not coverage.is_shown:
        return "", "An alarm, but elsewhere", (
            "The map is highest away from what you painted, and none of it is above the limit "
            "where regions begin."
        )
    if coverage.found:
        aside = "" if coverage.is_peak_near else " The map is highest elsewhere, though."
        return "good", "Found", (
            f"{_share(coverage.found)} of what you painted is above the limit where regions begin."
            + aside
        )
    return "good", "Found, but not outlined", (
        "The map is highest where you painted, but no painted pixel is above the limit where "
        "regions begin."
    )


def _share(share: float) -> str:
    return "Less than 1%" if 0 < share < 0.01 else f"{share:.0%}"


def _verdict_html(
    before: Detection, after: Detection, coverage: Coverage, is_painted: bool
) -> str:
    if is_painted:
        kind, word, where = _outcome(after, coverage)
        text = f"{where} {after.explanation}".strip() if after.is_judged else ""
    else:
        kind, word, text = "", "Nothing painted yet", "Choose what to paint, then paint it."
    icon = f"{answer.icon(kind)}" if kind else ""
    gauge = answer.gauge_html(
        after.score, after.threshold, after.map_scale["combined"][0],
        before.score if is_painted else None,
    )
    return (
        f"<section class='lt-card lt-verdict lt-{kind or 'doubtful'}' aria-label='Verdict'>"
        f"<h2>{icon}{word}</h2>{'' if after.is_judged else answer.unjudged_html(after)}{gauge}"
        f"{f'<p>{escape(text)}</p>' if text else ''}"
        f"<p class='lt-quiet'>{_settings_text(after)}</p></section>"
    )


def _settings_text(detection: Detection) -> str:
    return (
        f"Scored as {escape(readable(detection.class_name))} with the settings of the Inspect tab: "
        f"“{escape(detection.normal_prompt)}” against “{escape(detection.abnormal_prompt)}”, "
        f"λ {number(detection.lam)}, τ {number(detection.tau)}, false alarms accepted "
        f"{detection.false_alarm_rate:.0%}."
    )


def _coverage_html(coverage: Coverage, after: Detection) -> str:
    """The four figures, each with what it says; nothing before something is painted."""
    if coverage.found is None or coverage.overlap is None or coverage.auroc is None:
        return ""
    rows = (
        ("Painted", f"{coverage.painted:.1%}", "of the picture"),
        ("Covered", _share(coverage.found),
         f"of it lies above the limit where regions begin, {number(after.pixel_threshold)}"),
        ("Overlap", f"{coverage.overlap:.2f}", "intersection over union of the two areas"),
        ("AUROC", f"{coverage.auroc:.3f}", "of the map's values, painted against untouched"),
    )
    body = "".join(
        f"<tr><th scope='row'>{name}</th><td>{value}</td><td>{meaning}</td></tr>"
        for name, value, meaning in rows
    )
    return f"<table class='lt-table lt-coverage'><tbody>{body}</tbody></table>"


def outline_png(mask: np.ndarray) -> bytes:
    """The edge of a mask (H, W) as a transparent PNG: a light line with a dark one around it."""
    wide = max(1, round(max(mask.shape) / 256))
    line = mask & ~ndimage.binary_erosion(mask, iterations=wide)
    halo = ndimage.binary_dilation(mask, iterations=wide) & ~mask
    drawn = np.zeros((*mask.shape, 4), np.uint8)
    drawn[line], drawn[halo] = _LINE, _HALO
    return png_bytes(Image.fromarray(drawn))


def png_bytes(image: Image.Image) -> bytes:
    """A PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def maps_html(
    after: Detection, painted: Image.Image, mask: np.ndarray, version: int
) -> str:
    """The three maps over the painted picture, the painted area outlined.

    The picture itself is carried along for the stage, with the version of the strokes it shows.
    """
    url = pictures.data_url(pictures.photo_jpeg(painted, max(painted.size)), "image/jpeg")
    outline = pictures.data_url(outline_png(mask), "image/png") if mask.any() else ""
    photo = answer.Photo(None, url, *painted.size)
    return (
        f"<img id='lt-draw-painted' src='{url}' data-version='{version}' alt='' hidden>"
        + answer.maps_html(after, photo, outline)
    )
