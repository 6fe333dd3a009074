// Panels: lbd as a whole, what is wrong with it, its listeners, answers, processes and events.

const MOST_PROBLEMS = 5;
const MOST_EVENTS = 500;
const LEVELS = {info: 0, warning: 1, error: 2};
const CLASSES = ["1xx", "2xx", "3xx", "4xx", "5xx"];

class Tiles {
  constructor() {
    this.tiles = new Map();
    for (const [key, name, series] of [
      ["rate", "Requests/s", "rate"], ["errors", "Errors (5xx)", "errors"], ["p50", "p50", "p50"], ["p99", "p99", "p99"],
      ["connections", "Connections", "connections"], ["cpu", "CPU", "cpu"], ["lag", "Loop lag", "lag"],
    ]) {
      const value = make("strong", {id: `tile-${key}`, text: "–"});
      const note = make("small", {text: "\u00a0"});
      const spark = sparkline(120, 28);
      $("tiles").append(make("div", {class: "tile"}, make("span", {text: name}), note, value, spark.svg));
      this.tiles.set(key, {value, note, spark, series});
    }
  }

  show(history) {
    const now = history.now;
    const flow = history.flow();
    const open = sum(now.listeners.map(one => one.connections));
    const cpu = history.rate(reading => sum(reading.processes.map(one => one.cpu)));
    const lag = Math.max(...now.processes.map(one => one.lag));
    const accepted = history.rate(reading => sum(reading.listeners.map(one => one.accepted)));
    const points = {rate: flow.rate, errors: flow.errors, p50: flow.p50, p99: flow.p99, connections: open, cpu, lag};
    for (const [name, value] of Object.entries(points)) history.put(name, value);
    this.put("rate", rateText(flow.rate), this.peak(history, "rate", rateText), history);
    this.put("errors", shareText(flow.errors), this.peak(history, "errors", shareText), history);
    this.put("p50", timeText(flow.p50), this.peak(history, "p50", timeText), history);
    this.put("p99", timeText(flow.p99), this.peak(history, "p99", timeText), history);
    this.put("connections", countText(open), accepted === null ? "" : `${rateText(accepted)} new/s`, history);
    this.put("cpu", cpu === null ? "–" : `${Math.round(100 * cpu)}%`, this.peak(history, "cpu", one => `${Math.round(100 * one)}%`), history);
    this.put("lag", timeText(lag), this.peak(history, "lag", timeText), history);
    this.tiles.get("errors").value.classList.toggle("wrong", Boolean(flow.errors));
  }

  peak(history, series, text) {
    const values = history.values(series).filter(value => !Number.isNaN(value));
    return values.length ? `peak ${text(Math.max(...values))}` : "";
  }

  put(key, text, note, history) {
    const tile = this.tiles.get(key);
    setText(tile.value, text);
    setText(tile.note, note || "\u00a0");
    draw(tile.spark, history.values(tile.series));
  }
}

function showHead(now, unix) {
  const {info, health, reloads} = now;
  const badge = $("health");
  setText(badge, health.status);
  setAttribute(badge, "data-status", health.status);
  const parts = [`${info.version}`, `pid ${info.pid}`, `up ${durationText(unix - info.started)}`];
  if (info.environment) parts.unshift(info.environment);
  if (reloads) {
    const count = reloads.ok ? `, reload ${reloads.ok}` : "";
    parts.push(`config of ${clockText(reloads.last_change)}${count}${reloads.last_ok ? "" : "; the last reload was refused"}`);
  }
  setText($("about"), parts.join(" · "));
}

// What /health says, and what protects clients right now.
function problemsOf(now) {
  const found = [...now.health.problems];
  for (const cluster of now.clusters.values()) {
    if (cluster.panic) found.push(`clusters: ${cluster.name}: panic, health is ignored`);
    for (const [where, one] of [[cluster.name, cluster], ...cluster.endpoints.map(one => [`${cluster.name}/${one.name}`, one])]) {
      if (one.breaker && one.breaker !== "closed") found.push(`breakers: ${where}: ${one.breaker}`);
    }
  }
  return found;
}

class Problems {
  constructor() {
    this.all = false;
    this.problems = [];
    $("more-problems").addEventListener("click", () => {
      this.all = !this.all;
      this.show(this.problems);
    });
  }

