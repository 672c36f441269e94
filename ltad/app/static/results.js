// The Results tab: sorting, drill-down, the gallery, and dragging in its figures.
(() => {
  const results = { pickedClass: "", pickedScore: "", pickedLine: "", picked: [] };
  window.ltad.results = results;
  const press = (id) => document.getElementById(id)?.click();

  // --- tables ---------------------------------------------------------------------------------
  // A column is a cell's place in its row: the heading's last row has one cell a column.
  function sort(heading) {
    const table = heading.closest("table"), column = heading.cellIndex;
    const rows = [...table.tBodies[0].rows];
    const isNumber = heading.classList.contains("lt-run-number");
    const value = (row) => {
      const text = row.cells[column].dataset.value;
      return isNumber ? Number(text ?? NaN) : text ?? "";
    };
    // Numbers start with the highest, names with A.
    const first = isNumber ? "descending" : "ascending";
    const second = isNumber ? "ascending" : "descending";
    const order = heading.ariaSort === first ? second : first;
    const sign = order === "ascending" ? 1 : -1;
    const compare = (a, b) => {
      const left = value(a), right = value(b);
      if (!isNumber) return sign * left.localeCompare(right);
      if (Number.isNaN(left - right)) return Number.isNaN(left) - Number.isNaN(right);
      return sign * (left - right);
    };
    heading.parentElement.querySelectorAll("th").forEach((one) => (one.ariaSort = "none"));
    heading.ariaSort = order;
    table.tBodies[0].append(...rows.sort(compare));
  }

  document.addEventListener("click", (event) => {
    const target = event.target.closest?.(
      "[data-lt-sort], [data-lt-class], [data-lt-open], [data-lt-forget]",
    );
    if (!target) return;
    if ("ltSort" in target.dataset) sort(target.closest("th"));
    else if ("ltClass" in target.dataset) pickClass(target.dataset.ltClass);
    else if ("ltOpen" in target.dataset) open(target);
    else forget();
  });

  function pickClass(name) {
    results.pickedClass = name;
    press("lt-run-pick-class");
    document.getElementById("lt-run-bar")?.scrollIntoView({ behavior: "smooth" });
  }

  results.save = (name, text) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  };

  // --- gallery --------------------------------------------------------------------------------
  function open(card) {
    window.ltad.openInInspect?.(JSON.parse(card.dataset.ltOpen));
    window.scrollTo(0, 0); // the image stands at the head of the other tab
  }

  results.turned = () => {
    const gallery = document.getElementById("lt-run-gallery");
    gallery?.scrollIntoView({ behavior: "smooth", block: "start" });
    gallery?.querySelector(".lt-run-shot")?.focus({ preventScroll: true });
  };

  // Choices about the look stay on the root, so that they outlive a new page of images.
  document.addEventListener("input", (event) => {
    const { dataset, value, checked } = event.target, choice = dataset?.ltShots;
    if (!choice) return;
    const chosen = choice === "size" ? ["--lt-run-shot", `${value}px`]
      : [`--lt-run-${choice}`, Number(checked)];
    document.documentElement.style.setProperty(...chosen);
  });

  // Arrows go from image to image; up and down to the nearest one in the next row.
  document.addEventListener("keydown", (event) => {
    const card = event.target.closest?.(".lt-run-shot");
    if (!card) return;
    const cards = [...card.closest(".lt-run-shots").querySelectorAll(".lt-run-shot")];
    const at = cards.indexOf(card);
    const inRow = cards.filter((one) => one.offsetTop === cards[0].offsetTop).length;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -inRow, ArrowDown: inRow };
    if (event.key === "PageDown") press("lt-run-shots-next");
    else if (event.key === "PageUp") press("lt-run-shots-previous");
    else if (event.key in steps) cards[at + steps[event.key]]?.focus();
    else return;
    event.preventDefault();
  });

  // --- the map --------------------------------------------------------------------------------
  const heard = new WeakSet(); // plotly's event emitters: a figure drawn anew has another one
  function listen(plot) {
    if (!plot?.on || heard.has(plot._ev)) return;
    heard.add(plot._ev);
    plot.on("plotly_selected", (event) => {
      if (!event?.points) return;
      results.picked = event.points.map((point) => point.customdata);
      press("lt-run-pick-pictures");
    });
    plot.on("plotly_deselect", forget);
  }
  document.addEventListener("pointerover", (event) =>
    listen(event.target.closest?.("#lt-run-map .js-plotly-plot")), { passive: true });

  function forget() {
    results.picked = [];
    press("lt-run-pick-pictures");
  }
  results.selection = (run) =>
    results.picked.length ? JSON.stringify({ run, pictures: results.picked }) : "";

  results.arrive = () => window.dispatchEvent(new Event("resize"));

  // --- dragging the threshold in the histogram ------------------------------------------------
  // A handle of the page's own lies over plotly's dashed line, which is not one to take hold of.
  // The line of one class is named after it: where each class has its own, the rate follows.
  const axesOf = (plot, number = "") =>
    ({ x: plot._fullLayout[`xaxis${number}`], y: plot._fullLayout[`yaxis${number}`] });
  function place(plot) {
    const lines = plot._fullLayout.shapes.filter((line) => line.name);
    const handles = [...plot.querySelectorAll(".lt-run-handle")];
    handles.splice(lines.length).forEach((handle) => handle.remove());
    lines.forEach((line, index) => {
      const handle = handles[index] ?? addHandle(plot);
      handle.dataset.axis = line.xref.slice(1);
      handle.dataset.line = line.name;
      handle.ariaLabel = lines.length > 1 ? `Threshold of ${line.name}` : "Threshold";
      handle.classList.toggle("lt-run-handle-small", lines.length > 1);
      const { x, y } = axesOf(plot, handle.dataset.axis);
      if (!handle.classList.contains("lt-run-dragging")) move(plot, handle, line.x0);
      handle.style.top = `${y._offset}px`;
      handle.style.height = `${y._length}px`;
      [handle.ariaValueMin, handle.ariaValueMax] = x.range;
    });
  }
  function addHandle(plot) {
    const handle = document.createElement("div");
    handle.className = "lt-run-handle";
    handle.tabIndex = 0;
    handle.role = "slider";
    handle.append(document.createElement("output"));
    return plot.appendChild(handle);
  }
  function move(plot, handle, score) {
    const { x } = axesOf(plot, handle.dataset.axis), [low, high] = x.range;
    const value = Math.min(high, Math.max(low, score));
    handle.dataset.score = value;
    handle.ariaValueNow = value;
    handle.style.left = `${x._offset + x.l2p(value)}px`;
    handle.firstChild.textContent = Number(value.toPrecision(4));
  }
  function commit(handle) {
    const { score, line } = handle.dataset, isOneOfMany = handle.matches(".lt-run-handle-small");
    if (isOneOfMany) results.pickedLine = JSON.stringify([line, Number(score)]);
    else results.pickedScore = String(Number(Number(score).toPrecision(5)));
    press(isOneOfMany ? "lt-run-pick-line" : "lt-run-pick-score");
  }
  // The slider was not let go of by hand, which is what the map and the images wait for.
  results.released = () => ["lt-ask-map", "lt-ask-shots"].forEach(press);
  document.addEventListener("pointerdown", (event) => {
    const handle = event.target.closest?.(".lt-run-handle");
    if (!handle) return;
    event.preventDefault();
    handle.setPointerCapture(event.pointerId);
    handle.classList.add("lt-run-dragging");
    handle.focus();
  });
  let waiting = 0;
  document.addEventListener("pointermove", (event) => {
    const handle = event.target.closest?.(".lt-run-dragging");
    if (!handle) return;
    const plot = handle.closest(".js-plotly-plot"), { x } = axesOf(plot, handle.dataset.axis);
    move(plot, handle, x.p2l(event.clientX - plot.getBoundingClientRect().left - x._offset));
    clearTimeout(waiting);
    waiting = setTimeout(() => commit(handle), 60);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    document.addEventListener(end, (event) => {
      const handle = event.target.closest?.(".lt-run-dragging");
      if (!handle) return;
      clearTimeout(waiting);
      handle.classList.remove("lt-run-dragging");
      commit(handle);
    });
  }
  document.addEventListener("keydown", (event) => {
    const handle = event.target.closest?.(".lt-run-handle");
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!handle || !step) return;
    event.preventDefault();
    const plot = handle.closest(".js-plotly-plot");
    const [low, high] = axesOf(plot, handle.dataset.axis).x.range;
    move(plot, handle, Number(handle.dataset.score) + (step * (high - low)) / 100);
    clearTimeout(waiting);
    waiting = setTimeout(() => commit(handle), 250);
  });
  // Plotly draws when it likes: the handle follows whatever changes inside the figure.
  const watched = new WeakSet();
  const watch = () => {
    const block = document.getElementById("lt-run-histogram");
    if (!block || watched.has(block)) return;
    watched.add(block);
    let asked = 0;
    new MutationObserver(() => {
      cancelAnimationFrame(asked);
      asked = requestAnimationFrame(() => {
        const plot = block.querySelector(".js-plotly-plot");
        if (plot?._fullLayout) place(plot);
      });
    }).observe(block, { childList: true, subtree: true });
  };
  new MutationObserver(watch).observe(document, { childList: true, subtree: true });
})();
