// "Save the maps": what Inspect shows, drawn side by side into one PNG, without the server.
(() => {
  const GAP = 16, LINE = 22; // pixels
  const load = (url) => new Promise((done, failed) => {
    const image = Object.assign(new Image(), { onload: () => done(image), onerror: failed });
    image.src = url;
  });
  const words = (element) => element?.innerText.replace(/\s+/g, " ").trim() ?? "";

  async function draw(maps) {
    const photo = await load(getComputedStyle(maps).getPropertyValue("--lt-photo").slice(4, -1));
    const figures = [...maps.querySelectorAll("figure")];
    const { naturalWidth: width, naturalHeight: height } = photo;
    const canvas = document.createElement("canvas");
    canvas.width = GAP + figures.length * (width + GAP);
    canvas.height = 2 * GAP + height + 3 * LINE;
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    const write = (text, left, top, most) => {
      pen.fillStyle = "#111";
      pen.fillText(text, left, top, most);
    };
    pen.font = "600 15px system-ui, sans-serif";
    const answer = document.getElementById("lt-answer");
    const part = words(answer.querySelector(".lt-class h3"));
    write(`${words(answer.querySelector("h2"))} (${part}): ${words(answer.querySelector(
      ".lt-gauge-text"))}`, GAP, GAP + 12, canvas.width - 2 * GAP);
    pen.font = "13px system-ui, sans-serif";
    const opacity = getComputedStyle(document.documentElement).getPropertyValue("--lt-opacity");
    for (const [place, figure] of figures.entries()) {
      const left = GAP + place * (width + GAP), top = GAP + 2 * LINE;
      write(words(figure.querySelector("figcaption")), left, top - 7, width);
      pen.drawImage(photo, left, top, width, height);
      pen.globalAlpha = Number(opacity);
      pen.drawImage(await load(figure.querySelector(".lt-heat").src), left, top, width, height);
      pen.globalAlpha = 1;
      for (const box of figure.querySelectorAll(".lt-box")) {
        const [x, y, w, h] = ["left", "top", "width", "height"].map(
          (side) => parseFloat(box.style[side]) / 100);
        pen.strokeStyle = "#fff";
        pen.lineWidth = 2;
        pen.strokeRect(left + x * width, top + y * height, w * width, h * height);
      }
      const [low, high] = [...figure.querySelectorAll(".lt-legend > span")]
        .filter((one) => one.innerText).map(words);
      const highest = figure.querySelector(".lt-value").dataset.rest
        ?? words(figure.querySelector(".lt-value"));
      write(`colours from ${low} to ${high}, ${highest}`, left, top + height + LINE - 5, width);
    }
    return canvas;
  }

  document.addEventListener("click", async (event) => {
    if (!event.target.closest?.("[data-lt-save]")) return;
    const canvas = await draw(document.querySelector("#lt-result .lt-maps"));
    const file = event.target.closest("[data-lt-save]").dataset.ltSave;
    Object.assign(document.createElement("a"), { href: canvas.toDataURL(), download: file }).click();
  });
})();
