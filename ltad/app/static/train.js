// The Train tab: buttons on images and parts tell the server what was pressed.
(() => {
  let pressed = null;
  window.ltad.train = { take: () => JSON.stringify(pressed) };
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-lt-train]");
    if (!button) return;
    pressed = { action: button.dataset.ltTrain, subject: JSON.parse(button.dataset.subject) };
    button.disabled = true;
    document.getElementById("lt-train-press")?.click();
  });
})();
