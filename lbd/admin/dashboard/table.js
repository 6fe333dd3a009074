// The table of clusters and their endpoints: which rows there are, in which order, and what stands in them.

const COLUMNS = [
  ["name", "Name"], ["state", "State"], ["weight", "Weight"], ["rate", "Req/s"], ["trend", "2 min"], ["errors", "Errors"],
  ["p50", "p50"], ["p99", "p99"], ["active", "Active"], ["queued", "Queued"], ["conns", "Conns"], ["notes", "Notes"],
];
const NUMBERS = new Set(["weight", "rate", "errors", "p50", "p99", "active", "queued", "conns"]);
const SIGNS = {good: "●", held: "◐", off: "○", warning: "▲", bad: "✕"};
const MOST_ROWS = 2000;        // the filter finds the others
const MOST_ENDPOINTS = 500;    // of one cluster
const RESORT_MS = 3000;        // rows that jump cannot be read
const TREND_POINTS = 120;
const NAMES = new Intl.Collator("en", {numeric: true});

const SORTS = {
  name: null,
  requests: flow => flow.rate || 0,
  errors: flow => (flow.errors || 0) * (flow.rate || 0),
  latency: flow => flow.p99 || 0,
  active: (flow, one) => one.active,
};

// As `lbd top` has it: what operators want, else what keeps it from being picked.
function stateOf(endpoint) {
  if (endpoint.state !== "ready") return endpoint.state;
  if (endpoint.health === "down") return "down";
  if (endpoint.ejected) return "ejected";
  return endpoint.usable ? "ready" : "not usable";
}

function markOf(endpoint) {
  const state = stateOf(endpoint);
  if (state === "draining") return "held";
  if (state === "disabled") return "off";
  if (state === "down") return "bad";
  if (state !== "ready" || (endpoint.breaker && endpoint.breaker !== "closed")) return "warning";
  return endpoint.weight.wanted === 0 ? "off" : "good";
}

function isWanted(endpoint) { return endpoint.state === "ready"; }

function clusterMark(cluster) {
  const counts = cluster.counts;
  if (counts.usable === 0) return counts.endpoints && !cluster.endpoints.some(isWanted) ? "off" : "bad";
  if (cluster.panic || cluster.breaker === "open") return "bad";
  const marks = cluster.endpoints.map(markOf);
  if (cluster.breaker === "half-open" || marks.includes("bad") || marks.includes("warning")) return "warning";
  const isTaken = one => one.state !== "ready" || (one.weight.wanted === 0 && one.weight.configured > 0);
  return cluster.endpoints.some(isTaken) ? "held" : "good";
}

function clusterNotes(cluster) {
  const notes = [];
  if (cluster.panic) notes.push("panic");
  if (cluster.breaker && cluster.breaker !== "closed") notes.push(`breaker ${cluster.breaker}`);
  const tripped = cluster.endpoints.filter(one => one.breaker && one.breaker !== "closed").length;
  if (tripped) notes.push(`${tripped} ${tripped === 1 ? "breaker" : "breakers"} not closed`);
  if (cluster.region) notes.push(`region ${cluster.region}`);
  return [...notes, cluster.balancer].join(", ");
}

function endpointNotes(endpoint) {
  const state = endpoint.state;
  // what the state says already is not said again
  const notes = endpoint.obstacles.filter(text => text !== state && !(state === "draining" && text.startsWith("draining")))
    .map(text => (state === "ready" ? text.replace(/^down by active checks(: )?/, "") : text)).filter(Boolean);
  if (endpoint.breaker === "half-open") notes.push("breaker half-open");
  if (endpoint.breaker === "open" && !notes.some(text => text.includes("breaker"))) notes.push("breaker open");
  if (endpoint.weight.wanted !== endpoint.weight.configured) notes.push(`weight ${endpoint.weight.configured} configured`);
  return notes.join("; ");
}

