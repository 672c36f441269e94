// The keyboard. Keys act only while the tab is on show and nobody types.
(() => {
  const { review } = window.ltad;

  const KEYS = {
    a: () => review.decide("good"), r: () => review.decide("defective"),
    u: () => review.decide("unsure"), z: () => review.undo(),
    j: () => review.step(1), ArrowRight: () => review.step(1),
    k: () => review.step(-1), ArrowLeft: () => review.step(-1),
    h: () => review.toggleLayer("map"), b: () => review.toggleLayer("boxes"),
    e: () => review.editor.open("mask"), i: () => review.editor.open("ignore"),
    n: () => review.focusNote(), t: () => review.toggleTraining(),
    f: () => review.fillWindow(),
    "+": () => review.zoom(1.5), "=": () => review.zoom(1.5), "-": () => review.zoom(1 / 1.5),
    0: () => review.fit(), "?": () => review.showHelp(),
    Escape: () => review.closePanels() || review.root.classList.remove("lt-review-full"),
  };
  const EDITING = {
    x: () => review.editor.switchTool(), z: () => review.editor.undoStroke(),
    c: () => review.editor.clear(), "[": () => review.editor.resize(1 / 1.25),
    m: () => review.editor.mode === "mask" && review.editor.fromModel(),
    ArrowLeft: () => review.pen.move(-1, 0), ArrowRight: () => review.pen.move(1, 0),
    ArrowUp: () => review.pen.move(0, -1), ArrowDown: () => review.pen.move(0, 1),
    " ": () => review.pen.press(),
    "]": () => review.editor.resize(1.25), Enter: () => review.editor.save(),
    Escape: () => review.editor.close(),
    "+": KEYS["+"], "=": KEYS["="], "-": KEYS["-"], 0: KEYS[0], "?": KEYS["?"],
  };
  const PANS = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };

  review.keyTexts = [
    ["Decide", [["A", "accept: good"], ["R", "reject: defective"], ["U", "unsure"],
      ["Z", "undo your last decision"], ["N", "note"], ["T", "use for training"]]],
    ["Move", [["J →", "next"], ["K ←", "previous"], ["+ −", "zoom"], ["0", "fit"],
      ["Shift ← → ↑ ↓", "move the image"], ["F", "fill the window"]]],
    ["Show", [["H", "map"], ["B", "boxes and outlines"], ["?", "these keys"],
      ["Esc", "close, leave a text box"]]],
    ["Paint", [["E", "mask of the defect"], ["I", "areas this class ignores"],
      ["← → ↑ ↓", "move the brush"], ["Space", "lower or lift it"], ["[ ]", "brush size"], ["X", "brush or eraser"], ["Z", "undo stroke"], ["C", "clear"],
      ["M", "from the model's regions"], ["Enter", "save"]]],
  ];

  const isTyping = (target) => target.matches?.(
    "textarea, select, [contenteditable=true], "
    + "input:not([type=checkbox], [type=button], [type=file], [type=range])");

  review.onKey = (event) => {
    const { target } = event;
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!review.isVisible() || review.isHelpOpen()) return;
    const isOurs = review.root.contains(target) || target === document.body
      || target.matches?.("[role=tab]");
    if (!isOurs) return;
    if (isTyping(target)) {
      if (event.key === "Escape") review.focusPicture();
      return;
    }
    if (event.shiftKey && event.key in PANS) {
      event.preventDefault();
      return review.pan(...PANS[event.key]);
    }
    // Arrows move a range and a tab; Enter and space press the button that they are on.
    if (event.key.startsWith("Arrow") && target.matches("[type=range], [role=tab]")) return;
    if (["Enter", " "].includes(event.key) && target.matches("button, summary, a, input")) return;
    const keys = review.editor.isOn ? EDITING : KEYS;
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act || (event.repeat && !/^(j|k|Arrow|[+=[\]-])/i.test(event.key))) return;
    event.preventDefault();
    review.state.isUntouched = false;
    act();
  };
})();
