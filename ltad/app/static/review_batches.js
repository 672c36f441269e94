// The list of batches: opened, deleted, brought back. Deleting asks nothing and can be undone; only
// the images of a deleted batch can be lost, and that takes two presses at another place.
(() => {
  const { review } = window.ltad;
  const { state, make } = review;
  const SURE_WITHIN = 5000; // milliseconds between the two presses
  const SOON = 500; // milliseconds until the counts follow decisions, if no other comes
  let view;

  const button = (text, act) => make("button", { type: "button", class: "lt-review-button",
    onclick: act }, text);
  const day = (iso) => new Date(iso).toLocaleString([], { dateStyle: "medium" });
  const row = (name, facts, ...buttons) => make("li", {},
    make("div", {}, make("b", {}, name), make("span", { class: "lt-quiet" }, facts)), buttons);

  review.batchesPanel = () => {
    view = {
      batches: make("ul", { class: "lt-review-batches" }),
      deleted: make("ul", { class: "lt-review-batches" }),
      title: make("h3", { class: "lt-review-deleted" }),
    };
    return make("div", {}, view.batches, view.title, view.deleted);
  };

  function draw() {
    review.fill(view.batches, state.batches.map((one) => row(one.name,
      `${day(one.created)}, ${one.person}: ${one.total} images, ${one.decided} decided`,
      button("Open", () => open(one.id)), button("Delete", () => remove(one)))));
    const deleted = state.deleted ?? [];
    view.title.hidden = !deleted.length;
    view.title.textContent = "Deleted";
    review.fill(view.deleted, deleted.map((one) => row(one.name,
      `${one.decided} decisions, kept for good. ` + (one.erased ? "Its images are gone."
        : `Its ${one.total} images leave the disk in ${Math.ceil(one.days_left)} days.`),
      button("Restore", () => restore(one)),
      !one.erased && button("Free the disk now", (event) => erase(one, event.currentTarget)))));
  }

  async function open(id) {
    review.openPanel(null);
    await review.openBatch(id);
    review.focusPicture();
  }

  async function attempt(act) {
    try {
      await act();
      await review.reloadBatches();
    } catch (error) {
      review.say(error.message, "bad");
    }
  }

  const remove = (one) => attempt(async () => {
    await review.outbox.flush();
    await review.call("desk_delete", one.id, state.person);
    if (one.id === state.batch?.id) await leave(one.id);
    review.say(`${one.name} is deleted. Its decisions are kept for good, its images for a while.`,
      "", ["Undo", () => restore(one)]);
  });

  async function leave(id) {
    const next = state.batches.find((other) => other.id !== id);
    if (next) return review.openBatch(next.id);
    Object.assign(state, { batch: null, items: new Map(), shown: [], current: null });
    review.address();
    review.emit("batch");
  }

  const restore = (one) => attempt(async () => {
    await review.call("desk_restore", one.id);
    await review.openBatch(one.id);
    review.say(`${one.name} is back.`, "good");
  });

  const erase = (one, pressed) => {
    if (!pressed.dataset.sure) {
      pressed.dataset.sure = "yes";
      pressed.textContent = `Press again: ${one.total} images are gone then`;
      setTimeout(draw, SURE_WITHIN);
      return null;
    }
    return attempt(async () => {
      const { bytes } = await review.call("desk_erase", one.id);
      review.forgetDetails();
      review.say(`${(bytes / 1e6).toFixed(1)} MB are free again. `
        + "Images that came in a moment ago follow within minutes.");
    });
  };

  let timer;
  review.on("decided", () => { // it may be one of another batch, or of several that waited
    clearTimeout(timer);
    if (view.batches.closest("[hidden]")) return; // the list is fetched when it is opened
    timer = setTimeout(() => review.reloadBatches().catch(() => {}), SOON);
  });
  review.on("batches", draw);
  review.on("panel-batches", () => attempt(() => {})); // colleagues may have brought some
})();
