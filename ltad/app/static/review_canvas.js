// The image large: zoom, pan, and the layers over it. All layers share the image's pixels as
// coordinates, whatever the size of the file that is drawn.
(() => {
  const { review } = window.ltad;
  const { state, make } = review;
  const MOST = 40; // screen pixels to an image pixel
  const DETAILS = 12; // images kept ready
  const BLANK_AFTER = 150; // milliseconds that the last image may stay while the next one loads
  const details = new Map(); // item id -> promise of { item, image, map }
  const view = { scale: 1, left: 0, top: 0, isFitted: true };
  let canvas, shown = null;

  review.view = view;
  review.shownDetail = () => shown;

  // --- images -------------------------------------------------------------------------------
  const picture = async (url) => {
    const image = new Image();
    image.src = url;
    await image.decode();
    return image;
  };

  async function load(id) {
    const item = await review.call("desk_item", id, 1600);
    const detail = { ...item, id, image: item.picture && await picture(item.picture) };
    detail.mask = item.mask && await picture(item.mask);
    delete detail.picture; // the decoded image is enough
    detail.map = item.status === "scored" ? loadMap(id) : null;
    return detail;
  }

  async function loadMap(id) {
    const map = await review.call("desk_map", id);
    const outlines = map.regions.map((region) => {
      const path = new Path2D();
      for (const contour of region.contours) {
        contour.forEach(([x, y], index) => (index ? path.lineTo(x, y) : path.moveTo(x, y)));
        path.closePath();
      }
      return { ...region, path };
    });
    return { ...map, regions: outlines, heat: await picture(map.heat) };
  }

  review.detail = (id) => {
    if (!details.has(id)) {
      const promise = load(id);
      promise.catch(() => details.delete(id));
      details.set(id, promise);
      if (details.size > DETAILS) details.delete(details.keys().next().value);
    }
    return details.get(id);
  };
  review.cachedDetail = (id) => details.get(id);
  review.forgetDetails = (keep = () => false) => {
    for (const id of details.keys()) if (!keep(id)) details.delete(id);
  };

  // Thresholds moved: outlines are fetched anew, while zoom and image stay as they are.
  review.forgetMaps = async (isStale) => {
    const detail = shown;
    review.forgetDetails((id) => !isStale(id) || id === detail?.id);
    if (!detail?.map || !isStale(detail.id)) return;
    try {
      const map = await (detail.map = loadMap(detail.id));
      if (shown !== detail) return;
      detail.readyMap = map;
      review.emit("map", detail);
      draw();
    } catch (error) {
      review.say(error.message, "bad");
    }
  };

  // The neighbours are fetched while the person looks, so that the next key finds them ready.
  async function prefetch(id) {
    const at = state.shown.indexOf(id);
    const near = [review.nextOpen(), state.shown[at + 1], state.shown[at + 2], state.shown[at - 1]];
    for (const other of new Set(near.filter((one) => one != null && one !== id))) {
      if (state.current !== id) return;
      await review.detail(other).then((detail) => detail.map).catch(() => {});
    }
  }

  review.on("item", async () => {
    const id = state.current;
    review.stopEditing?.();
    // Nobody may judge one image by the sight of another.
    const isMissing = () => state.current === id && shown?.id !== id;
    const late = setTimeout(() => { if (isMissing()) blank(); }, BLANK_AFTER);
    try {
      const detail = await review.detail(id);
      if (state.current !== id) return;
      shown = detail;
      fit();
      review.emit("detail", detail);
      detail.readyMap = await detail.map;
    } catch (error) {
      if (state.current === id) review.say(error.message, "bad");
    } finally {
      if (!isMissing()) clearTimeout(late);
    }
    if (state.current !== id) return;
    review.emit("map", shown);
    draw();
    prefetch(id);
  });

  const blank = review.blank = () => {
    review.stopEditing?.();
    shown = null;
    draw();
  };

  review.visibleRegions = (detail = shown) => {
    const smallest = state.smallest * (detail?.width ?? 0) * (detail?.height ?? 0);
    return (detail?.readyMap?.regions ?? []).filter((region) => region.area >= smallest);
  };

  // Files are fetched no larger than a screen; the whole one comes when it is looked at closely.
  async function sharpen() {
    const detail = shown;
    if (!detail?.image || detail.isWhole || detail.image.naturalWidth >= detail.width) return;
    if (view.scale * devicePixelRatio * detail.width <= 1.2 * detail.image.naturalWidth) return;
    detail.isWhole = true;
    const url = await review.call("desk_picture", detail.id, 0).catch(() => null);
    if (url) detail.image = await picture(url);
    else detail.isWhole = false;
    draw();
  }

  // --- drawing --------------------------------------------------------------------------------
  let isDue = false;
  function draw() {
    if (isDue || !canvas) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      paint(canvas.getContext("2d"));
    });
  }
  review.draw = draw;

  function paint(context) {
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    const detail = shown;
    if (!detail?.image) return;
    const dots = devicePixelRatio;
    context.setTransform(
      dots * view.scale, 0, 0, dots * view.scale, dots * view.left, dots * view.top);
    context.imageSmoothingEnabled = view.scale * dots < 4; // close up, pixels are shown as such
    const { width, height, readyMap: map } = detail;
    context.drawImage(detail.image, 0, 0, width, height);
    context.imageSmoothingEnabled = true;
    if (map && state.layers.map && !review.editor?.isOn) {
      context.globalAlpha = state.layers.opacity;
      context.drawImage(map.heat, 0, 0, width, height);
      context.globalAlpha = 1;
    }
    if (review.editor?.isOn) review.editor.paint(context, width, height);
    else {
      if (detail.tinted) context.drawImage(detail.tinted, 0, 0, width, height);
      if (map && state.layers.boxes) paintRegions(context);
    }
  }

  function paintRegions(context) {
    const line = 1 / view.scale;
    context.lineJoin = "round";
    review.visibleRegions().forEach((region, index) => {
      for (const [width, colour] of [[3.5, "#000a"], [1.5, "#fff"]]) {
        context.lineWidth = width * line;
        context.strokeStyle = colour;
        context.stroke(region.path);
      }
      const { left, top, right, bottom } = region;
      context.setLineDash([5 * line, 4 * line]);
      context.strokeRect(left, top, right - left, bottom - top);
      context.setLineDash([]);
      context.font = `600 ${12 * line}px system-ui, sans-serif`;
      const label = String(index + 1);
      const across = context.measureText(label).width + 8 * line;
      context.fillStyle = "#111";
      context.fillRect(left, top, across, 17 * line);
      context.fillStyle = "#fff";
      context.fillText(label, left + 4 * line, top + 13 * line);
    });
  }

  // --- zoom and pan ---------------------------------------------------------------------------
  function fit() {
    if (!shown?.image) return draw();
    const { clientWidth, clientHeight } = canvas;
    view.scale = Math.min(clientWidth / shown.width, clientHeight / shown.height);
    view.left = (clientWidth - shown.width * view.scale) / 2;
    view.top = (clientHeight - shown.height * view.scale) / 2;
    view.isFitted = true;
    tell();
  }

  function zoom(by, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
    if (!shown?.image) return;
    const least = Math.min(canvas.clientWidth / shown.width, canvas.clientHeight / shown.height);
    const scale = Math.min(MOST, Math.max(least, view.scale * by));
    if (scale === least) return fit();
    view.left = x - ((x - view.left) * scale) / view.scale;
    view.top = y - ((y - view.top) * scale) / view.scale;
    Object.assign(view, { scale, isFitted: false });
    tell();
    sharpen();
  }

  function pan(right, down) {
    view.left += right;
    view.top += down;
    view.isFitted = false;
    draw();
  }
  const tell = () => { review.emit("zoom", view); draw(); };
  Object.assign(review, { fit, zoom, pan });

  review.focusPicture = () => canvas.focus({ preventScroll: true });

  review.toPicture = (event) => {
    const edge = canvas.getBoundingClientRect();
    return [(event.clientX - edge.left - view.left) / view.scale,
      (event.clientY - edge.top - view.top) / view.scale];
  };

  review.toScreen = ([x, y]) => {
    const edge = canvas.getBoundingClientRect();
    return { clientX: edge.left + view.left + x * view.scale,
      clientY: edge.top + view.top + y * view.scale };
  };

  // --- pointers -------------------------------------------------------------------------------
  const pointers = new Map(); // id -> [x, y]; two of them zoom

  function press(event) {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    const isBrush = review.editor?.isOn && event.button === 0 && pointers.size === 1;
    if (isBrush) review.editor.begin(event);
    else review.editor?.drop();
  }

  function drag(event) {
    if (review.editor?.isOn) review.editor.hover(event);
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = [event.offsetX, event.offsetY];
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    pointers.set(event.pointerId, now);
    if (other) {
      const apart = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]) || 1;
      zoom(apart(now) / apart(before), other[0], other[1]);
    } else if (review.editor?.isStroking) review.editor.go(event);
    else pan(now[0] - before[0], now[1] - before[1]);
  }

  function release(event) {
    pointers.delete(event.pointerId);
    review.editor?.end();
  }

  review.stageCanvas = () => {
    canvas = make("canvas", { class: "lt-review-canvas", tabIndex: 0, role: "img",
      "aria-label": "The image. Plus and minus zoom, Shift with arrows moves it.",
      onpointerdown: press, onpointermove: drag, onpointerup: release, onpointercancel: release,
      oncontextmenu: (event) => event.preventDefault(),
      ondblclick: (event) => {
        if (review.editor?.isOn) return;
        if (view.isFitted) zoom(1 / (view.scale * devicePixelRatio), event.offsetX, event.offsetY);
        else fit();
      } });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      zoom(2 ** (-event.deltaY / (event.deltaMode ? 8 : 240)), event.offsetX, event.offsetY);
    }, { passive: false });
    const label = canvas.ariaLabel;
    review.on("editor", () => {
      canvas.ariaLabel = review.editor.isOn ? "The image to paint on. Arrow keys move the "
        + "brush, space lowers and lifts it, Enter saves." : label;
    });
    new ResizeObserver(() => {
      canvas.width = canvas.clientWidth * devicePixelRatio;
      canvas.height = canvas.clientHeight * devicePixelRatio;
      if (view.isFitted) fit();
      else draw();
    }).observe(canvas);
    return canvas;
  };
})();
