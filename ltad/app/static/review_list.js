// The queue: only the rows in sight exist, their thumbnails are fetched when they come to rest.
(() => {
  const { review } = window.ltad;
  const { state, make } = review;
  const ROW = 60; // pixels; review.css gives rows the same height
  const SPARE = 4; // rows drawn above and below the window
  const KEPT = 2000; // thumbnails
  const thumbnails = new Map(); // content key -> data URL
  const LABELS = {
    all: "All", anomalous: "Anomalous", unjudged: "Not judged", undecided: "To judge", decided: "Judged", sample: "Random sample", failed: "Failed",
  };
  const EMPTY = {
    all: "This batch has no images.",
    anomalous: "No image scores above its threshold. Lower it under Threshold, or look at All.",
    unjudged: "Every part looks like one that this model knows.",
    undecided: "Nothing left to decide. Under Export the batch leaves as a table, COCO or report.",
    decided: "Nothing is decided yet: press A, R or U on an image.",
    failed: "Every image could be read.",
  };
  const SIDES = { anomalous: "above the threshold", normal: "not above the threshold" };
  const SIGNS = { good: "✓", defective: "✕", unsure: "?" };
  let view; // the elements, once they are made

  review.listPanel = () => {
    const chips = Object.keys(LABELS).map((kind) =>
      make("button", { type: "button", class: "lt-review-chip", dataset: { kind },
        onclick: () => choose({ kind }) }));
    const search = make("input", { type: "search", placeholder: "Search by file name",
      "aria-label": "Search by file name", oninput: () => choose({ text: search.value }) });
    const classes = make("select", { "aria-label": "Class of the part",
      onchange: () => choose({ className: classes.value }) });
    const rows = make("div", { class: "lt-review-rows" });
    const list = make("div", {
      class: "lt-review-list", tabIndex: 0, role: "listbox", "aria-label": "Queue, worst first",
      onkeydown: move, onclick: click,
    }, rows);
    list.addEventListener("scroll", draw, { passive: true });
    new ResizeObserver(draw).observe(list);
    view = { chips, classes, rows, list };
    return make("section", { class: "lt-review-queue", "aria-label": "Queue" },
      make("div", { class: "lt-review-chips", role: "group", "aria-label": "Filter" }, chips),
      search, classes, list);
  };

  function choose(change) {
    Object.assign(state.filter, change);
    view.list.scrollTop = 0;
    review.applyFilter();
    if (!state.shown.includes(state.current) && state.shown.length) review.show(state.shown[0]);
  }

  const click = (event) => {
    const row = event.target.closest("[data-id]");
    if (row) review.show(Number(row.dataset.id));
  };
  const move = (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8, Home: -1e9, End: 1e9 };
    if (!(event.key in by)) return;
    event.preventDefault();
    review.step(by[event.key]);
  };

  // --- drawing --------------------------------------------------------------------------------
  const stretch = () => {
    view.rows.style.height = `${Math.max(1, state.shown.length) * ROW}px`;
  };
  let isDue = false;
  function draw() {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      if (!view) return;
      const { list, rows } = view;
      stretch();
      const first = Math.max(0, Math.floor(list.scrollTop / ROW) - SPARE);
      const last = Math.ceil((list.scrollTop + list.clientHeight) / ROW) + SPARE;
      const ids = state.shown.slice(first, last);
      const elements = ids.map((id, index) => rowElement(state.items.get(id), first + index));
      review.fill(rows, elements.length ? elements : emptyElement());
      list.setAttribute("aria-activedescendant", `lt-review-item-${state.current}`);
      wantThumbnails(ids);
    });
  }

  const emptyElement = () => make("p", { class: "lt-quiet lt-review-none" },
    state.filter.text || state.filter.className
      ? "No image passes the filter, search and class." : EMPTY[state.filter.kind]);

  function rowElement(row, index) {
    const verdict = review.verdict(row);
    const isPending = Boolean(review.outbox.pending(row.id));
    const isCurrent = row.id === state.current;
    const badge = state.conflicts.has(row.id) ? ["conflict", "!", "Two people disagree"]
      : verdict ? [verdict, SIGNS[verdict], isPending ? "not saved yet" : `decided: ${verdict}`]
        : ["open", "", "not judged"];
    const element = make("div", {
      class: `lt-review-row${isCurrent ? " lt-review-current" : ""}`, role: "option",
      id: `lt-review-item-${row.id}`, title: row.file_name, "aria-selected": String(isCurrent),
      dataset: { id: row.id, status: row.status, verdict, saved: verdict && !isPending },
    },
    make("img", { alt: "", class: "lt-review-thumb",
      src: thumbnails.get(row.content_key) }),
    make("span", { class: "lt-review-name" }, review.fileName(row.file_name)),
    make("span", { class: "lt-review-score" }, ...scoreText(row)),
    make("i", { class: `lt-review-badge lt-review-${badge[0]}`, title: badge[2],
      dataset: { pending: isPending } }, badge[1]));
    element.style.top = `${index * ROW}px`;
    return element;
  }

  function scoreText(row) {
    if (row.status !== "scored") return [row.reason || row.status];
    const side = review.isAnomalous(row) ? "anomalous" : "normal";
    const isUnjudged = review.isUnjudged(row);
    return [make("b", { class: `lt-review-model-${isUnjudged ? "unjudged" : side}`,
      title: isUnjudged ? `The model: not judged, score ${SIDES[side]}` : `The model: ${side}` },
    review.number(row.score)), isUnjudged ? " not judged" : ` ${review.readable(row.class_name)}`];
  }

  // --- thumbnails -----------------------------------------------------------------------------
  let timer = null;
  function wantThumbnails(ids) {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const missing = ids.filter((id) => {
        const key = state.items.get(id)?.content_key;
        return key && !thumbnails.has(key);
      });
      if (!missing.length) return;
      const found = await review.call("desk_thumbnails", missing).catch(() => ({}));
      for (const [key, url] of Object.entries(found)) thumbnails.set(key, url);
      for (const key of thumbnails.keys()) {
        if (thumbnails.size <= KEPT) break;
        thumbnails.delete(key);
      }
      if (Object.keys(found).length) draw();
    }, 80);
  }

  // --- following the state --------------------------------------------------------------------
  function drawFilters() {
    const counts = Object.fromEntries(Object.keys(LABELS).map((kind) => [kind, 0]));
    const classes = new Set();
    for (const row of state.items.values()) {
      for (const kind in counts) counts[kind] += review.kinds[kind](row);
      if (row.class_name) classes.add(row.class_name);
    }
    for (const chip of view.chips) {
      const { kind } = chip.dataset;
      chip.replaceChildren(LABELS[kind], make("b", {}, String(counts[kind])));
      chip.ariaPressed = String(kind === state.filter.kind);
      chip.hidden = kind === "unjudged" && !counts[kind] && kind !== state.filter.kind;
    }
    const options = ["", ...[...classes].sort()];
    view.classes.replaceChildren(...options.map((name) =>
      make("option", { value: name, selected: name === state.filter.className },
        name ? review.readable(name) : "All classes")));
    view.classes.hidden = classes.size < 2;
  }

  function reveal() {
    const at = state.shown.indexOf(state.current);
    if (at < 0) return;
    const { list } = view;
    stretch(); // a list scrolls no further than its content
    const top = at * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + ROW > list.scrollTop + list.clientHeight) {
      list.scrollTop = top + ROW - list.clientHeight;
    }
  }

  review.on("queue", () => { drawFilters(); draw(); });
  review.on("row", () => { drawFilters(); draw(); });
  for (const event of ["item", "batch"]) review.on(event, () => { reveal(); draw(); });
})();
