// Painting on a good image. The strokes live here; the server renders and judges all of them.
(() => {
  const PAUSE = 250; // milliseconds between two questions while the brush moves
  const STEP = 0.003; // a shorter move adds no point
  const MOST_POINTS = 2000, MOST_STROKES = 200;

  let strokes = []; // each as ltad.drawing.Stroke, with the version in which it last grew
  let version = 0, shown = 0; // of the drawing, and of what the image on the stage shows
  let current = null; // the stroke being painted
  let cursor = { x: 0.5, y: 0.5 }; // of the arrow keys
  let timer = 0;

  const stage = () => document.querySelector(".lt-stage");
  const field = (name) => document.getElementById(`lt-draw-${name}`);

  // --- talking to the server ------------------------------------------------------------------
  const plain = () => strokes.map(({ version: _, ...stroke }) => stroke);
  const take = () => JSON.stringify({ version, strokes: plain() });
  const ask = () => {
    clearTimeout(timer);
    timer = 0;
    if (stage()) document.getElementById("lt-draw-ask")?.click();
  };
  const askSoon = () => (timer ||= setTimeout(ask, PAUSE));
  const start = () => {
    [strokes, current, shown] = [[], null, 0];
    version = 0;
    document.getElementById("lt-draw-ask")?.click();
    preview();
  };
  const answered = () => {
    const painted = document.getElementById("lt-draw-painted");
    const picture = stage()?.querySelector("img");
    if (!painted || !picture) return;
    picture.src = painted.src;
    shown = Number(painted.dataset.version);
    if (shown !== version) askSoon();
    preview();
  };

  // --- painting -------------------------------------------------------------------------------
  const brush = () => ({
    kind: document.querySelector("[name=lt-kind]:checked")?.value ?? "scratch",
    width: Number(field("width").value) / 100,
    strength: Number(field("strength").value),
    colour: field("colour").value,
    seed: crypto.getRandomValues(new Uint32Array(1))[0],
  });
  const round = (share) => Math.round(1e4 * Math.min(1, Math.max(0, share))) / 1e4;
  const changed = (question) => {
    version += 1;
    question();
    preview();
  };
  const lower = (x, y) => {
    if (strokes.length >= MOST_STROKES) return;
    current = { ...brush(), points: [[round(x), round(y)]], version: version + 1 };
    strokes.push(current);
    changed(askSoon);
  };
  const drag = (x, y) => {
    const last = current.points.at(-1);
    if (Math.hypot(x - last[0], y - last[1]) < STEP) return;
    if (current.points.length >= MOST_POINTS) return;
    current.points.push([round(x), round(y)]);
    current.version = version + 1;
    changed(askSoon);
  };
  const lift = () => {
    if (!current) return;
    current = null;
    ask();
  };
  const undo = () => {
    if (!strokes.length) return;
    current = null;
    strokes.pop();
    changed(ask);
  };
  const clear = () => {
    if (!strokes.length) return;
    [strokes, current] = [[], null];
    changed(ask);
  };
  const save = () => {
    const file = new Blob([JSON.stringify(plain(), null, 1)], { type: "application/json" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file);
    link.download = "strokes.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };

  // What the server has not rendered yet is sketched over the image.
  function preview(withCursor = false) {
    const canvas = stage()?.querySelector("canvas");
    if (!canvas) return;
    const { width, height } = canvas.getBoundingClientRect();
    const density = window.devicePixelRatio || 1;
    [canvas.width, canvas.height] = [Math.round(width * density), Math.round(height * density)];
    const pen = canvas.getContext("2d");
    pen.scale(density, density);
    Object.assign(pen, { lineCap: "round", lineJoin: "round" });
    for (const stroke of strokes.filter((one) => one.version > shown)) {
      pen.strokeStyle = stroke.colour;
      pen.globalAlpha = stroke.kind === "erase" ? 0.35 : 0.8 * stroke.strength;
      pen.lineWidth = Math.max(1.5, stroke.width * Math.min(width, height));
      pen.beginPath();
      stroke.points.forEach(([x, y], at) => pen[at ? "lineTo" : "moveTo"](x * width, y * height));
      if (stroke.points.length === 1) pen.lineTo(stroke.points[0][0] * width + 0.1,
        stroke.points[0][1] * height);
      pen.stroke();
    }
    if (withCursor || document.activeElement?.matches(".lt-by-keys")) drawCursor(pen, width, height);
  }
  function drawCursor(pen, width, height) {
    const radius = Math.max(4, (brush().width * Math.min(width, height)) / 2);
    for (const [colour, thick] of [["#111", 3], ["#fff", 1.5]]) {
      Object.assign(pen, { globalAlpha: 1, strokeStyle: colour, lineWidth: thick });
      pen.beginPath();
      pen.arc(cursor.x * width, cursor.y * height, radius, 0, 2 * Math.PI);
      pen.stroke();
    }
  }

  // --- pointer --------------------------------------------------------------------------------
  const onCanvas = (event) => event.target.closest?.(".lt-stage canvas");
  const place = (event, canvas) => {
    const edge = canvas.getBoundingClientRect();
    return [(event.clientX - edge.left) / edge.width, (event.clientY - edge.top) / edge.height];
  };
  document.addEventListener("pointerdown", (event) => {
    const canvas = onCanvas(event);
    if (!canvas || event.button !== 0) return;
    canvas.classList.remove("lt-by-keys");
    canvas.setPointerCapture(event.pointerId);
    lower(...place(event, canvas));
  });
  document.addEventListener("pointermove", (event) => {
    const canvas = onCanvas(event);
    if (!canvas || !current || !event.buttons) return;
    for (const one of event.getCoalescedEvents?.() ?? [event]) drag(...place(one, canvas));
  });
  for (const end of ["pointerup", "pointercancel"]) {
    document.addEventListener(end, (event) => onCanvas(event) && lift());
  }

  // --- keyboard -------------------------------------------------------------------------------
  const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const say = () => {
    const output = document.getElementById("lt-draw-pen");
    if (output) output.textContent = current
      ? "The brush is down: arrow keys paint, space lifts it."
      : "The brush is up: arrow keys move it, space lowers it.";
  };
  document.addEventListener("keydown", (event) => {
    const canvas = onCanvas(event);
    if (!canvas) return;
    const move = MOVES[event.key];
    if (move) {
      const step = event.shiftKey ? 0.005 : 0.02;
      cursor = { x: round(cursor.x + step * move[0]), y: round(cursor.y + step * move[1]) };
      if (current) drag(cursor.x, cursor.y);
    } else if (event.key === " " || event.key === "Enter") {
      if (current) lift();
      else lower(cursor.x, cursor.y);
    } else if (event.key === "Escape") lift();
    else if (event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey)) undo();
    else return;
    event.preventDefault();
    canvas.classList.add("lt-by-keys");
    say();
    preview(true);
  });
  document.addEventListener("focusout", (event) => {
    if (!onCanvas(event)) return;
    lift();
    event.target.classList.remove("lt-by-keys");
    preview();
  });

  // --- tools ----------------------------------------------------------------------------------
  const TOOLS = { undo, clear, save };
  document.addEventListener("click", (event) => {
    TOOLS[event.target.closest?.("[data-lt-draw]")?.dataset.ltDraw]?.();
  });
  document.addEventListener("change", (event) => {
    if (!event.target.matches?.("[name=lt-kind]")) return;
    field("colour").value = event.target.dataset.colour;
    field("width").value = event.target.dataset.width;
  });
  window.addEventListener("resize", () => preview());

  window.ltad.draw = { start, take, ask, answered };
})();