class Row {
  constructor(key, kind, table) {
    this.key = key;
    this.kind = kind;
    this.cells = {};
    this.node = make("tr", {role: "row", tabindex: "-1", class: kind});
    this.node.row = this;
    for (const [column, head] of COLUMNS) {
      const isName = column === "name";
      const cell = make(isName ? "th" : "td", {
        role: isName ? "rowheader" : "cell", scope: isName ? "row" : null, "data-label": head,
        class: `c-${column}${NUMBERS.has(column) ? " number" : ""}`,
      });
      this.node.append(cell);
      this.cells[column] = cell;
    }
    this.sign = make("span", {class: "sign", "aria-hidden": "true"});
    this.name = make("bdi", {class: "name"});
    this.arrow = make("span", {class: "arrow", "aria-hidden": "true"});
    this.cells.name.append(this.arrow, this.sign, this.name);
    this.notes = make("bdi", {});
    this.tail = make("div", {class: "tail"}, this.notes);
    this.cells.notes.append(this.tail);
    if (kind === "cluster") {
      this.spark = sparkline(60, 16);
      this.cells.trend.append(this.spark.svg);
    } else this.addButtons(table);
  }

  addButtons(table) {
    this.buttons = {};
    const group = make("span", {class: "actions"});
    for (const action of ["drain", "disable", "weight"]) {
      const button = make("button", {type: "button", tabindex: "-1", onclick: event => {
        event.stopPropagation();
        table.onAction(action, this);
      }});
      this.buttons[action] = button;
      group.append(button);
    }
    this.tail.append(group);
  }

  show(model, history) {
    const {cluster, endpoint, open} = model;
    this.model = model;
    if (this.kind === "cluster") this.showCluster(cluster, open, history);
    else this.showEndpoint(cluster, endpoint, history);
  }

  showFlow(flow) {
    setText(this.cells.rate, rateText(flow.rate));
    setText(this.cells.errors, shareText(flow.errors));
    setClass(this.cells.errors, `c-errors number${flow.errors ? " wrong" : ""}`);
    setText(this.cells.p50, timeText(flow.p50));
    setText(this.cells.p99, timeText(flow.p99));
  }

  showCluster(cluster, open, history) {
    const mark = clusterMark(cluster);
    setAttribute(this.node, "data-mark", mark);
    setAttribute(this.node, "aria-expanded", String(open));
    setText(this.arrow, open ? "▾" : "▸");
    setText(this.sign, SIGNS[mark]);
    setText(this.name, cluster.name);
    setText(this.cells.state, `${cluster.counts.usable}/${cluster.counts.endpoints} usable`);
    this.showFlow(history.clusterFlow(cluster));
    setText(this.cells.active, countText(cluster.active));
    setText(this.cells.queued, countText(sum(cluster.endpoints.map(one => one.connections.queued))));
    setText(this.cells.conns, countText(sum(cluster.endpoints.map(one => one.connections.open))));
    setText(this.notes, clusterNotes(cluster));
    draw(this.spark, history.values(`cluster ${cluster.name}`, TREND_POINTS));
  }

  showEndpoint(cluster, endpoint, history) {
    const mark = markOf(endpoint);
    setAttribute(this.node, "data-mark", mark);
    setText(this.sign, SIGNS[mark]);
    setText(this.name, endpoint.name);
    setText(this.cells.state, stateOf(endpoint));
    setText(this.cells.weight, countText(endpoint.weight.wanted));
    this.showFlow(history.endpointFlow(cluster, endpoint));
    setText(this.cells.active, countText(endpoint.active));
    setText(this.cells.queued, countText(endpoint.connections.queued));
    setText(this.cells.conns, countText(endpoint.connections.open));
    setText(this.notes, endpointNotes(endpoint));
    const where = `${cluster.name}/${endpoint.name}`;
    this.label("drain", endpoint.state === "draining" ? "Undrain" : "Drain", where, endpoint.state === "disabled");
    this.label("disable", endpoint.state === "disabled" ? "Enable" : "Disable", where, false);
    this.label("weight", "Weight", where, false);
  }

