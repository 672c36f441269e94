// What leaves the desk, and what comes back to it.
(() => {
  const { review } = window.ltad;
  const { state, make } = review;
  const KINDS = [
    ["csv", "CSV", "one row an image: scores, verdicts, people"],
    ["json", "JSON", "the same with the boxes of the regions"],
    ["coco", "COCO", "boxes, masks and categories for other tools"],
    ["zip", "Zip", "tables, masks, heatmaps and raw maps"],
    ["report", "Report", "a printable page with images"],
    ["backup", "Backup", "the whole database, all batches"],
  ];
  let view;

  review.exportPanel = () => {
    const file = make("input", { type: "file", hidden: true, accept: ".csv,.json,.zip",
      class: "lt-review-import", onchange: () => bringBack(file) });
    view = { note: make("div", { class: "lt-quiet", role: "status" }) };
    return make("div", {},
      make("div", { class: "lt-review-exports" }, KINDS.map(([kind, name, text]) =>
        make("button", { type: "button", class: "lt-review-button", dataset: { export: kind },
          onclick: (event) => save(kind, name, event.currentTarget) },
        make("b", {}, name), make("span", {}, text)))),
      make("div", { class: "lt-review-line" }, file,
        make("button", { type: "button", class: "lt-review-button", onclick: () => file.click() },
          "Bring decisions back from COCO, CSV, JSON or zip")), view.note);
  };

  async function save(kind, name, button) {
    button.disabled = true;
    view.note.textContent = `Making the ${name} …`;
    try {
      await review.outbox.flush(); // what is on its way belongs to it
      const file = await review.call("desk_export", state.batch.id, kind);
      const link = make("a", { href: new URL(file.url, location.href).href,
        download: file.orig_name });
      link.click();
      const unsaved = review.outbox.entries.length;
      view.note.textContent = `${file.orig_name} is saved by your browser.`
        + (unsaved ? ` ${unsaved} decisions have not reached the server and are not in it.` : "");
    } catch (error) {
      view.note.textContent = error.message;
    }
    button.disabled = false;
    button.focus();
  }

  async function bringBack(file) {
    const [chosen] = file.files;
    file.value = "";
    if (!chosen) return;
    view.note.textContent = `Reading ${chosen.name} …`;
    try {
      const [sent] = await review.upload([chosen], () => {});
      const { text, problems } = await review.call(
        "desk_import", sent, state.batch.id, state.person);
      review.fill(view.note, text, make("ul", {}, problems.map((one) => make("li", {}, one))));
      review.forgetDetails();
      await review.refresh();
      review.show(state.current);
    } catch (error) {
      view.note.textContent = error.message;
    }
  }

  review.on("batches", () => { // a public page hands out no database
    document.querySelector("[data-export=backup]").hidden = Boolean(state.note);
  });
  review.on("panel-export", () => {
    view.note.textContent = "";
    document.querySelector("[data-export]").focus();
  });
})();
