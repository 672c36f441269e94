// Talking to the server, and the outbox: decisions wait there until the server holds them.
(() => {
  const { review } = window.ltad;
  const { state } = review;

  const base = () => {
    const { root, api_prefix: prefix = "/gradio_api" } = window.gradio_config ?? {};
    return new URL(root || ".", location.href).pathname.replace(/\/$/, "") + prefix;
  };
  const plain = (html) => new DOMParser().parseFromString(html, "text/html").body.textContent;

  class Refusal extends Error {} // the server answered, and said no
  review.Refusal = Refusal;

  // A named endpoint with its arguments in order; queues of the page are passed by.
  review.call = async (name, ...data) => request(name, data);
  async function request(name, data, patience = {}) {
    const response = await fetch(`${base()}/run/${name}`, {
      method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ data }), ...patience,
    }).catch((error) => {
      throw new Error(error.name === "TimeoutError" ? "The server does not answer."
        : "The server cannot be reached.");
    });
    const answer = await response.json().catch(() => ({}));
    if (response.ok) return answer.data[0];
    if (answer.error) throw new Refusal(plain(answer.error));
    if (response.status === 401) throw new Error("You are logged out. Reload the page.");
    throw new Error(`The server answered with error ${response.status}.`);
  }

  // Files go up a few at a time, so that a thousand are no single request.
  review.upload = async (files, onProgress) => {
    const sent = [];
    const all = files.reduce((sum, file) => sum + file.size, 0) || 1;
    let done = 0;
    for (const group of groups(files)) {
      const paths = await post(group, (bytes) => onProgress((done + bytes) / all));
      group.forEach((file, index) => sent.push({
        path: paths[index], orig_name: file.name, size: file.size,
        meta: { _type: "gradio.FileData" },
      }));
      done += group.reduce((sum, file) => sum + file.size, 0);
      onProgress(done / all);
    }
    return sent;
  };

  function groups(files, most = 20, bytes = 40e6) {
    const found = [];
    let size = Infinity;
    for (const file of files) {
      if (size + file.size > bytes || found.at(-1).length >= most) {
        found.push([]);
        size = 0;
      }
      found.at(-1).push(file);
      size += file.size;
    }
    return found;
  }

  const post = (files, onProgress) => new Promise((resolve, reject) => {
    const form = new FormData();
    files.forEach((file) => form.append("files", file, file.name));
    const request = new XMLHttpRequest();
    request.open("POST", `${base()}/upload`);
    request.setRequestHeader("X-LTAD-Visitor", window.ltad.visitor);
    request.upload.onprogress = (event) => onProgress(event.loaded);
    request.onerror = () => reject(new Error("The server cannot be reached."));
    request.onload = () => {
      if (request.status === 200) resolve(JSON.parse(request.responseText));
      else if (request.status === 413) {
        reject(new Error("A file is larger than this server accepts. Split it, or ask its "
          + "operator to allow a folder on the server."));
      } else reject(new Error(`The upload failed with error ${request.status}.`));
    };
    request.send(form);
  });

  // --- outbox ---------------------------------------------------------------------------------
  // Each entry also lies in the browser's storage until it is answered, so that a crash or a
  // reload loses none. An entry sent twice is harmless: the server knows its own decision again.
  const PREFIX = "ltad-review-unsaved:";
  const ARGUMENTS = ["item_id", "verdict", "person", "defect_type", "note", "mask",
    "expected_revision"];
  const ANSWER_WITHIN = 30000; // milliseconds; sending again is harmless
  let entries = [];
  let sending = null;
  let retry = null;
  let pause = 1000;

  const store = (entry) => {
    try {
      review.storage.setItem(PREFIX + entry.key, JSON.stringify(entry));
    } catch (error) { // a full or forbidden storage must not keep the decision from the server
      console.warn("The decision could not be stored in the browser.", error);
    }
  };
  const forget = (entry) => {
    review.storage.removeItem(PREFIX + entry.key);
    entries = entries.filter((one) => one !== entry);
    calm();
  };
  const calm = () => {
    if (entries.every((one) => one.refused)) outbox.trouble = "";
  };

  async function send() {
    for (let entry; (entry = entries.find((one) => !one.refused)); ) {
      let answer;
      try {
        answer = await request("desk_decide", ARGUMENTS.map((name) => entry[name]),
          { signal: AbortSignal.timeout(ANSWER_WITHIN) });
      } catch (error) {
        if (!(error instanceof Refusal)) return wait(error);
        entry.refused = error.message;
        clearTimeout(retry);
        retry = setTimeout(outbox.again, 15000); // it may have been a full disk
        review.emit("outbox");
        continue;
      }
      pause = 1000;
      // Nothing is out of trouble before all are answered.
      if (outbox.trouble) outbox.trouble = "The server answers again.";
      if (answer.conflict) conflict(entry, answer.conflict);
      else accept(entry, answer.decision);
    }
  }

  function wait(error) {
    outbox.trouble = error.message;
    clearTimeout(retry);
    retry = setTimeout(outbox.flush, pause);
    pause = Math.min(2 * pause, 15000);
    review.emit("outbox");
  }

  function accept(entry, decision) {
    forget(entry);
    state.conflicts.delete(entry.item_id);
    settle(entry.item_id, decision);
    outbox.savedAt = new Date();
    review.emit("outbox");
  }

  // Both decisions are shown; the stored entry goes only when the person has decided again.
  function conflict(entry, theirs) {
    const mine = entries.filter((one) => one.item_id === entry.item_id);
    entries = entries.filter((one) => one.item_id !== entry.item_id);
    calm();
    state.conflicts.set(entry.item_id, { mine: mine.at(-1), keys: mine.map((m) => m.key), theirs });
    settle(entry.item_id, theirs);
    review.emit("outbox");
  }

  function settle(id, decision) {
    const row = state.items.get(id);
    if (row) Object.assign(row, { verdict: decision.verdict, revision: decision.revision });
    review.emit("decided", { id, decision });
    review.emit("row", id);
  }
  review.settle = settle;

  const outbox = (review.outbox = {
    trouble: "", // why nothing goes out, or ""
    savedAt: null,
    get entries() { return entries; },
    pending: (id) => entries.findLast((entry) => entry.item_id === id),

    add(decision) {
      const before = outbox.pending(decision.item_id);
      const entry = { ...decision, at: Date.now(), key: `${Date.now()}-${Math.random()}` };
      if (before) entry.expected_revision = before.expected_revision + 1;
      outbox.resolve(entry.item_id);
      store(entry);
      entries.push(entry);
      review.emit("outbox");
      review.emit("row", entry.item_id);
      outbox.flush();
    },

    flush: () => (sending ??= send().finally(() => (sending = null))),

    // The newest decision that never reached the server, taken back.
    takeBack() {
      const entry = entries.at(-1);
      if (entry) {
        forget(entry);
        review.emit("outbox");
        review.emit("row", entry.item_id);
      }
      return entry;
    },

    resolve(id) {
      state.conflicts.get(id)?.keys.forEach((key) => review.storage.removeItem(PREFIX + key));
      if (!state.conflicts.delete(id)) return;
      review.emit("row", id);
      review.emit("outbox");
    },

    again() {
      entries.forEach((entry) => delete entry.refused);
      pause = 1000;
      outbox.flush();
    },

    discard(entry) {
      forget(entry);
      review.emit("outbox");
      review.emit("row", entry.item_id);
    },

    restore() {
      entries = Object.keys(review.storage)
        .filter((name) => name.startsWith(PREFIX))
        .map((name) => JSON.parse(review.storage.getItem(name)))
        .sort((one, other) => one.at - other.at);
      review.emit("outbox");
      if (entries.length) outbox.flush();
    },
  });

  addEventListener("online", () => outbox.flush());
  addEventListener("beforeunload", (event) => {
    if (entries.length) event.preventDefault();
  });
})();
