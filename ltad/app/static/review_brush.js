// Painting on the image: the mask of a defect, or the areas that a class ignores. A painting is
// a start (what was saved) and the steps since: strokes, the model's regions that the person asked
// for, and clearing. Undoing one is repainting without it.
(() => {
  const { review } = window.ltad;
  const { state, make } = review;
  const SIDE = 1600; // the painting's longer side at most; the server brings it to the image's
  const COLOURS = { mask: [79, 124, 255], ignore: [120, 128, 140] };
  let layer = null; // the painting
  let start = null; // what it started from
  let strokes = [];
  let stroke = null;
  let pointer = null; // where the brush hovers, in image pixels

  // A black-and-white image as colour on nothing, `width` x `height`.
  function tint(image, colour, width, height) {
    const sheet = new OffscreenCanvas(width, height);
    const context = sheet.getContext("2d");
    context.drawImage(image, 0, 0, width, height);
    const dots = context.getImageData(0, 0, width, height);
    for (let at = 0; at < dots.data.length; at += 4) {
      const isInside = dots.data[at] >= 128;
      dots.data.set([...colour, isInside ? 255 : 0], at);
    }
    context.putImageData(dots, 0, 0);
    return sheet;
  }

  const sizeOf = ({ width, height }) => {
    const shrink = Math.min(1, SIDE / Math.max(width, height));
    return [Math.round(width * shrink), Math.round(height * shrink)];
  };

  // The person's saved mask over the image while nobody paints.
  review.tintMask = (detail) => {
    if (!detail.mask) return (detail.tinted = null);
    const sheet = tint(detail.mask, COLOURS.mask, ...sizeOf(detail));
    const context = sheet.getContext("2d");
    context.globalCompositeOperation = "destination-out";
    context.fillStyle = "#0008"; // half of it, so that the image shines through
    context.fillRect(0, 0, sheet.width, sheet.height);
    return (detail.tinted = sheet);
  };

  // The item's image once it is on show: a key may be pressed while it is still on its way, and
  // what was fetched may be forgotten and fetched again meanwhile.
  async function arrived(id) {
    if (review.shownDetail()?.id !== id) await review.detail(id);
    for (let tries = 0; tries < 100 && state.current === id; tries += 1) {
      if (review.shownDetail()?.id === id) return review.shownDetail();
      await new Promise((done) => setTimeout(done, 30));
    }
    return null;
  }

  const editor = (review.editor = {
    isOn: false, mode: "mask", tool: "brush", size: 20,
    get isStroking() { return Boolean(stroke); },

    async open(mode) {
      const id = state.current;
      let detail, first, earlier = [];
      try {
        detail = await arrived(id);
        if (!detail?.image) return;
        first = detail.mask;
        if (mode === "ignore") {
          earlier = await review.call("desk_ignore_history", detail.class_name);
          first = await ignored(detail);
        }
      } catch (error) {
        return void review.say(error.message, "bad");
      }
      if (state.current !== id || review.shownDetail()?.id !== id || editor.isOn) return;
      Object.assign(editor, { earlier, settingId: 0 });
      const size = sizeOf(detail);
      layer = new OffscreenCanvas(...size);
      start = first && tint(first, COLOURS[mode], ...size);
      strokes = [];
      Object.assign(editor, { isOn: true, mode, tool: "brush",
        size: Math.round(Math.max(detail.width, detail.height) / 30) });
      pointer = null;
      repaint();
      review.emit("editor");
      review.focusPicture();
    },

    close() {
      if (!editor.isOn) return;
      editor.isOn = false;
      layer = start = stroke = null;
      review.emit("editor");
      review.draw();
    },

    // Added to what is painted; nothing of the model enters a mask unasked.
    fromModel() {
      const regions = review.visibleRegions();
      if (!regions.length) return review.say("The model outlines no region on this image.");
      strokes.push({ regions: regions.map(({ path }) => path) });
      repaint();
    },

    // An area from the list of earlier ones, to look at and to save again.
    async fromEarlier(settingId) {
      const detail = review.shownDetail();
      const image = await ignored(detail, settingId)
        .catch((error) => review.say(error.message, "bad"));
      if (image === undefined || !editor.isOn || review.shownDetail() !== detail) return;
      editor.settingId = settingId;
      start = image && tint(image, COLOURS.ignore, layer.width, layer.height);
      strokes = [];
      repaint();
    },

    clear() {
      strokes.push({ isClearing: true });
      repaint();
    },

    undoStroke() {
      editor.end();
      strokes.pop();
      repaint();
    },

    resize(by) {
      editor.size = Math.max(1, Math.round(editor.size * by + Math.sign(by - 1)));
      review.emit("editor");
      review.draw();
    },

    switchTool() {
      editor.tool = editor.tool === "brush" ? "eraser" : "brush";
      review.emit("editor");
    },

    begin(event) {
      editor.end();
      const isEraser = editor.tool === "eraser" || event.altKey;
      stroke = { isEraser, size: editor.size, points: [review.toPicture(event)] };
      paintStroke(stroke);
      review.draw();
    },
    go(event) {
      for (const one of event.getCoalescedEvents?.() ?? [event]) {
        stroke.points.push(review.toPicture(one));
      }
      paintStroke(stroke);
      review.draw();
    },
    end() {
      if (stroke) strokes.push(stroke);
      stroke = null;
    },
    drop() { // a second finger came: this is a zoom
      stroke = null;
      if (editor.isOn) repaint();
    },
    hover(event) {
      pointer = review.toPicture(event);
      review.draw();
    },

    paint(context, width, height) {
      context.globalAlpha = 0.55;
      context.drawImage(layer, 0, 0, width, height);
      context.globalAlpha = 1;
      if (!pointer) return;
      context.beginPath();
      context.arc(...pointer, editor.size / 2, 0, 2 * Math.PI);
      context.strokeStyle = editor.tool === "eraser" ? "#111" : "#fff";
      context.lineWidth = (stroke ? 3 : 1.5) / review.view.scale;
      context.stroke();
    },

    // White on black, for the server.
    png() {
      const sheet = make("canvas", { width: layer.width, height: layer.height });
      const context = sheet.getContext("2d");
      context.drawImage(layer, 0, 0);
      context.globalCompositeOperation = "source-in";
      context.fillStyle = "#fff";
      context.fillRect(0, 0, sheet.width, sheet.height);
      context.globalCompositeOperation = "destination-over";
      context.fillStyle = "#000";
      context.fillRect(0, 0, sheet.width, sheet.height);
      return sheet.toDataURL("image/png");
    },

    async save() {
      const png = editor.png();
      const detail = review.shownDetail();
      if (editor.mode === "mask" && !strokes.length) {
        editor.close(); // nothing was drawn, so nothing is decided
        return review.say("Nothing was painted, so nothing was saved.");
      }
      if (editor.mode === "mask") {
        const verdict = review.verdict(review.row());
        review.decide(verdict && verdict !== "good" ? verdict : "defective", { mask: png });
        detail.mask = new Image();
        detail.mask.src = png;
        await detail.mask.decode();
        review.tintMask(detail);
        editor.close();
        return;
      }
      try {
        const answer = await review.call(
          "desk_save_ignore", state.batch.id, detail.class_name, png, state.person);
        const before = editor.earlier[0]?.id ?? 0;
        editor.close();
        await scoredAgain("Saved", detail.class_name, answer,
          ["Undo", () => restore(detail.class_name, before)]);
      } catch (error) {
        review.say(error.message, "bad"); // the painting stays open
      }
    },
  });

  // What a class ignores, now or by an earlier setting, as an image; null is nothing.
  async function ignored(detail, settingId = 0) {
    const { mask } = await review.call("desk_ignore", detail.class_name, settingId);
    if (!mask) return null;
    const image = new Image();
    image.src = mask;
    await image.decode();
    return image;
  }

  async function restore(className, settingId) {
    try {
      const answer = await review.call(
        "desk_restore_ignore", state.batch.id, className, settingId, state.person);
      await scoredAgain("Undone", className, answer);
    } catch (error) {
      review.say(error.message, "bad");
    }
  }

  async function scoredAgain(word, className, { items }, action = null) {
    review.say(`${word}. ${items} images of ${review.readable(className)} are scored again.`,
      "good", action);
    review.forgetDetails();
    await review.refresh();
  }
  review.stopEditing = () => editor.close();

  function paintStroke({ isEraser, size, points, regions, isClearing }) {
    const detail = review.shownDetail();
    const context = layer.getContext("2d");
    context.setTransform(layer.width / detail.width, 0, 0, layer.height / detail.height, 0, 0);
    context.globalCompositeOperation = isEraser ? "destination-out" : "source-over";
    context.fillStyle = context.strokeStyle = `rgb(${COLOURS[editor.mode]})`;
    if (isClearing) return context.clearRect(0, 0, detail.width, detail.height);
    if (regions) return regions.forEach((path) => context.fill(path, "evenodd"));
    Object.assign(context, { lineWidth: size, lineCap: "round", lineJoin: "round" });
    context.beginPath();
    points.forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
    if (points.length === 1) context.lineTo(points[0][0] + 0.01, points[0][1]);
    context.stroke();
  }

  function repaint() {
    const context = layer.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.globalCompositeOperation = "source-over";
    context.clearRect(0, 0, layer.width, layer.height);
    if (start) context.drawImage(start, 0, 0);
    strokes.forEach(paintStroke);
    review.draw();
  }

  // --- the bar in place of the image's own while somebody paints ----------------------------
  review.editorBar = () => {
    const button = (text, title, act) =>
      make("button", { type: "button", class: "lt-review-button", title, onclick: act }, text);
    const tool = button("", "X", () => editor.switchTool());
    const size = make("input", { type: "range", min: 1, max: 200, "aria-label": "Brush size",
      title: "[ and ]",
      oninput: () => { editor.size = Number(size.value); review.draw(); } });
    const fromModel = button("Add the model's regions", "M", () => editor.fromModel());
    const earlier = make("select", { "aria-label": "Areas that were set before",
      onchange: () => { editor.fromEarlier(Number(earlier.value)); review.focusPicture(); } });
    const title = make("b", { "aria-live": "polite" });
    const bar = make("div", { class: "lt-review-editor", hidden: true, role: "toolbar" },
      title, tool, size, button("Undo step", "Z", () => editor.undoStroke()),
      button("Clear", "C", () => editor.clear()), fromModel, earlier,
      button("Cancel", "Esc", () => editor.close()),
      make("button", { type: "button", class: "lt-review-button lt-review-primary",
        title: "Enter", onclick: () => editor.save() }, "Save"));
    review.on("editor", () => {
      const detail = review.shownDetail();
      bar.hidden = !editor.isOn;
      fromModel.hidden = editor.mode === "ignore";
      earlier.hidden = !editor.earlier?.length;
      review.fill(earlier, (editor.earlier ?? []).map(({ id, person, created, share }) =>
        make("option", { value: id, selected: id === editor.settingId }, (share ? review.percent(share, 1) : "nothing")
          + ` ignored: ${person}, ${review.time(created)}`)));
      title.textContent = (editor.mode === "mask" ? "Mask of the defect"
        : `Ignored on every ${review.readable(detail?.class_name ?? "")}`)
        + (editor.isStroking ? ", painting" : "");
      tool.textContent = editor.tool === "brush" ? "Brush" : "Eraser";
      tool.ariaPressed = String(editor.tool === "eraser");
      size.max = Math.max(detail?.width ?? 0, detail?.height ?? 0) / 4;
      size.value = editor.size;
    });
    return bar;
  };

  review.on("detail", (detail) => { review.tintMask(detail); review.draw(); });
})();
