// What the model says and what the person says, side by side and never mixed.
(() => {
  const { review } = window.ltad;
  const { state, make, time } = review;
  const WORDS = { good: "Good", defective: "Defective", unsure: "Unsure" };
  const UNKNOWN = "This looks like none of the parts this model knows, or it is damaged beyond "
    + "recognition.";
  const LETTERS = { good: "A", defective: "R", unsure: "U" };
  const drafts = new Map(); // item id -> { defect_type, note } typed but not yet decided
  let view;

  // --- deciding -------------------------------------------------------------------------------
  review.decide = (verdict, { mask = "", stay = mask !== "" } = {}) => {
    const row = review.row();
    if (!row || (state.isResting && !stay)) return; // a quick second key overrules nothing
    if (row.status !== "scored") {
      review.say(row.reason || "This image is not scored yet; decide when it is.", "bad");
      return;
    }
    const typed = drafts.get(row.id) ?? {};
    drafts.delete(row.id);
    review.outbox.add({
      item_id: row.id, batch_id: state.batch.id, file_name: row.file_name,
      verdict, person: state.person, mask, expected_revision: row.revision,
      defect_type: typed.defect_type ?? null, note: typed.note ?? null, // null keeps what is there
    });
    if (typed.defect_type && !state.defectTypes.includes(typed.defect_type)) {
      state.defectTypes.push(typed.defect_type);
    }
    if (stay) return draw();
    const next = review.nextOpen();
    if (next != null) review.show(next);
    else {
      state.isResting = true;
      draw();
      review.emit("rest");
    }
  };

  review.undo = async () => {
    await review.outbox.flush();
    const unsent = review.outbox.takeBack();
    if (unsent) {
      await review.showDecided(unsent);
      return review.say("Taken back before it was sent.");
    }
    try {
      const { decision } = await review.call("desk_undo", state.batch.id, state.person);
      if (!decision) return review.say(`${state.person} has nothing to undo in this batch.`);
      review.settle(decision.item_id, decision);
      review.show(decision.item_id);
      review.say(`Undone: ${review.row()?.file_name} is ${decision.verdict || "not judged"} again.`);
    } catch (error) {
      review.say(error.message, "bad");
    }
  };

  review.toggleTraining = async () => {
    const row = review.row();
    await review.outbox.flush(); // a verdict on its way counts
    const detail = await review.detail(row.id);
    if (row.verdict !== "good") {
      return review.say("Only an image that you accepted as good can be chosen for training.");
    }
    try {
      const answer = await review.call(
        "desk_training", row.id, !detail.for_training, state.person);
      detail.for_training = answer.for_training;
      review.say(detail.for_training ? `${row.file_name} is offered to the Train tab.`
        : `${row.file_name} is not used for training.`, "good");
    } catch (error) {
      review.say(error.message, "bad");
    }
    draw();
  };

  function type(name, value) {
    const row = review.row();
    if (!row) return;
    drafts.set(row.id, { ...drafts.get(row.id), [name]: value });
  }
  function commit() {
    const verdict = review.row() && review.verdict(review.row());
    if (verdict && drafts.has(state.current)) review.decide(verdict, { stay: true });
  }

  // --- elements -------------------------------------------------------------------------------
  review.verdictPanel = () => {
    const button = (verdict) => make("button", {
      type: "button", class: `lt-review-verdict lt-review-${verdict}`, dataset: { verdict },
      onclick: () => review.decide(verdict),
    }, make("kbd", {}, LETTERS[verdict]), WORDS[verdict]);
    const defect = make("input", { list: "lt-review-defects", maxLength: 100,
      placeholder: "for example scratch", onchange: commit,
      oninput: () => type("defect_type", defect.value) });
    const note = make("textarea", { rows: 2, maxLength: 2000, class: "lt-review-note",
      placeholder: "N writes one, Enter keeps it", onchange: commit,
      oninput: () => type("note", note.value),
      onkeydown: (event) => {
        if (event.key !== "Enter" || event.shiftKey) return;
        event.preventDefault();
        review.focusPicture();
      } });
    view = {
      model: make("section", { class: "lt-card lt-review-model", "aria-label": "The model" }),
      conflict: make("section", { class: "lt-card lt-review-both", hidden: true, role: "alert" }),
      buttons: Object.keys(WORDS).map(button), defect, note,
      types: make("datalist", { id: "lt-review-defects" }),
      status: make("p", { class: "lt-quiet", "aria-live": "polite" }),
      training: make("input", { type: "checkbox", onchange: review.toggleTraining }),
      regions: make("section", { class: "lt-card", "aria-label": "Suspicious regions" }),
      history: make("details", { class: "lt-card lt-review-history" }),
    };
    view.trainingLabel = make("label", { class: "lt-review-check" }, view.training,
      "Use for training ", make("kbd", {}, "T"));
    const person = make("section", { class: "lt-card lt-review-person", "aria-label": "You" },
      make("h3", {}, "Your verdict"),
      make("div", { class: "lt-review-verdicts" }, view.buttons), view.status,
      make("label", {}, "Type of defect", defect, view.types),
      make("label", {}, "Note", note), view.trainingLabel);
    return make("aside", { class: "lt-review-side" },
      view.conflict, person, view.model, view.regions, view.history);
  };
  review.focusNote = () => view.note.focus();

  // --- drawing --------------------------------------------------------------------------------
  function draw() {
    const row = review.row();
    if (!view || !row) return;
    drawModel(row);
    drawPerson(row);
    drawConflict(row);
    drawRegions();
    drawHistory();
  }

  const detailOf = (row) => {
    const detail = review.shownDetail();
    return detail?.id === row.id ? detail : null;
  };

  function drawModel(row) {
    const isAnomalous = review.isAnomalous(row);
    const isUnjudged = review.isUnjudged(row);
    const isJudged = row.status === "scored" && !isUnjudged;
    view.model.classList.toggle("lt-bad", isJudged && isAnomalous);
    view.model.classList.toggle("lt-good", isJudged && !isAnomalous);
    view.model.classList.toggle("lt-doubtful", isUnjudged);
    if (row.status !== "scored") {
      review.fill(view.model, make("h3", {}, "The model"),
        make("p", {}, row.reason || `This image is ${row.status}.`));
      return;
    }
    const full = Math.max(2 * row.threshold, 1.15 * row.score) || 1;
    const share = (value) => `${Math.min(100, Math.max(0, (100 * value) / full))}%`;
    const fill = make("i", { class: "lt-fill" });
    const tick = make("i", { class: "lt-tick" });
    fill.style.width = share(row.score);
    tick.style.left = share(row.threshold);
    const detail = detailOf(row);
    review.fill(view.model,
      make("h3", {}, "The model: ", make("b", {},
        isUnjudged ? "not judged" : isAnomalous ? "anomalous" : "normal")),
      isUnjudged && make("p", { class: "lt-review-warn" }, make("b", {}, UNKNOWN),
        " Your own verdict counts as on any other."),
      make("div", { class: "lt-gauge" }, make("div", { class: "lt-track" }, fill, tick),
        make("div", { class: "lt-gauge-text" },
          make("b", {}, `score ${review.number(row.score)}`),
          make("span", {}, `threshold ${review.number(row.threshold)}`))),
      make("p", { class: "lt-quiet" },
        isUnjudged ? `Measured as ${review.readable(row.class_name)}, the class nearest to it, `
          + `${isAnomalous ? "it is above the threshold, so worth a look"
            : "it is not above the threshold"}; that class's threshold need not fit.`
          : review.readable(row.class_name),
        row.is_recognised && detail ? `, ${review.percent(detail.class_probability)} sure` : ""),
      isJudged && !row.is_recognised && make("p", { class: "lt-review-warn" },
        "This looks like none of the parts this model knows; the verdict is not to be trusted."),
      row.duplicate_of && make("p", { class: "lt-quiet" },
        "The same file content is in this batch more than once; it was scored once."),
      detail?.readyMap && !isUnjudged
        && make("p", { class: "lt-quiet" }, detail.readyMap.explanation));
  }

  function drawPerson(row) {
    const verdict = review.verdict(row);
    const pending = review.outbox.pending(row.id);
    const detail = detailOf(row);
    const decision = pending ?? detail?.decision;
    view.buttons.forEach((button) => {
      button.ariaPressed = String(button.dataset.verdict === verdict);
      button.disabled = row.status !== "scored" || state.isResting;
    });
    const stands = detail?.decision;
    view.status.textContent = pending ? "Not saved yet …"
      : verdict && stands ? `Saved: ${stands.person}, ${time(stands.created)}`
        + (stands.imported ? `, imported ${time(stands.imported)}` : "") : "";
    const text = { ...detail?.decision, ...present(decision), ...drafts.get(row.id) };
    if (document.activeElement !== view.defect) view.defect.value = text.defect_type ?? "";
    if (document.activeElement !== view.note) view.note.value = text.note ?? "";
    review.fill(view.types, ...state.defectTypes.map((name) => make("option", { value: name })));
    view.training.checked = Boolean(detail?.for_training) && verdict === "good";
    view.training.disabled = verdict !== "good";
    view.trainingLabel.title = verdict === "good" ? "Offers this image to the Train tab"
      : "Only images that a person accepted as good may teach a model";
  }
  const present = (decision) => Object.fromEntries(
    ["defect_type", "note"].filter((name) => decision?.[name] != null)
      .map((name) => [name, decision[name]]));

  function drawConflict(row) {
    const both = state.conflicts.get(row.id);
    view.conflict.hidden = !both;
    if (!both) return;
    const { mine, theirs } = both;
    review.fill(view.conflict, make("h3", {}, "Two people disagree"),
      make("p", {}, make("b", {}, theirs.person), ` said ${theirs.verdict || "not judged"}, `
        + `${time(theirs.created)}. This stands.`, theirs.note && ` “${theirs.note}”`),
      make("p", {}, "You said ", make("b", {}, mine.verdict), ". It is not saved."),
      make("button", { type: "button", class: "lt-review-button",
        onclick: () => { review.outbox.resolve(row.id); draw(); } }, "Leave theirs"),
      make("button", { type: "button", class: "lt-review-button lt-review-primary", onclick: () => {
        drafts.set(row.id, present(mine));
        review.decide(mine.verdict, { mask: mine.mask, stay: true });
      } }, `Set ${mine.verdict}`));
  }

  function drawRegions() {
    const detail = detailOf(review.row());
    const regions = review.visibleRegions(detail);
    const smallest = make("input", { type: "number", min: 0, max: 20, step: 0.01,
      value: +(100 * state.smallest).toFixed(3), onchange: () => {
        state.smallest = Math.min(0.2, Math.max(0, Number(smallest.value) / 100));
        review.keep("smallest", state.smallest);
        drawRegions();
        review.draw();
      } });
    const pixels = (detail?.width ?? 0) * (detail?.height ?? 0) || 1;
    const isVague = detail?.readyMap && !regions.length && review.isAnomalous(review.row());
    review.fill(view.regions, make("h3", {}, `Regions: ${regions.length}`),
      isVague && make("p", { class: "lt-quiet" },
        "The image is above its threshold, but no single place stands out enough."),
      detail?.readyMap && make("p", { class: "lt-quiet" }, limitText(detail.readyMap)),
      regions.length > 0 && make("ol", { class: "lt-review-regions" }, regions.map((region) =>
        make("li", {}, make("b", {}, review.number(region.score)),
          ` ${region.area.toLocaleString()} px, ${review.percent(region.area / pixels, 2)}`))),
      make("label", { class: "lt-review-inline" }, "Smallest, % of the image", smallest));
  }

  const limitText = ({ limit, own_limit: own }) =>
    `Outlined where the map is above ${review.number(limit)}`
    + (review.number(limit) === review.number(own) ? ", the model's own limit."
      : `: the model's own limit, ${review.number(own)}, moved with the threshold.`);

  function drawHistory() {
    const entries = detailOf(review.row())?.history ?? [];
    view.history.hidden = !entries.length;
    review.fill(view.history, make("summary", {}, `History: ${entries.length}`),
      make("ol", {}, entries.toReversed().map((one) => make("li", {},
        make("b", {}, one.verdict || "undone"), ` ${one.person}, ${time(one.created)}`,
        one.imported && `, imported ${time(one.imported)}`, one.defect_type && `, ${one.defect_type}`, one.note && `: ${one.note}`,
        one.mask_key && (one.mask_person === one.person ? ", with a mask"
          : `, with the mask of ${one.mask_person}`)))));
  }

  review.on("item", draw);
  review.on("detail", draw);
  review.on("map", draw);
  review.on("row", (id) => id === state.current && draw());
  review.on("decided", async ({ id, decision }) => {
    // A failure is told where the image is shown.
    const detail = await review.cachedDetail(id)?.catch(() => null);
    if (!detail || detail.decision?.id === decision.id) return;
    detail.decision = decision;
    detail.history = [...detail.history, decision];
    if (id === state.current) draw();
  });
})();