  label(action, text, where, hidden) {
    const button = this.buttons[action];
    setText(button, text);
    setAttribute(button, "aria-label", `${text} ${where}`);
    setHidden(button, hidden);
  }
}

class ClusterTable {
  constructor(history) {
    this.history = history;
    this.body = $("rows");
    this.rows = new Map();
    this.models = [];
    this.open = new Set();
    this.text = "";
    this.sort = "name";
    this.troubled = false;
    this.selected = null;
    this.sorted = 0;
    this.refusal = "";       // why nothing can be changed now
    this.onAction = () => {};
    this.seen = new Set();
    this.watch = new IntersectionObserver(entries => this.onSeen(entries), {rootMargin: "200px"});
    for (const [column, head] of COLUMNS) {
      $("heads").append(make("th", {
        role: "columnheader", scope: "col", class: `c-${column}${NUMBERS.has(column) ? " number" : ""}`, text: head,
      }));
    }
    this.body.addEventListener("click", event => this.onClick(event));
  }

  // Rows out of sight keep what they show until they are seen.
  onSeen(entries) {
    for (const {target, isIntersecting} of entries) {
      if (isIntersecting && target.isConnected) {
        this.seen.add(target.row);
        if (target.row.next) target.row.show(target.row.next, this.history);
      } else this.seen.delete(target.row);
    }
  }

  onClick(event) {
    const node = event.target.closest("tr");
    if (!node || !node.row || getSelection().toString()) return;
    this.select(node.row.key);
    this.enter();
  }

  fits(...names) {
    return names.some(name => name.toLowerCase().includes(this.text));
  }

  // The models of rows that are wanted now, in order.
  wanted() {
    const now = this.history.now;
    this.leftOut = 0;
    if (!now) return [];
    let clusters = [...now.clusters.values()];
    if (this.troubled) clusters = clusters.filter(one => ["bad", "warning"].includes(clusterMark(one)));
    const found = [];
    for (const cluster of this.inOrder(clusters, one => this.history.clusterFlow(one))) {
      const isNamed = this.fits(cluster.name);
      const fitting = isNamed ? cluster.endpoints : cluster.endpoints.filter(one => this.fits(one.name, stateOf(one)));
      if (!isNamed && !fitting.length) continue;
      const open = this.open.has(cluster.name) || !isNamed;
      found.push({key: `c ${cluster.name}`, kind: "cluster", cluster, open});
      if (!open) continue;
      const endpoints = this.inOrder(fitting, one => this.history.endpointFlow(cluster, one));
      this.leftOut += Math.max(0, endpoints.length - MOST_ENDPOINTS);
      for (const endpoint of endpoints.slice(0, MOST_ENDPOINTS)) {
        found.push({key: `e ${cluster.name}\n${endpoint.name}`, kind: "endpoint", cluster, endpoint});
      }
    }
    return found;
  }

  inOrder(things, flowOf) {
    const value = SORTS[this.sort];
    const byName = (a, b) => NAMES.compare(a.name, b.name);
    if (!value) return [...things].sort(byName);
    const pairs = things.map(one => [value(flowOf(one), one), one]);
    return pairs.sort((a, b) => b[0] - a[0] || byName(a[1], b[1])).map(pair => pair[1]);
  }

  // at once: rows have been opened, sorted or filtered by somebody who waits for it.
  show(atOnce = false) {
    const now = performance.now();
    const models = this.wanted();
    const shown = models.slice(0, MOST_ROWS);
    const keys = new Set(shown.map(model => model.key));
    const isSame = keys.size === this.models.length && this.models.every(model => keys.has(model.key));
    let ordered = shown;
    if (isSame && !atOnce && now - this.sorted < RESORT_MS) {
      const byKey = new Map(shown.map(model => [model.key, model]));
      ordered = this.models.map(model => byKey.get(model.key));
    } else this.sorted = now;
    this.models = ordered;
    this.place(ordered);
    this.say(models.length);
  }

