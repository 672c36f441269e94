// The threshold: chosen in the terms that a person has, shown against what was decided so far. It
// counts for every batch of the model and for everybody, so it is tried out first, then applied.
(() => {
  const { review } = window.ltad;
  const { state, make } = review;
  const BINS = 32;
  const MODES = {
    rate: "False-alarm rate, on the model's good images",
    score: "Score", f1: "Best F1, on what people decided",
    miss: "Share of defects missed, on what people decided",
  };
  let view;
  let isAsking = false;
  let wish = null;
  let tried = ""; // the mode that was last tried out; "reset" for the model's own
  let previous = null; // the setting before the one that counts

  review.thresholdPanel = () => {
    view = {
      className: make("select", { onchange: () => wonder(false, true) }),
      mode: make("select", { onchange: () => { startValue(); wonder(false); } },
        Object.entries(MODES).map(([mode, text]) => make("option", { value: mode }, text))),
      slider: make("input", { type: "range", "aria-label": "Threshold", step: "any",
        oninput: () => { view.value.value = rounded(view.slider.value); wonder(false); } }),
      value: make("input", { type: "number", step: "any", "aria-label": "Value",
        oninput: () => { view.slider.value = view.value.value; wonder(false); } }),
      apply: make("button", { type: "button", disabled: true,
        class: "lt-review-button lt-review-primary", onclick: () => wonder(true) }, "Apply"),
      undo: make("button", { type: "button", class: "lt-review-button", hidden: true,
        onclick: () => bringBack(previous) }, "Undo"),
      preview: make("p", { class: "lt-review-preview", role: "status" }),
      chart: make("div", { class: "lt-review-chart" }),
      figures: make("dl", { class: "lt-review-figures" }),
      knows: make("div", { class: "lt-quiet" }),
      source: make("p", { class: "lt-quiet", role: "status" }),
      earlier: make("details", { class: "lt-review-earlier", hidden: true }),
    };
    const reset = make("button", { type: "button", class: "lt-review-button",
      onclick: () => wonder(false, false, "") }, "Reset to the model's");
    return make("div", { class: "lt-review-threshold" },
      make("div", {}, make("label", {}, "For", view.className),
        make("label", {}, "Threshold as", view.mode),
        make("div", { class: "lt-review-line" }, view.slider, view.value), view.preview,
        make("div", { class: "lt-review-line" }, view.apply, view.undo, reset), view.source,
        view.earlier),
      make("div", {}, view.chart, view.figures, view.knows));
  };
  const rounded = (value) => Number(Number(value).toPrecision(4));

  const scores = () => [...state.items.values()].filter((row) => row.status === "scored"
    && (!view.className.value || row.class_name === view.className.value));

  function range() {
    if (view.mode.value === "rate") return [0.001, 0.5];
    if (view.mode.value === "miss") return [0, 0.5];
    const all = scores().map((row) => row.score);
    return all.length ? [Math.min(...all), Math.max(...all)] : [0, 1];
  }
  function startValue(value) {
    const [low, high] = range();
    const start = { rate: 0.05, miss: 0, score: scores()[0]?.threshold ?? low, f1: 0 };
    Object.assign(view.slider, { min: low, max: high });
    view.slider.value = value ?? start[view.mode.value];
    view.value.value = rounded(value ?? start[view.mode.value]);
    view.slider.disabled = view.value.disabled = view.mode.value === "f1";
  }

  // One question at a time; of those that come meanwhile only the last is asked.
  function wonder(isApplied, isFresh = false, mode = isApplied ? tried : view.mode.value) {
    if (isFresh && wish) return; // what the person just chose is answered first, and is fresh too
    const value = mode === "" || isFresh ? 0 : Number(view.value.value);
    tried = mode;
    wish = { isApplied, mode, value, isFresh };
    if (!isAsking) answerWishes();
  }

  async function answerWishes() {
    isAsking = true;
    while (wish) {
      const { isApplied, mode, value, isFresh } = wish;
      wish = null;
      try {
        const answer = await review.call("desk_threshold", state.batch.id, view.className.value,
          isFresh ? "" : mode || "reset", value, Boolean(isApplied), state.person);
        if (!wish && (isFresh || mode === "")) {
          view.mode.value = answer.mode;
          startValue(answer.value);
        }
        draw(answer, isApplied || isFresh);
        if (isApplied || isFresh) await drawEarlier();
        if (isApplied) await review.refresh();
      } catch (error) {
        view.preview.textContent = error.message;
        view.apply.disabled = true;
      }
    }
    isAsking = false;
  }

  // --- who chose what, and the way back --------------------------------------------------------
  async function drawEarlier() {
    const className = view.className.value;
    const settings = await review.call("desk_threshold_history", state.batch.id, className);
    if (className !== view.className.value) return; // the next answer draws it
    view.earlier.hidden = !settings.length;
    const [now, ...before] = settings;
    previous = before[0] ?? { mode: "reset" };
    view.undo.hidden = !now;
    view.undo.title = now ? `Back to: ${choiceText(previous)}` : "";
    review.fill(view.earlier,
      make("summary", {}, now && `${choiceText(now)}: ${whoText(now)}`),
      before.length ? make("ol", {}, before.map((one) => make("li", {},
        make("span", {}, make("b", {}, choiceText(one)), ` ${whoText(one)}`),
        make("button", { type: "button", class: "lt-review-button",
          onclick: () => bringBack(one) }, "Set again"))))
        : make("p", { class: "lt-quiet" }, "Nothing was chosen before that."));
  }
  const share = (value) => `${rounded(100 * value)}%`;
  const choiceText = ({ mode, value }) => ({
    rate: `False-alarm rate ${share(value)}`, score: `Score ${review.number(value)}`,
    f1: "Best F1", miss: value ? `At most ${share(value)} missed` : "None missed",
    reset: view.className.value ? "As for all classes" : "The model's own",
  })[mode];
  const whoText = ({ person, created }) =>
    created ? `by ${person}, ${review.time(created)}` : "chosen earlier";

  function bringBack({ mode, value }) {
    if (mode === "reset") return wonder(true, false, "");
    view.mode.value = mode;
    startValue(value);
    wonder(true, false, mode);
  }

  // --- drawing --------------------------------------------------------------------------------
  function draw(answer, isInForce) {
    view.source.textContent = answer.source;
    const { anomalous, anomalous_now: before, total } = answer;
    view.preview.textContent = isInForce ? `In force: ${anomalous} of ${total} are anomalous.`
      : `Tried out, not in force: ${anomalous} of ${total} would be anomalous, now ${before}.`;
    view.apply.disabled = isInForce;
    review.fill(view.knows, ...knowledge(answer));
    const text = (value) => (value == null ? "–" : review.percent(value, 1));
    const figures = [["Precision", text(answer.precision)], ["Recall", text(answer.recall)],
      ["F1", text(answer.f1)], ["Anomalous", `${answer.anomalous} of ${answer.total}`],
      ["Defects found", answer.true_positives], ["Defects missed", answer.false_negatives],
      ["False alarms", answer.false_positives], ["Good passed", answer.true_negatives]];
    review.fill(view.figures, ...figures.map(([name, value]) =>
      make("div", {}, make("dt", {}, name), make("dd", {}, String(value)))));
    drawChart(answer);
  }

  // Images are reviewed worst first, so what lies below the threshold is hardly known.
  function knowledge({ below, below_reviewed: seen, sample, count }) {
    const { size, reviewed, defective, missed, recall, low, high } = sample;
    return [
      make("p", {}, `The figures know the ${count} reviewed images only. Of the ${below} at or `
        + `below the threshold ${seen} were reviewed; defects among the others count nowhere.`),
      make("p", { class: "lt-review-sample" }, recall != null
        ? `Random sample, all ${size} reviewed: ${missed} of ${defective} defective ones missed, so `
          + `recall is about ${review.percent(recall)}, between ${review.percent(low)} and `
          + `${review.percent(high)} (95%).`
        : reviewed < size ? `Random sample: ${reviewed} of ${size} reviewed. Review it whole for an `
          + "honest estimate of what is missed."
          : `Random sample: all ${size} reviewed, none defective, so it cannot tell what is missed.`,
      reviewed < size && make("button", { type: "button", class: "lt-review-button",
        onclick: () => { state.filter.kind = "sample"; review.applyFilter(); } }, "Show it")),
    ];
  }

  // Classes score in different ranges, so all together are drawn relative to their thresholds.
  function drawChart({ threshold, thresholds }) {
    const rows = scores();
    if (!rows.length) {
      return review.fill(view.chart, make("p", { class: "lt-quiet" }, "Nothing is scored yet."));
    }
    const isRelative = threshold == null;
    const line = threshold ?? 0;
    const place = (row) =>
      row.score - (isRelative ? thresholds[row.class_name] ?? row.threshold : 0);
    const all = rows.map(place);
    const low = Math.min(...all, line);
    const span = Math.max(...all, line) - low || 1;
    const bins = Array.from({ length: BINS }, () => ({ good: 0, defective: 0, other: 0 }));
    for (const row of rows) {
      const bin = bins[Math.min(BINS - 1, Math.floor((BINS * (place(row) - low)) / span))];
      const verdict = review.verdict(row);
      bin[verdict in bin ? verdict : "other"] += 1;
    }
    const most = Math.max(...bins.map((bin) => bin.good + bin.defective + bin.other));
    const bars = bins.map((bin) => make("i", {},
      ["defective", "good", "other"].map((kind) => {
        const part = make("b", { class: `lt-review-${kind}` });
        part.style.height = `${(100 * bin[kind]) / most}%`;
        return part;
      })));
    const mark = make("u", { title: "threshold" });
    mark.style.left = `${(100 * (line - low)) / span}%`;
    review.fill(view.chart,
      make("div", { class: "lt-review-bins", role: "img",
        "aria-label": "Histogram of the scores by verdict" }, bars, mark),
      make("div", { class: "lt-review-axis" }, make("span", {}, review.number(low)),
        ...[["defective", "defective"], ["good", "good"], ["other", "not judged"]].map(
          ([kind, word]) => make("span", {}, make("b", { class: `lt-review-${kind}` }), word)),
        make("span", {}, isRelative && "above the threshold by ", review.number(low + span))));
  }

  review.on("panel-threshold", () => {
    const classes = [...new Set(scoredClasses())].sort();
    const before = view.className.value;
    review.fill(view.className,
      make("option", { value: "" }, "All classes"),
      ...classes.map((name) => make("option", { value: name, selected: name === before },
        review.readable(name))));
    wonder(false, true);
    view.className.focus();
  });
  const scoredClasses = () => [...state.items.values()]
    .filter((row) => row.status === "scored").map((row) => row.class_name);
  review.on("decided", () => view && !view.chart.closest("[hidden]") && wonder(false, true));
})();
