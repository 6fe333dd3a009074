// Keys and colours.

const KEYS = [
  ["/", "filter; Esc empties it"],
  ["j k, arrows", "next and previous row; Home and End"],
  ["Enter", "open or close a cluster; all about an endpoint"],
  ["→ ←", "open, close the cluster"],
  ["d", "drain or undrain the endpoint"],
  ["x", "disable or enable the endpoint"],
  ["w", "weight of the endpoint"],
  ["s", "sort by something else"],
  ["!", "only what is in trouble"],
  ["p", "pause and go on"],
  ["t", "colours of the system, light, dark"],
  ["?", "these keys"],
];
const THEMES = ["auto", "light", "dark"];
const THEME = "lbd-theme";

function showHelp(asking) {
  const list = make("dl", {class: "facts keys"});
  for (const [key, what] of KEYS) list.append(make("dt", {}, make("kbd", {text: key})), make("dd", {text: what}));
  const note = make("p", {class: "muted", text: `Rates, shares and latencies are those of the last ${WINDOW} seconds, computed as lbd top does; lines show up to ten minutes.`});
  asking.open("Keys", [list, note], [make("button", {type: "button", text: "Close", autofocus: true, onclick: () => asking.close()})]);
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  setText($("theme"), name[0].toUpperCase() + name.slice(1));
  $("theme").setAttribute("aria-label", `Colours: ${name}`);
}

function nextTheme() {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
  localStorage.setItem(THEME, next);
  setTheme(next);
}

function isTyping(target) {
  return target.closest("input:not([type=checkbox]), select, textarea") !== null;
}

// dashboard: what the keys act on.
function handleKeys(dashboard) {
  const {table, asking} = dashboard;
  const filter = $("filter");
  const bound = {
    "/": () => filter.focus(),
    "j": () => table.move(1), "ArrowDown": () => table.move(1),
    "k": () => table.move(-1), "ArrowUp": () => table.move(-1),
    "Home": () => table.move(-Infinity), "End": () => table.move(Infinity),
    "ArrowRight": () => table.fold(true), "ArrowLeft": () => table.fold(false),
    "d": () => table.act("drain"), "x": () => table.act("disable"), "w": () => table.act("weight"),
    "s": () => dashboard.nextSort(), "!": () => $("troubled").click(),
    "p": () => dashboard.togglePause(), "t": nextTheme, "?": () => showHelp(asking),
  };
  addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || asking.isOpen) return;
    const {key, target} = event;
    if (target === filter && key === "Escape") {
      filter.value = "";
      dashboard.setFilter("");
      filter.blur();
    } else if (target === filter && (key === "Enter" || key === "ArrowDown")) {
      event.preventDefault();
      filter.blur();
      table.move(0);
    } else if (key === "Enter" && target.row) {
      event.preventDefault();
      table.enter();
    } else if (!isTyping(target) && bound[key] && !(target.id === "events" && key.startsWith("Arrow"))) {
      event.preventDefault();
      bound[key]();
    }
  });
}
