// The Review tab, written without a framework because a queue of thousands, a canvas and the
// keyboard ask for one. This file holds what the others share: the state, a way to say that it
// changed, and a way to build elements from text that is never read as HTML.
(() => {
  const listeners = {};
  // Inside another site's frame a browser may refuse to keep anything; then the page itself does.
  class Memory {
    getItem(name) { return this[name] ?? null; }
    setItem(name, value) { this[name] = String(value); }
    removeItem(name) { delete this[name]; }
  }
  const storage = (() => {
    try {
      return window.localStorage;
    } catch {
      return new Memory();
    }
  })();
  const kept = (name, fallback) => storage.getItem(`ltad-review-${name}`) ?? fallback;

  const review = (window.ltad.review = {
    state: {
      batches: [], deleted: [], note: "", models: [], folders: [], classes: [], defectTypes: [],
      batch: null, // the record of the batch on show
      progress: null,
      items: new Map(), // id -> row, in the order of suspicion
      version: "",
      problem: "", // why the thresholds that people chose do not count
      shown: [], // ids that pass the filter
      current: null, // id of the item on show
      isUntouched: true, // until the person does something, the worst image is on show
      isResting: false, // nothing was left to decide; until the person turns to an image
      filter: { kind: "all", text: "", className: "" },
      layers: { map: true, boxes: true, opacity: Number(kept("opacity", 0.6)) },
      smallest: Number(kept("smallest", 0.0003)), // share of the image
      person: kept("person", `inspector-${Math.random().toString(16).slice(2, 6)}`),
      conflicts: new Map(), // item id -> { mine, theirs }
    },
    storage,
    kept,
    keep: (name, value) => storage.setItem(`ltad-review-${name}`, value),
    on: (name, act) => (listeners[name] ??= []).push(act),
    emit: (name, fact) => (listeners[name] ?? []).forEach((act) => act(fact)),
  });
  const { state } = review;
  review.keep("person", state.person);

  // make("button", { class: "x", onclick: act, dataset: { key: 1 } }, "text", child)
  review.make = (tag, properties = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (value === undefined) continue;
      if (name === "dataset") Object.assign(element.dataset, value);
      else if (name === "class") element.className = value;
      else if (name in element && name !== "list") element[name] = value;
      else element.setAttribute(name, value);
    }
    return review.fill(element, ...children);
  };
  // Replaces what is inside; false and null stand for nothing.
  review.fill = (element, ...children) => {
    element.replaceChildren(
      ...children.flat(2).filter((child) => child != null && child !== false && child !== ""));
    return element;
  };

  review.number = (value) =>
    value == null ? "–" : Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3);
  review.percent = (share, digits = 0) => `${(100 * share).toFixed(digits)}%`;
  // One form everywhere, the one in which batches are named: 2026-03-01 10:00, local time.
  const two = (part) => String(part).padStart(2, "0");
  review.time = (iso) => {
    const date = new Date(iso);
    return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} `
      + `${two(date.getHours())}:${two(date.getMinutes())}`;
  };
  review.readable = (name) => name.replaceAll("_", " ");
  // The end tells images of one camera apart, so a long name is cut before it.
  review.fileName = (name) => name.length <= 16 ? [name] : [
    review.make("span", { class: "lt-review-start" }, name.slice(0, -12)),
    review.make("span", {}, name.slice(-12))];
  review.isAnomalous = (row) => row.status === "scored" && row.score > row.threshold;
  // A part that looks like none of the model's classes is not judged, unless its class was named.
  review.isUnjudged = (row) => row.status === "scored" && !row.is_recognised
    && row.class_name !== state.batch.settings?.class_name;
  review.row = (id = state.current) => state.items.get(id);
  // What the person decided: the newest of what is on its way and what the server holds.
  review.verdict = (row) => review.outbox.pending(row.id)?.verdict ?? row.verdict;
  review.isOpen = (row) => row.status === "scored" && !review.verdict(row);

  // --- the queue ------------------------------------------------------------------------------
  const KINDS = {
    all: () => true,
    anomalous: review.isAnomalous,
    unjudged: review.isUnjudged,
    undecided: review.isOpen,
    decided: (row) => Boolean(review.verdict(row)),
    sample: (row) => row.is_in_sample,
    failed: (row) => row.status === "failed",
  };
  review.kinds = KINDS;

  review.applyFilter = () => {
    const { kind, text, className } = state.filter;
    const wanted = text.trim().toLowerCase();
    state.shown = [...state.items.values()]
      .filter((row) => KINDS[kind](row) && (!className || row.class_name === className)
        && (!wanted || row.file_name.toLowerCase().includes(wanted)))
      .map((row) => row.id);
    review.emit("queue");
  };

  review.show = (id) => {
    if (id == null || !state.items.has(id)) return;
    Object.assign(state, { current: id, isResting: false });
    review.address();
    review.emit("item");
  };

  // The item of a decision, which may lie in another batch than the one on show.
  review.showDecided = ({ item_id: id, batch_id: batch }) =>
    batch === state.batch?.id ? review.show(id)
      : review.openBatch(batch, id).catch((error) => review.say(error.message, "bad"));
  review.batchName = (id) =>
    [...state.batches, ...state.deleted].find((one) => one.id === id)?.name ?? `batch ${id}`;

  review.step = (by) => {
    const at = state.shown.indexOf(state.current);
    const to = at < 0 ? 0 : Math.min(state.shown.length - 1, Math.max(0, at + by));
    review.show(state.shown[to]);
  };

  // From the item on show onwards, then from the top, so that none is skipped.
  review.nextOpen = () => {
    const at = state.shown.indexOf(state.current);
    const ahead = [...state.shown.slice(at + 1), ...state.shown.slice(0, at + 1)];
    return ahead.find((id) => review.isOpen(state.items.get(id)));
  };
  review.isScoring = () => [...state.items.values()].some((row) => row.status === "waiting");

  review.address = () =>
    window.ltad.address?.write({ batch: state.batch?.id, item: state.current });

  // --- fetching -------------------------------------------------------------------------------
  review.openBatch = async (id, item = null) => {
    Object.assign(state, { items: new Map(), shown: [], version: "", current: item,
      filter: { ...state.filter, className: "" }, progress: null, batch: { id }, isUntouched: item == null, isResting: false });
    review.blank(); // nothing of the batch before stays on show
    review.emit("queue");
    review.emit("progress");
    await review.refresh();
    if (item != null) review.show(state.items.has(item) ? item : worst());
    review.emit("batch");
  };

  const worst = () =>
    state.shown.find((id) => review.isOpen(state.items.get(id))) ?? state.shown[0];

  // Rows travel only when something changed since `version`.
  let sent = 0;
  let taken = 0;
  review.refresh = async () => {
    const asked = state.batch.id;
    const place = ++sent;
    const answer = await review.call("desk_items", asked, state.version);
    if (asked !== state.batch?.id || place < taken) return; // another batch, or a newer answer
    taken = place;
    Object.assign(state, { batch: answer.batch, progress: answer.progress,
      version: answer.version, problem: answer.problem });
    if (answer.items) {
      state.defectTypes = answer.defect_types;
      const before = state.items;
      state.items = new Map(answer.items.map((row) => [row.id, newest(row)]));
      forgetScoredAgain(before);
      review.forgetMaps((id) => before.get(id)
        && before.get(id).threshold !== state.items.get(id)?.threshold);
      review.applyFilter();
      const isDue = state.isUntouched || (state.isResting && review.nextOpen() != null);
      if (isDue && worst() !== state.current) review.show(worst());
      else review.emit(isAnew(before, state.current) && !review.editor.isOn ? "item" : "row",
        state.current);
    }
    review.emit("progress");
  };

  const isAnew = (before, id) => {
    const [was, is] = [before.get(id), state.items.get(id)];
    return was && is && (was.status !== is.status || was.score !== is.score);
  };
  const forgetScoredAgain = (before) => review.forgetDetails((id) => !isAnew(before, id));

  // A decision may be acknowledged while the rows from before it are still under way.
  const newest = (row) => {
    const held = state.items.get(row.id);
    if (!(held?.revision > row.revision)) return row;
    return { ...row, verdict: held.verdict, revision: held.revision };
  };

  review.reloadBatches = async () => {
    Object.assign(state, await review.call("desk_batches"));
    review.emit("batches");
  };

  async function watch() {
    if (state.batch && review.isVisible() && !document.hidden) {
      await review.refresh().catch(() => {}); // the next look may reach the server again
    }
    const isRunning = state.batch?.state === "running";
    // Long queues cost more to send, so they are asked for less often.
    const pause = isRunning ? Math.max(1000, state.items.size) : 5000;
    setTimeout(watch, pause);
  }

  // --- start ----------------------------------------------------------------------------------
  review.isVisible = () => Boolean(review.root?.isConnected && review.root.offsetParent);

  async function start() {
    review.layout();
    const asked = new URLSearchParams(location.search);
    try {
      await review.reloadBatches();
      const wanted = Number(asked.get("batch"));
      const batch = state.batches.find((one) => one.id === wanted) ?? state.batches[0];
      if (batch) await review.openBatch(batch.id, Number(asked.get("item")) || null);
      else review.emit("batch");
    } catch (error) {
      review.say(error.message, "bad");
    }
    review.outbox.restore();
    watch();
  }

  // Gradio makes the tab's elements when it is first opened, and may make them again.
  const attach = () => {
    const place = document.getElementById("lt-review");
    if (!place || place.contains(review.root ?? null)) return;
    const isFirst = !review.root;
    review.root ??= review.make("div", { class: "lt-review" });
    place.replaceChildren(review.root);
    if (isFirst) {
      const waiting = new IntersectionObserver((seen) => {
        if (!seen.some((one) => one.isIntersecting)) return;
        waiting.disconnect();
        start();
      });
      waiting.observe(place);
    }
  };
  new MutationObserver(attach).observe(document, { childList: true, subtree: true });
})();