  place(models) {
    const focused = this.body.contains(document.activeElement) ? document.activeElement : null;
    const wanted = models.map(model => {
      let row = this.rows.get(model.key);
      if (!row) {
        row = new Row(model.key, model.kind, this);
        this.rows.set(model.key, row);
        row.show(model, this.history);
        this.watch.observe(row.node);
      }
      row.next = model;
      if (this.seen.has(row)) row.show(model, this.history);
      return row.node;
    });
    setChildren(this.body, wanted);
    const keys = new Set(models.map(model => model.key));
    for (const [key, row] of this.rows) {
      if (keys.has(key)) continue;
      this.watch.unobserve(row.node);
      this.seen.delete(row);
      this.rows.delete(key);
    }
    if (!this.rows.has(this.selected)) this.selected = models.length ? models[0].key : null;
    this.mark();
    this.allow(this.refusal);
    if (focused && focused.isConnected && focused !== document.activeElement) focused.focus({preventScroll: true});
  }

  say(count) {
    const now = this.history.now;
    const total = now ? now.clusters.size : 0;
    const endpoints = now ? now.info.counts.endpoints : 0;
    setText($("count"), `${countText(total)} with ${countText(endpoints)} ${endpoints === 1 ? "endpoint" : "endpoints"}`);
    const left = count - this.models.length + this.leftOut;
    const why = this.text || this.troubled ? "No cluster and no endpoint is like that." : "There are no clusters.";
    setText($("nothing"), left > 0 ? `And ${countText(left)} rows more: use the filter.` : count ? "" : why);
    setHidden($("nothing"), left <= 0 && count > 0);
  }

  mark() {
    for (const row of this.rows.values()) {
      const isSelected = row.key === this.selected;
      setAttribute(row.node, "tabindex", isSelected ? "0" : "-1");
      row.node.classList.toggle("selected", isSelected);
    }
  }

  select(key, focus = false) {
    this.selected = key;
    this.mark();
    const row = this.rows.get(key);
    if (row && focus) {
      row.node.focus({preventScroll: true});
      row.node.scrollIntoView({block: "nearest"});
    }
  }

  move(step) {
    if (!this.models.length) return;
    const at = this.models.findIndex(model => model.key === this.selected);
    const isThere = this.body.contains(document.activeElement);
    const to = isThere ? Math.min(Math.max(at + step, 0), this.models.length - 1) : Math.max(at, 0);
    this.select(this.models[to].key, true);
  }

  // Enter or a click: a cluster opens or closes, an endpoint tells everything of itself.
  enter() {
    const row = this.rows.get(this.selected);
    if (!row) return;
    const name = row.next.cluster.name;
    if (row.kind === "endpoint") this.onAction("look", row);
    else {
      if (this.open.has(name)) this.open.delete(name);
      else this.open.add(name);
      this.show(true);
    }
  }

  // Left and right, as in a tree.
  fold(open) {
    const row = this.rows.get(this.selected);
    if (!row) return;
    const name = row.next.cluster.name;
    if (open === this.open.has(name)) return;
    if (open) this.open.add(name);
    else this.open.delete(name);
    this.select(`c ${name}`, true);
    this.show(true);
  }

  act(action) {
    const row = this.rows.get(this.selected);
    const button = row && row.kind === "endpoint" ? row.buttons[action] : null;
    if (button && !button.disabled && !button.hidden) this.onAction(action, row);
  }

  // why: nothing can be changed now.
  allow(why) {
    this.refusal = why;
    for (const row of this.rows.values()) {
      for (const button of Object.values(row.buttons || {})) {
        if (button.disabled !== Boolean(why)) button.disabled = Boolean(why);
        setAttribute(button, "title", why || null);
      }
    }
  }
}
