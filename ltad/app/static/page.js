// Everything is delegated from the document: Gradio replaces the answer's HTML at every change.
(() => {
  // The answer fades while a slow one is computed; style.css lets some time pass before it shows.
  const answered = () => {
    document.body.classList.remove("lt-waiting");
    setTimeout(() => { announce(); tellMoved(); }, 100); // by then the page shows it
  };

  // A screen reader hears the verdict and the score, not the whole card at every change.
  const heard = Object.assign(document.createElement("p"), { role: "status", id: "lt-heard" });
  heard.style.cssText = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)";
  const announce = () => {
    document.body.append(heard);
    const answer = document.getElementById("lt-answer");
    const text = [answer?.querySelector("h2")?.innerText,
      answer?.querySelector(".lt-gauge")?.ariaLabel].filter(Boolean).join(". ");
    if (text && heard.textContent !== text) heard.textContent = text;
  };

  // Press a hidden button of Gradio's once no further wish came for `pause` milliseconds.
  const timers = {};
  let together = null;
  let movedByHand = -Infinity; // when somebody last moved a control, which then changes alone
  document.addEventListener("input", (event) => {
    if (event.isTrusted) movedByHand = performance.now();
  }, { capture: true, passive: true });
  const press = (id, pause) => {
    clearTimeout(timers[id]);
    timers[id] = setTimeout(() => {
      document.body.classList.add("lt-waiting");
      document.getElementById(id)?.click();
    }, pause);
  };
  // On a public page, the key by which the server knows this browser's files and desk again. It
  // goes with every request to this page, also those that Gradio makes; elsewhere nobody reads it.
  const random = () => Array.from(crypto.getRandomValues(new Uint8Array(24)),
    (byte) => byte.toString(16).padStart(2, "0")).join("");
  const rememberedKey = () => {
    const name = "ltad-review-visitor";
    try {
      const key = localStorage.getItem(name) ?? random();
      localStorage.setItem(name, key);
      return key;
    } catch { // inside another site's frame a browser may refuse to keep anything
      return random();
    }
  };
  const visitor = rememberedKey();
  const plainFetch = window.fetch.bind(window);
  window.fetch = (what, settings = {}) => {
    const isRequest = what instanceof Request;
    if (new URL(isRequest ? what.url : what, location.href).origin !== location.origin) {
      return plainFetch(what, settings);
    }
    const headers = new Headers(settings.headers ?? (isRequest ? what.headers : undefined));
    headers.set("X-LTAD-Visitor", visitor);
    return plainFetch(what, { ...settings, headers });
  };

  window.ltad = {
    visitor,
    press,
    answered,
    load: () => press("lt-load", 50), // Gradio announces a replaced image twice
    ask: () => press("lt-ask", 0),
    askSoon: () => press("lt-ask", 250), // while somebody types
    askOnce: () => { // several controls that change together have all changed when it asks
      const pause = performance.now() - movedByHand < 100 ? 0 : 15;
      together ||= setTimeout(() => { together = null; press("lt-ask", 0); }, pause);
    },
  };

  // Gradio's thumbnails carry no text: their file names say what they show.
  const nameExamples = () =>
    document.querySelectorAll("[id$=-examples] button:not([title]):has(img)").forEach((button) => {
      const file = decodeURIComponent(button.querySelector("img").src.split("/").pop());
      const title = file.replace(/\.\w+$/, "").replace(/^\d+|[_-]+/g, " ").trim();
      Object.assign(button, { title, ariaLabel: `Example: ${title}` });
    });
  new MutationObserver(nameExamples).observe(document, { childList: true, subtree: true });

  // One click to the score without the branch that is not the paper's; "Reset" brings it back.
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("[data-lt-published]")) return;
    const box = document.querySelector("#lt-reference-weight input[type=number]");
    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(box, "0");
    for (const kind of ["input", "change", "blur"]) box.dispatchEvent(new Event(kind));
  });

  // The offer beside "not judged" opens the panel that it speaks of.
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("[data-lt-references]")) return;
    const panel = document.getElementById("lt-references");
    if (!panel.querySelector("#lt-reference-name")?.checkVisibility()) {
      panel.querySelector("button")?.click();
    }
    setTimeout(() => {
      panel.scrollIntoView({ block: "center", behavior: "smooth" });
      panel.querySelector("#lt-reference-name :is(input, textarea)")?.focus({ preventScroll: true });
    }, 150);
  });

  // --- values under the pointer -------------------------------------------------------------
  const unpacked = new WeakMap(); // .lt-maps element -> { packed, values }; Gradio reuses elements
  const valuesOf = (maps) => { // a promise of three Float64Array
    const { packed } = maps.dataset;
    if (unpacked.get(maps)?.packed !== packed) unpacked.set(maps, { packed, values: unpack(maps) });
    return unpacked.get(maps).values;
  };

  async function unpack(maps) {
    const { packed, ranges, width, height } = maps.dataset;
    const deflated = Uint8Array.from(atob(packed), (sign) => sign.charCodeAt(0));
    const stream = new Blob([deflated]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    const columns = Number(width), pixels = columns * Number(height), half = bytes.length / 2;
    return JSON.parse(ranges).map(([low, high], map) => {
      const levels = new Uint16Array(pixels); // sums wrap at 65,536, as the differences did
      for (let at = 0; at < pixels; at++) {
        const source = map * pixels + at;
        const above = at >= columns ? levels[at - columns] : 0;
        const left = at % columns ? levels[at - 1] : 0;
        const corner = at >= columns && at % columns ? levels[at - columns - 1] : 0;
        levels[at] = (bytes[source] | (bytes[half + source] << 8)) + above + left - corner;
      }
      return Float64Array.from(levels, (level) => low + (level / 65535) * (high - low));
    });
  }

  // As many decimals as it takes to tell hundredths of the map's range apart.
  const decimals = ([low, high]) =>
    Math.min(6, Math.max(0, Math.ceil(2.5 - Math.log10(high - low))));

  async function point(frame, x, y) {
    const maps = frame.closest(".lt-maps");
    const values = await valuesOf(maps);
    const columns = Number(maps.dataset.width), rows = Number(maps.dataset.height);
    const column = Math.min(columns - 1, Math.max(0, Math.floor(x * columns)));
    const row = Math.min(rows - 1, Math.max(0, Math.floor(y * rows)));
    maps.dataset.column = column;
    maps.dataset.row = row;
    maps.classList.add("lt-pointing");
    maps.style.setProperty("--lt-x", `${(100 * (column + 0.5)) / columns}%`);
    maps.style.setProperty("--lt-y", `${(100 * (row + 0.5)) / rows}%`);
    const ranges = JSON.parse(maps.dataset.ranges);
    maps.querySelectorAll(".lt-value").forEach((output, map) => {
      output.dataset.rest ??= output.textContent;
      const value = values[map][row * columns + column];
      output.textContent = value.toFixed(decimals(ranges[map]));
    });
  }

  function rest(maps) {
    maps.classList.remove("lt-pointing");
    maps.querySelectorAll(".lt-value").forEach((output) => {
      if (output.dataset.rest) output.textContent = output.dataset.rest;
    });
  }

  function pointAt(event) {
    const frame = event.target.closest?.(".lt-maps .lt-frame");
    if (frame) {
      const edge = frame.getBoundingClientRect();
      const x = (event.clientX - edge.left) / edge.width;
      point(frame, x, (event.clientY - edge.top) / edge.height);
    } else {
      document.querySelectorAll(".lt-pointing").forEach((maps) => {
        if (!maps.contains(document.activeElement)) rest(maps);
      });
    }
  }
  document.addEventListener("pointermove", pointAt, { passive: true });
  document.addEventListener("pointerdown", pointAt, { passive: true });

  const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  document.addEventListener("keydown", (event) => {
    const frame = event.target.closest?.(".lt-frame");
    const step = STEPS[event.key];
    if (!frame || !step) return;
    event.preventDefault();
    const { width, height, column = width / 2, row = height / 2 } =
      frame.closest(".lt-maps").dataset;
    const stride = event.shiftKey ? 1 : 4;
    point(
      frame,
      (Math.floor(column) + stride * step[0] + 0.5) / width,
      (Math.floor(row) + stride * step[1] + 0.5) / height,
    );
  });
  document.addEventListener("focusout", (event) => {
    const frame = event.target.closest?.(".lt-frame");
    if (frame) rest(frame.closest(".lt-maps"));
  });

  // --- what other words changed ---------------------------------------------------------------
  let before = null; // { photo, words, values } of the answer before
  async function tellMoved() {
    const maps = document.querySelector("#lt-result .lt-maps");
    const line = document.querySelector("#lt-result .lt-moved");
    if (!maps) return;
    const values = await valuesOf(maps);
    const photo = maps.style.getPropertyValue("--lt-photo");
    const { words } = maps.dataset;
    const told = before?.photo === photo && before.words !== words
      ? moved(before.values[2], values[2], before.words) : before?.photo === photo ? before.told : "";
    if (line) line.textContent = told;
    before = { photo, words, values, told };
  }
  const NOTICEABLE = 0.05; // of a semantic score between 0 and 1
  function moved(old, now, words) {
    let count = 0, sum = 0;
    for (let at = 0; at < now.length; at++) {
      const change = Math.abs(now[at] - old[at]);
      count += change > NOTICEABLE;
      sum += change;
    }
    return `Since “${words}”: ${(100 * count / now.length).toFixed(1)}% of the semantic map's `
      + `pixels moved by more than ${NOTICEABLE}, on average by ${(sum / now.length).toFixed(3)}.`;
  }

  // --- one map in full size: wheel or pinch to look closer, drag to move -----------------------
  function enlarge(figure) {
    const maps = figure.closest(".lt-maps");
    const dialog = Object.assign(document.createElement("dialog"), { className: "lt-large" });
    const stage = Object.assign(document.createElement("div"), { className: "lt-large-stage" });
    const frame = figure.querySelector(".lt-frame").cloneNode(true);
    const close = Object.assign(document.createElement("button"),
      { type: "button", className: "lt-large-close", textContent: "Close" });
    frame.style.cssText = maps.style.cssText;
    frame.removeAttribute("tabindex");
    const [width, height] = maps.style.getPropertyValue("--lt-aspect").split("/").map(Number);
    frame.style.width = `min(96vw, calc(88vh * ${width / height}))`;
    stage.append(frame);
    dialog.append(stage, close);
    let scale = 1, x = 0, y = 0;
    const place = () => { frame.style.transform = `translate(${x}px, ${y}px) scale(${scale})`; };
    const zoom = (by, at) => {
      const next = Math.min(12, Math.max(1, scale * by));
      const box = stage.getBoundingClientRect();
      const from = [at.clientX - box.x - box.width / 2, at.clientY - box.y - box.height / 2];
      x = next === 1 ? 0 : from[0] - (from[0] - x) * next / scale;
      y = next === 1 ? 0 : from[1] - (from[1] - y) * next / scale;
      scale = next;
      place();
    };
    stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      zoom(Math.exp(-event.deltaY / 400), event);
    }, { passive: false });
    const fingers = new Map();
    const spread = () => {
      const [one, other] = [...fingers.values()];
      return Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    };
    stage.addEventListener("pointerdown", (event) => fingers.set(event.pointerId, event));
    stage.addEventListener("pointermove", (event) => {
      const last = fingers.get(event.pointerId);
      if (!last) return;
      const gap = fingers.size === 2 ? spread() : 0;
      fingers.set(event.pointerId, event);
      if (gap) return zoom(spread() / gap, event);
      x += event.clientX - last.clientX;
      y += event.clientY - last.clientY;
      place();
    });
    for (const name of ["pointerup", "pointercancel", "pointerleave"]) {
      stage.addEventListener(name, (event) => fingers.delete(event.pointerId));
    }
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    dialog.setAttribute("aria-label", figure.querySelector("figcaption b").textContent);
    document.querySelector(".gradio-container").append(dialog); // whose styles it needs
    dialog.showModal();
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.(".lt-enlarge");
    if (button) enlarge(button.closest("figure"));
  });
  document.addEventListener("dblclick", (event) => {
    const frame = event.target.closest?.(".lt-maps .lt-frame");
    if (frame) enlarge(frame.closest("figure"));
  });

  // --- on a phone the words lie in a sheet over the lower edge, so that the map stays in view ---
  const sheet = Object.assign(document.createElement("button"),
    { type: "button", id: "lt-sheet", textContent: "Words and numbers" });
  sheet.setAttribute("aria-expanded", "false");
  sheet.addEventListener("click", () => {
    const isOpen = sheet.parentElement.classList.toggle("lt-sheet-open");
    sheet.setAttribute("aria-expanded", String(isOpen));
    sheet.textContent = isOpen ? "Close" : "Words and numbers";
    if (!isOpen) return;
    document.querySelector("#lt-result")?.scrollIntoView({ block: "start" });
    const column = document.querySelector("#lt-inspect > .lt-controls-place");
    const words = document.getElementById("lt-normal-words"); // model and class lie above them
    column.scrollTop += words.getBoundingClientRect().top - column.getBoundingClientRect().top - 8;
  });
  const placeSheet = () => {
    const place = document.getElementById("lt-inspect");
    if (place && sheet.parentElement !== place) place.append(sheet);
  };
  new MutationObserver(placeSheet).observe(document, { childList: true, subtree: true });

  // --- a typed number outside of its slider is set to the slider's end, and says so --------------
  document.addEventListener("input", (event) => {
    const box = event.target;
    if (!box.matches?.("#lt-inspect .lt-controls-place input[type=number]")) return;
    const [low, high, typed] = [box.min, box.max, box.value].map(Number);
    const field = box.closest(".block");
    field.querySelector(".lt-clamped")?.remove();
    if (box.value === "" || (typed >= low && typed <= high)) return;
    const line = Object.assign(document.createElement("p"), { className: "lt-clamped",
      textContent: `${typed} lies outside of ${low} to ${high}, so it becomes `
        + `${typed > high ? high : low}.` });
    line.setAttribute("role", "status");
    field.append(line);
  });

  // --- opacity, kept on the root so that it outlives a new answer -----------------------------
  document.addEventListener("input", (event) => {
    if (event.target.matches?.("[data-lt-opacity]")) {
      document.documentElement.style.setProperty("--lt-opacity", event.target.value / 100);
    }
  });
})();
