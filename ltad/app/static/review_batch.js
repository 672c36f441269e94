// Bringing in a batch: files, folders, zips, or a folder on the server, and what it is scored with.
(() => {
  const { review } = window.ltad;
  const { state, make } = review;
  let view;
  let isBusy = false;

  review.startPanel = () => {
    const files = make("input", { type: "file", multiple: true, hidden: true,
      class: "lt-review-files", accept: "image/*,.tif,.tiff,.zip",
      onchange: () => take([...files.files]) });
    const folder = make("input", { type: "file", webkitdirectory: true, hidden: true,
      onchange: () => take([...folder.files]) });
    const pick = (text, input) => make("button", { type: "button",
      class: "lt-review-button lt-review-primary", onclick: () => input.click() }, text);
    view = {
      files, folder, ...settings(),
      servers: make("select", { "aria-label": "Folder on the server" }),
      upload: make("progress", { max: 1, value: 0, hidden: true, "aria-label": "Upload" }),
      note: make("p", { class: "lt-quiet", role: "status" }),
      terms: make("p", { class: "lt-review-terms", hidden: true }),
    };
    view.server = make("div", { class: "lt-review-line", hidden: true },
      view.servers, pick("Take this folder", { click: () => begin([], view.servers.value) }));
    const zone = make("div", { class: "lt-review-drop",
      ondragover: (event) => { event.preventDefault(); zone.classList.add("lt-review-over"); },
      ondragleave: () => zone.classList.remove("lt-review-over"), ondrop: drop },
    make("h2", {}, "Bring a batch of images"),
    make("p", {}, "Drop images, folders or a zip here. They are scored one by one and come up "
      + "worst first; with A, R and U you accept, reject or leave each one, and every decision is "
      + "on disk before the page says so. At the end the batch leaves as a table, COCO or a "
      + "report."),
    make("div", { class: "lt-review-line" }, pick("Choose images or a zip", files),
      pick("Choose a folder", folder)), view.server, view.upload, view.note,
    view.terms);
    async function drop(event) {
      event.preventDefault();
      zone.classList.remove("lt-review-over");
      take(await dropped(event.dataTransfer));
    }
    return [files, folder, zone, make("details", { class: "lt-review-settings" },
      make("summary", {}, "Name, model and settings"),
      make("div", { class: "lt-review-fields" }, view.fields))];
  };

  // --- settings -------------------------------------------------------------------------------
  function settings() {
    const label = (text, input) => make("label", {}, text, input);
    const number = (low, high, step, value, placeholder = "the model's own") =>
      make("input", { type: "number", min: low, max: high, step, value, placeholder });
    const inputs = {
      name: make("input", { maxLength: 200, placeholder: "date and time" }),
      model: make("select", { onchange: drawClasses }),
      class_name: make("select"),
      false_alarm_rate: number(0.001, 0.5, 0.001, 0.05),
      normal_prompt: make("input", { maxLength: 200, placeholder: "the model's own" }),
      abnormal_prompt: make("input", { maxLength: 200, placeholder: "the model's own" }),
      lam: number(0, undefined, "any", ""), tau: number(0.01, 100, "any", ""),
    };
    return { inputs, fields: [
      label("Name of the batch", inputs.name), label("Model", inputs.model),
      label("Class of the parts", inputs.class_name),
      label("False alarms accepted, share", inputs.false_alarm_rate),
      label("Words for normal", inputs.normal_prompt),
      label("Words for anomalous", inputs.abnormal_prompt),
      label("λ", inputs.lam), label("τ", inputs.tau)] };
  }

  function chosen() {
    const { name, model, ...others } = view.inputs;
    const settings = { minimum_area: state.smallest };
    for (const [key, input] of Object.entries(others)) {
      if (input.value !== "") {
        settings[key] = input.type === "number" ? Number(input.value) : input.value;
      }
    }
    return [name.value.trim(), model.value, settings];
  }

  function drawChoices() {
    refill(view.inputs.model, state.models.map(({ name }) => [name, name]));
    refill(view.servers, state.folders.map((name) => [name, name]));
    view.server.hidden = !state.folders.length;
    view.terms.hidden = !state.note;
    view.terms.textContent = state.note;
    drawClasses();
  }
  function drawClasses() {
    const model = state.models.find((one) => one.name === view.inputs.model.value);
    refill(view.inputs.class_name, [["", "Recognise automatically"],
      ...(model?.classes ?? []).map((name) => [name, review.readable(name)])]);
  }
  // What was chosen stays chosen while it is still there.
  function refill(select, choices) {
    const { value } = select;
    review.fill(select, ...choices.map(([name, text]) =>
      make("option", { value: name, selected: name === value }, text)));
  }

  // --- files ----------------------------------------------------------------------------------
  async function dropped(transfer) {
    const roots = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!roots.length) return [...transfer.files];
    return (await Promise.all(roots.map(walk))).flat();
  }
  async function walk(entry) {
    if (entry.isFile) return [await new Promise((done, failed) => entry.file(done, failed))];
    const reader = entry.createReader();
    const found = [];
    for (let some; (some = await new Promise((done, failed) =>
      reader.readEntries(done, failed))).length; ) found.push(...some);
    return (await Promise.all(found.map(walk))).flat();
  }

  function take(files) {
    const wanted = files.filter((file) => !file.name.startsWith(".")); // such as .DS_Store
    view.files.value = view.folder.value = "";
    if (wanted.length) begin(wanted, "");
  }

  async function begin(files, folder) {
    if (isBusy) return;
    isBusy = true;
    view.upload.hidden = false;
    try {
      view.note.textContent = files.length ? `Uploading ${files.length} files …` : "";
      const sent = await review.upload(files, (share) => (view.upload.value = share));
      view.note.textContent = "Reading the files …";
      const names = files.map((file) => file.webkitRelativePath || file.name);
      const [name, model, settings] = chosen();
      const { batch } = await review.call(
        "desk_create_batch", sent.length ? sent : null, names, folder, name, state.person, model,
        settings);
      await review.reloadBatches();
      review.openPanel(null);
      await review.openBatch(batch.id);
      review.focusPicture();
      view.note.textContent = "";
      view.inputs.name.value = "";
    } catch (error) {
      view.note.textContent = error.message;
    } finally {
      view.upload.hidden = true;
      isBusy = false;
    }
  }

  review.changeBatch = async (endpoint) => {
    state.batch.state = endpoint === "desk_cancel" ? "cancelled" : "running"; // until it answers
    review.emit("progress");
    try {
      await review.call(endpoint, state.batch.id);
      await review.refresh();
    } catch (error) {
      review.say(error.message, "bad");
    }
  };

  review.on("batches", drawChoices);
  review.on("panel-start", () => state.batch && view.files.parentElement
    .querySelector(".lt-review-drop button").focus({ preventScroll: true }));
})();
