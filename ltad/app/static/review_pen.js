// The brush without a pointer: arrow keys move it, space lowers and lifts it.
(() => {
  const { review } = window.ltad;
  const { editor } = review;
  let place = null; // in image pixels

  function go(right, down) {
    const { width, height } = review.shownDetail();
    const step = Math.max(1, editor.size / 4);
    const [x, y] = place ?? [width / 2, height / 2];
    place = [Math.min(width, Math.max(0, x + step * right)),
      Math.min(height, Math.max(0, y + step * down))];
    const event = review.toScreen(place);
    editor.hover(event);
    return event;
  }

  review.pen = {
    move(right, down) {
      const event = go(right, down);
      if (editor.isStroking) editor.go(event);
    },
    press() {
      if (editor.isStroking) editor.end();
      else editor.begin(go(0, 0));
      review.emit("editor");
      review.draw();
    },
  };
  review.on("editor", () => { if (!editor.isOn) place = null; });
})();
