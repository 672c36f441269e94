// What can be shared of the page's state stands in its address; address.py reads it back.
(() => {
  // --- writing: at once, then at most every PAUSE, because browsers limit how often it changes --
  const PAUSE = 200; // milliseconds; Chromium ignores more than 200 changes in 30 seconds
  const changes = new Map();
  let timer = null;
  const put = () => {
    timer = null;
    if (!changes.size) return;
    const address = new URL(location.href);
    for (const [key, value] of changes) {
      if (value === null || value === undefined || value === "") address.searchParams.delete(key);
      else address.searchParams.set(key, value);
    }
    changes.clear();
    if (address.href === location.href) return;
    history.replaceState(history.state, "", address);
    timer = setTimeout(put, PAUSE);
  };
  const write = (values) => {
    for (const [key, value] of Object.entries(values)) changes.set(key, value);
    if (timer === null) put();
  };

  const KEYS = ["class", "normal", "abnormal", "lambda", "tau", "rate"];
  const settings = (firstModel, defaults, model, ...values) => {
    const own = JSON.parse(defaults);
    if (own.model !== model) return; // the new model's settings are on their way
    const different = KEYS.map((key, at) => {
      const value = typeof values[at] === "string" ? values[at].trim() : values[at];
      return [key, value === own[key] ? null : value];
    });
    write({ model: model === firstModel ? null : model, ...Object.fromEntries(different) });
  };

  // An image of the visitor's own has no name that could be shared.
  const picture = (kind, name) => write({ example: null, source: null, ...(kind && { [kind]: name }) });

  const tab = (id, isFirst) => {
    document.body.dataset.ltTab = id;
    write({ tab: isFirst ? null : id });
  };

  // --- reading: once at the start, and whenever another tab asks for an image in Inspect ------
  let wanted = location.search; // settings and tab, until they are taken
  let picturesIn = wanted; // the query whose image is still to be shown
  const take = () => {
    const query = wanted;
    wanted = "";
    return query;
  };
  const show = () => {
    const query = new URLSearchParams(picturesIn);
    if (query.has("source") || query.has("example")) document.getElementById("lt-show")?.click();
  };
  const shown = () => {
    const query = picturesIn;
    picturesIn = "";
    return query;
  };
  const NAMES = { class_name: "class", normal_prompt: "normal", abnormal_prompt: "abnormal",
    lam: "lambda", false_alarm_rate: "rate" };
  const openInInspect = (wish) => {
    const query = new URLSearchParams({ tab: "inspect" });
    for (const [name, value] of Object.entries(wish)) {
      if (value !== null && value !== undefined) query.set(NAMES[name] ?? name, value);
    }
    wanted = picturesIn = `?${query}`;
    document.getElementById("lt-open")?.click();
    picture("source", wish.source);
  };

  Object.assign(window.ltad, { address: { write, settings, picture, tab, take, show, shown }, openInInspect });
})();