  show(problems) {
    this.problems = problems;
    const shown = this.all ? problems : problems.slice(0, MOST_PROBLEMS);
    const list = $("problem-list");
    while (list.children.length > shown.length) list.lastElementChild.remove();
    shown.forEach((text, i) => {
      if (!list.children[i]) list.append(make("li", {}));
      setText(list.children[i], text);
    });
    const left = problems.length - MOST_PROBLEMS;
    setText($("more-problems"), this.all ? "fewer" : `and ${left} more`);
    setHidden($("more-problems"), left <= 0);
    setHidden($("problems"), problems.length === 0);
  }
}

function showListeners(history) {
  const before = new Map(history.base.listeners.map(one => [one.name, one]));
  const rows = history.now.listeners.map(one => {
    const old = before.get(one.name) || {accepted: 0};
    const rate = history.knows ? increase(one.accepted, old.accepted) / history.seconds : null;
    const what = `${one.protocol}${one.tls ? ", TLS" : ""}`;
    return {
      cells: [one.name, one.bind.join(", "), what, `${countText(one.connections)} of ${countText(one.limit)}`, rateText(rate)],
      mark: one.connections >= one.limit ? "bad" : "",
    };
  });
  fillTable($("listeners"), "Listeners", ["Name", "Bind", "Protocol", "Connections", "New/s"], rows);
}

function classesOf(reading) {
  const found = Object.fromEntries(CLASSES.map(name => [name, 0]));
  for (const [code, count] of Object.entries(reading.traffic.codes)) {
    const name = code === "other" ? code : `${code[0]}xx`;
    found[name] = (found[name] || 0) + count;
  }
  return found;
}

function reasonsOf(reading) {
  const found = {};
  for (const listener of reading.listeners) {
    for (const [reason, count] of Object.entries(listener.errors)) found[reason] = (found[reason] || 0) + count;
  }
  return found;
}

// By class of status, then what lbd ended by itself, by reason: a second, and since the start.
function showAnswers(history) {
  const {now, base, seconds, knows} = history;
  const rows = [];
  for (const isReason of [false, true]) {
    const countsOf = isReason ? reasonsOf : classesOf;
    const before = countsOf(base);
    for (const [name, count] of Object.entries(countsOf(now))) {
      if (name === "1xx" && !count) continue;
      const rate = knows ? increase(count, before[name] || 0) / seconds : null;
      const isWrong = (isReason || name === "5xx") && rate > 0;
      rows.push({cells: [name, rateText(rate), countText(count)], mark: isWrong ? "bad" : isReason ? "reason" : ""});
    }
  }
  fillTable($("answers"), "Responses by class of status, and errors by reason", ["Class, reason", "a second", "since start"], rows);
}

function showProcesses(history) {
  const {now, base, seconds, knows} = history;
  const before = new Map(base.processes.map(one => [`${one.name} ${one.pid}`, one]));
  const rows = now.processes.map(one => {
    const old = before.get(`${one.name} ${one.pid}`);
    const cpu = knows && old ? `${Math.round((100 * (one.cpu - old.cpu)) / seconds)}%` : "–";
    const silent = one.silent > 5 ? ` silent for ${durationText(one.silent)}` : "";
    return {cells: [one.name + silent, String(one.pid), cpu, timeText(one.lag), bytesText(one.memory)], mark: silent ? "bad" : ""};
  });
  if (now.internal_errors) rows.push({cells: ["internal errors", countText(now.internal_errors), "", "", ""], mark: "bad"});
  if (now.lines_lost) rows.push({cells: ["log lines lost", countText(now.lines_lost), "", "", ""], mark: "bad"});
  fillTable($("processes"), "Processes", ["Process", "pid", "CPU", "Loop lag", "Memory"], rows);
}

// The newest first.
class EventList {
  constructor() {
    this.list = $("events");
    this.last = 0;
    this.pid = 0;
    $("level").addEventListener("change", () => this.list.setAttribute("data-least", $("level").value));
  }

  take({pid, events}) {
    if (pid !== this.pid) this.begin(pid);
    for (const event of events) {
      if (event.number <= this.last) continue;
      this.last = event.number;
      this.list.prepend(make("li", {"data-level": event.level},
        make("time", {datetime: new Date(1000 * event.time).toISOString(), text: clockText(event.time)}),
        make("span", {class: "level", text: event.level}), make("bdi", {text: event.text})));
    }
    while (this.list.children.length > MOST_EVENTS) this.list.lastElementChild.remove();
  }

  // Another process counts from 1; what the former one has said stays below.
  begin(pid) {
    if (this.pid) this.list.prepend(make("li", {class: "break", text: `lbd has been restarted: pid ${this.pid}, now ${pid}`}));
    this.pid = pid;
    this.last = 0;
  }
}
