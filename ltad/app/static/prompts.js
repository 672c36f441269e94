// The Prompts tab: a click in a cell chooses a pair; live answers wait until typing pauses.
(() => {
  let picked = null; // {side, pair} of the last click

  const ask = (pause) => {
    window.ltad.press("lt-prompts-ask", pause);
    window.ltad.press("lt-prompts-compare", pause + 20);
    window.ltad.press("lt-prompts-rename", pause + 40);
  };

  // The four boxes of pairs A and B, with the chosen pair in its place.
  const pick = (boxes) =>
    picked?.side === "b" ? [...boxes.slice(0, 2), ...picked.pair]
      : picked ? [...picked.pair, ...boxes.slice(2, 4)]
        : boxes.slice(0, 4);

  window.ltad.prompts = { ask, pick };

  document.addEventListener("click", async (event) => {
    const cell = event.target.closest?.("[data-lt-pick]");
    if (cell) {
      picked = { side: cell.dataset.ltPick, pair: JSON.parse(cell.dataset.ltPair) };
      document.getElementById("lt-prompts-picked")?.click();
    }
    const copy = event.target.closest?.("[data-lt-prompts-copy]");
    if (copy) {
      try {
        await navigator.clipboard.writeText(copy.dataset.ltPromptsCopy);
        copy.textContent = "Copied";
      } catch { // without https: select it, for the person to copy
        getSelection().selectAllChildren(copy.parentElement.querySelector("code"));
      }
    }
  });
})();
