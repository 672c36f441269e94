// The frame around queue, image and verdict: the bar, the panels that open below it, messages.
(() => {
  const { review } = window.ltad;
  const { state, make } = review;
  let view;

  const button = (text, act, properties = {}) =>
    make("button", { type: "button", class: "lt-review-button", onclick: act, ...properties },
      ...[text].flat());

  review.layout = () => {
    view = { panels: {}, openers: {} };
    review.fill(review.root,
      bar(), messages(), panel("start", review.startPanel()),
      panel("batches", review.batchesPanel()),
      panel("threshold", review.thresholdPanel()), panel("export", review.exportPanel()),
      desk(), help());
    document.addEventListener("keydown", review.onKey);
    for (const touch of ["pointerdown", "wheel", "input"]) {
      review.root.addEventListener(touch, () => (state.isUntouched = false), { passive: true });
    }
  };

  function bar() {
    view.batches = make("select", { "aria-label": "Batch",
      onchange: () => review.openBatch(Number(view.batches.value)) });
    view.person = make("input", { "aria-label": "Your name", title: "Stands with each decision",
      maxLength: 80, value: state.person, onchange: () => {
        state.person = view.person.value.trim() || state.person;
        view.person.value = state.person;
        review.keep("person", state.person);
      } });
    view.progress = make("div", { class: "lt-review-progress" });
    view.saved = make("span", { class: "lt-review-saved", role: "status" });
    view.bar = make("div", { class: "lt-review-bar" }, view.batches,
      opener("start", "New batch"), opener("batches", "Batches"), view.progress, view.saved,
      opener("threshold", "Threshold"), opener("export", "Export"),
      make("label", { class: "lt-review-who" }, "Reviewer", view.person),
      button("⤢", () => review.fillWindow(), { title: "Fill the window (F)",
        ariaLabel: "Fill the window" }),
      button("?", () => view.help.showModal(), { title: "Keys (?)", ariaLabel: "Keys" }));
    return view.bar;
  }

  review.fillWindow = () => review.root.classList.toggle("lt-review-full");

  // --- panels: one at a time ------------------------------------------------------------------
  function opener(name, text) {
    return (view.openers[name] = button(text, () => review.openPanel(name), {
      ariaExpanded: "false" }));
  }
  function panel(name, content) {
    return (view.panels[name] = make("section", {
      class: "lt-card lt-review-panel", hidden: true, dataset: { panel: name } }, content));
  }
  review.openPanel = (name, isOpen = name && view.panels[name].hidden) => {
    for (const [one, element] of Object.entries(view.panels)) {
      element.hidden = !(isOpen && one === name);
      view.openers[one].ariaExpanded = String(!element.hidden);
    }
    if (isOpen) review.emit(`panel-${name}`);
    return isOpen;
  };
  review.closePanels = () => {
    const wasOpen = Object.entries(view.panels).find(([, element]) => !element.hidden);
    review.openPanel(null);
    if (wasOpen) view.openers[wasOpen[0]].focus();
    return Boolean(wasOpen);
  };

  // --- messages -------------------------------------------------------------------------------
  let timer;
  function messages() {
    view.message = make("div", { class: "lt-review-message", role: "status", hidden: true });
    view.unsaved = make("div", { class: "lt-review-unsaved", role: "alert", hidden: true });
    view.rest = make("div", { class: "lt-review-rest", role: "status", hidden: true });
    return make("div", { class: "lt-review-messages" }, view.unsaved, view.rest, view.message);
  }
  review.say = (text, tone = "", action = null) => {
    clearTimeout(timer);
    view.message.className = `lt-review-message lt-${tone || "plain"}`;
    review.fill(view.message, text, action ? button(...action) : "");
    view.message.hidden = false;
    timer = setTimeout(() => (view.message.hidden = true), tone === "bad" || action ? 9000 : 3500);
  };

  function drawRest() {
    const { deleted, deleted_by: who } = state.batch ?? {};
    view.rest.hidden = !state.isResting && !deleted && !state.problem;
    view.rest.textContent = state.problem || (deleted
      ? `${who} deleted this batch. Decisions on it are still kept; under Batches it is restored.`
      : review.isScoring()
      ? "Every image scored so far is decided. The next one opens as soon as it is scored."
      : "Every image in this list is decided. To change one, choose it in the queue; Z takes "
        + "your last decision back.");
  }

  function drawOutbox() {
    const { entries, trouble, savedAt } = review.outbox;
    const refused = entries.filter((one) => one.refused);
    const conflicts = [...state.conflicts];
    view.saved.dataset.state = trouble || refused.length ? "trouble"
      : entries.length ? "saving" : "saved";
    view.saved.textContent = entries.length
      ? `${entries.length} not saved` : savedAt ? `Saved ${review.time(savedAt)}` : "";
    view.unsaved.hidden = !(trouble && entries.length) && !refused.length && !conflicts.length;
    const place = (one) => one.file_name
      + (one.batch_id === state.batch?.id ? "" : ` in ${review.batchName(one.batch_id)}`);
    const names = entries.slice(-5).map((one) => `${place(one)}: ${one.verdict}`).join(", ");
    review.fill(view.unsaved,
      trouble && entries.length ? make("p", {},
        make("b", {}, entries.length === 1 ? "1 decision is not saved. "
          : `${entries.length} decisions are not saved. `),
        `${trouble} What is not saved is kept in this browser and sent by itself. ${names} `,
        button("Try now", () => review.outbox.again())) : "",
      ...refused.map((one) => make("p", {}, make("b", {}, `${place(one)}, ${one.verdict}: `),
        `${one.refused} `, button("Try again", () => review.outbox.again()),
        button("Drop it", () => review.outbox.discard(one)))),
      ...conflicts.slice(0, 3).map(([, { mine, theirs }]) => make("p", {},
        make("b", {}, `${theirs.person} decided on ${place(mine)} before you did. `),
        button("Show both", () => review.showDecided(mine)))),
      conflicts.length > 3 ? make("p", {}, `And on ${conflicts.length - 3} more.`) : "");
  }

  // --- queue, image, verdict ----------------------------------------------------------------
  function desk() {
    const opacity = make("input", { type: "range", min: 0, max: 100, "aria-label": "Map opacity",
      value: 100 * state.layers.opacity, oninput: () => {
        state.layers.opacity = opacity.value / 100;
        review.keep("opacity", state.layers.opacity);
        review.draw();
      } });
    const layer = (name, text, key) => (view[name] = button([text, make("kbd", {}, key)],
      () => review.toggleLayer(name), { ariaPressed: "true" }));
    view.place = make("span", { class: "lt-review-place" });
    view.zoom = button("Fit", () => review.fit(), { title: "0" });
    view.file = make("div", { class: "lt-review-file" });
    const head = make("div", { class: "lt-review-tools" }, view.file,
      button(["Mask", make("kbd", {}, "E")], () => review.editor.open("mask"),
        { title: "Paint where the defect is" }),
      button(["Ignore", make("kbd", {}, "I")], () => review.editor.open("ignore"),
        { title: "Paint what never counts on this class" }),
      view.inspect = button("Inspect", review.inspect, { title: "Open in the Inspect tab" }));
    const tools = make("div", { class: "lt-review-tools" },
      button("◀", () => review.step(-1), { title: "Previous (K)", ariaLabel: "Previous" }),
      view.place, button("▶", () => review.step(1), { title: "Next (J)", ariaLabel: "Next" }),
      layer("map", "Map", "H"), opacity, layer("boxes", "Boxes", "B"),
      button("−", () => review.zoom(1 / 1.5), { ariaLabel: "Zoom out" }), view.zoom,
      button("+", () => review.zoom(1.5), { ariaLabel: "Zoom in" }));
    view.empty = make("div", { class: "lt-review-unreadable", hidden: true });
    const stage = make("section", { class: "lt-review-stage", "aria-label": "Image" },
      head, review.editorBar(), make("div", { class: "lt-review-frame" },
        review.stageCanvas(), view.empty), tools);
    view.desk = make("div", { class: "lt-review-desk", hidden: true },
      review.listPanel(), stage, review.verdictPanel());
    return view.desk;
  }

  review.toggleLayer = (name) => {
    state.layers[name] = !state.layers[name];
    view[name].ariaPressed = String(state.layers[name]);
    review.draw();
  };

  review.inspect = () => {
    const row = review.row();
    if (!row || !window.ltad.openInInspect) return;
    const { normal_prompt, abnormal_prompt, lam, tau } = state.batch.settings;
    const given = { normal_prompt, abnormal_prompt, lam, tau };
    for (const name in given) if (given[name] == null) delete given[name];
    window.ltad.openInInspect({ source: `item:${row.id}`, model: state.batch.model,
      class_name: row.class_name, ...given });
  };

  function drawStage() {
    const row = review.row();
    view.empty.hidden = !row || row.status === "scored" || row.status === "waiting";
    view.empty.textContent = row?.reason || "This image was not scored.";
    const at = state.shown.indexOf(state.current);
    view.place.textContent = at < 0 ? "" : `${at + 1} of ${state.shown.length}`;
    view.file.title = row?.file_name ?? "";
    review.fill(view.file, review.fileName(view.file.title));
  }

  function drawProgress() {
    const { batch, progress } = state;
    if (!batch?.name) return review.fill(view.progress);
    const share = progress.total ? progress.done / progress.total : 1;
    const isRunning = batch.state === "running" && share < 1;
    const left = progress.seconds_left == null ? "" : `, ${duration(progress.seconds_left)} left`;
    const decided = [...state.items.values()].filter(review.kinds.decided).length;
    review.fill(view.progress,
      make("progress", { max: 1, value: isRunning ? share : decided / (batch.scored || 1),
        "aria-label": isRunning ? "Scored" : "Decided" }),
      make("span", {}, isRunning ? `${progress.done} of ${progress.total} scored${left}`
        : `${decided} of ${batch.scored} decided`),
      isRunning && button("Cancel", () => review.changeBatch("desk_cancel")),
      batch.state === "cancelled"
        && button("Go on scoring", () => review.changeBatch("desk_restart")));
  }
  const duration = (seconds) => seconds < 90 ? `${Math.ceil(seconds)} s`
    : `${Math.ceil(seconds / 60)} min`;

  function drawBatches() {
    view.desk.hidden = !state.batch;
    view.inspect.hidden = Boolean(state.note); // a public page opens no batch elsewhere
    view.openers.batches.hidden = !state.batches.length && !state.deleted?.length;
    for (const one of [view.batches, view.openers.threshold, view.openers.export,
      view.progress]) one.hidden = !state.batch;
    review.fill(view.batches, ...state.batches.map((one) => make("option",
      { value: one.id, selected: one.id === state.batch?.id },
      one.name)));
  }

  // --- help -----------------------------------------------------------------------------------
  function help() {
    const groups = review.keyTexts.map(([title, keys]) => make("div", {}, make("h3", {}, title),
      make("dl", {}, keys.map(([key, text]) => [make("dt", {}, ...key.split(" ")
        .map((one) => make("kbd", {}, one))), make("dd", {}, text)]))));
    view.help = make("dialog", { class: "lt-review-help", "aria-label": "Keys" },
      make("div", { class: "lt-review-groups" }, groups),
      button("Close", () => view.help.close(), { autofocus: true }));
    return view.help;
  }
  review.showHelp = () => view.help.showModal();
  review.isHelpOpen = () => view.help.open;

  review.on("outbox", drawOutbox);
  review.on("item", drawStage);
  review.on("queue", drawStage);
  review.on("progress", drawProgress);
  review.on("batches", drawBatches);
  review.on("batch", () => {
    drawBatches();
    drawOutbox(); // which names its batch where that is another
    if (!state.batch) review.openPanel("start", true);
  });
  review.on("row", drawOutbox);
  for (const event of ["rest", "item", "row", "progress", "batch"]) review.on(event, drawRest);
  review.on("row", drawProgress);
  review.on("zoom", ({ isFitted, scale }) => {
    view.zoom.textContent = isFitted ? "Fit" : `${Math.round(100 * scale * devicePixelRatio)}%`;
  });
})();
