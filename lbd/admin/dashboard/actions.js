// Actions: what changes an endpoint, each after a confirmation that says what will happen; and the admin token.

const TOKEN = "lbd-token";
const HIGHEST_WEIGHT = 65535;

class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function ask(path, {method = "GET", body, timeout = 10000} = {}) {
  const headers = {};
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.authorization = `Bearer ${token}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  const answer = await fetch(path, {
    method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store",
    credentials: "omit", redirect: "error", signal: AbortSignal.timeout(timeout),
  });
  const text = await answer.text();
  let said = null;
  try {
    said = JSON.parse(text);
  } catch {
    throw new Refused(answer.status, `status ${answer.status}, without a word of lbd`);   // of what stands before it
  }
  if (!answer.ok) throw new Refused(answer.status, (said && said.error) || `status ${answer.status}`);
  return said;
}

// What is asked stands in the page's one dialog. Whoever is asked later replaces it.
class Asking {
  constructor() {
    this.dialog = $("dialog");
    this.dialog.addEventListener("click", event => {
      if (event.target === this.dialog && !this.keeps) this.dialog.close();
    });
    this.dialog.addEventListener("cancel", event => {
      if (this.keeps) event.preventDefault();
    });
    this.refresh = () => {};
  }

  get isOpen() { return this.dialog.open; }

  open(title, content, buttons, {keeps = false} = {}) {
    this.keeps = keeps;
    this.refresh = () => {};
    this.error = make("p", {class: "error", role: "alert", hidden: true});
    const form = make("form", {},
      make("h2", {id: "dialog-title"}, make("bdi", {text: title})), ...content, this.error, make("div", {class: "buttons"}, ...buttons));
    this.dialog.replaceChildren(form);
    if (!this.dialog.open) this.dialog.showModal();
    else form.querySelector("[autofocus]").focus();
    return form;
  }

  close() { this.dialog.close(); }

  fail(text) {
    setText(this.error, text);
    setHidden(this.error, false);
  }
}

class Actions {
  constructor(history, asking) {
    this.history = history;
    this.asking = asking;
    this.refusal = "";       // why the API takes no changes from here
    this.onChanged = () => {};
  }

  // As it is now; null when it has gone.
  find(row) {
    const {cluster, endpoint} = row.next;
    const now = this.history.now.clusters.get(cluster.name);
    const found = now && now.byName.get(endpoint.name);
    return found ? {cluster: now, endpoint: found} : null;
  }

  begin(action, row) {
    const found = this.find(row);
    if (!found) return;
    if (action === "look") this.look(row, found);
    else if (action === "weight") this.askWeight(found);
    else if (action === "drain") this.askState(found, found.endpoint.state === "draining" ? "undrain" : "drain");
    else this.askState(found, found.endpoint.state === "disabled" ? "enable" : "disable");
  }

  look(row, {cluster, endpoint}) {
    const list = make("dl", {class: "facts"});
    const shown = new Map();
    const button = (text, action) => make("button", {
      type: "button", text, disabled: Boolean(this.refusal), title: this.refusal || null, onclick: () => this.begin(action, row),
    });
    const buttons = [make("button", {type: "button", text: "Close", onclick: () => this.asking.close(), autofocus: true})];
    if (endpoint.state !== "disabled") buttons.push(button(endpoint.state === "draining" ? "Undrain" : "Drain", "drain"));
    buttons.push(button(endpoint.state === "disabled" ? "Enable" : "Disable", "disable"), button("Weight", "weight"));
    this.asking.open(`${cluster.name}/${endpoint.name}`, [list], buttons);
    this.asking.refresh = () => {
      const found = this.find(row);
      for (const [name, text] of found ? factsOf(found, this.history) : [["State", "it is not there any more"]]) {
        if (!shown.has(name)) {
          shown.set(name, make("dd", {}));
          list.append(make("dt", {text: name}), shown.get(name));
        }
        setText(shown.get(name), text);
      }
    };
    this.asking.refresh();
  }

  askState({cluster, endpoint}, verb) {
    const state = {drain: "draining", disable: "disabled", undrain: "ready", enable: "ready"}[verb];
    const lines = consequences(cluster, endpoint, verb);
    const label = verb[0].toUpperCase() + verb.slice(1);
    this.confirm(`${label} ${cluster.name}/${endpoint.name}?`, lines, label, () => this.change(cluster, endpoint, {state}));
  }

  askWeight({cluster, endpoint}) {
    const {configured, wanted} = endpoint.weight;
    const input = make("input", {
      id: "weight", type: "number", min: "0", max: String(HIGHEST_WEIGHT), step: "1", inputmode: "numeric", autofocus: true,
      placeholder: `${configured}, as configured`, value: String(wanted), "aria-describedby": "weight-effect",
    });
    const effect = make("p", {id: "weight-effect", class: "muted", role: "status"});
    const update = () => setText(effect, input.validity.valid ? weightEffect(cluster, endpoint, input.value) : `A whole number, 0 to ${HIGHEST_WEIGHT}.`);
    input.addEventListener("input", update);
    update();
    const field = make("p", {}, make("label", {for: "weight", text: "Weight, empty: as configured "}), input);
    this.confirm(`Weight of ${cluster.name}/${endpoint.name}`, [field, effect], "Set weight", () => {
      if (!input.validity.valid) throw new Refused(0, `The weight must be a whole number, 0 to ${HIGHEST_WEIGHT}.`);
      return this.change(cluster, endpoint, {weight: input.value === "" ? null : Number(input.value)});
    });
    input.select();
  }

  confirm(title, lines, label, act) {
    const content = lines.map(line => (typeof line === "string" ? make("p", {text: line}) : line));
    const go = make("button", {type: "submit", class: "primary", text: label, autofocus: !lines.some(line => typeof line !== "string" && line.querySelector("input"))});
    const cancel = make("button", {type: "button", text: "Cancel", onclick: () => this.asking.close()});
    const form = this.asking.open(title, content, [cancel, go]);
    form.addEventListener("submit", async event => {
      event.preventDefault();
      if (go.disabled) return;
      go.disabled = true;
      try {
        const said = await act();
        this.asking.close();
        this.onChanged(said);
      } catch (error) {
        if (!form.isConnected) return;
        if ([403, 405, 501].includes(error.status)) this.refusal = error.message;
        this.asking.fail(this.explain(error));
        go.disabled = Boolean(this.refusal);
      }
    });
  }

  explain(error) {
    if (error instanceof Refused) return error.message;
    return "lbd does not answer. Whether this has been done, it will show when it answers again.";
  }

  async change(cluster, endpoint, change) {
    const path = `api/clusters/${encodeURIComponent(cluster.name)}/endpoints/${encodeURIComponent(endpoint.name)}`;
    const {endpoint: now, saved} = await ask(path, {method: "PATCH", body: change});
    const what = "weight" in change ? `weight ${now.weight.wanted}` : now.state;
    return `${cluster.name}/${endpoint.name}: ${what}${saved ? "" : ". It is not kept over a restart of lbd."}`;
  }
}

function consequences(cluster, endpoint, verb) {
  const others = cluster.endpoints.filter(one => one !== endpoint && one.usable).length;
  const count = cluster.endpoints.length;
  const lines = [];
  if (verb === "drain" || verb === "disable") {
    lines.push(verb === "drain"
      ? "It gets no new requests but those of its sessions."
      : "It gets no new requests at all, and its unused connections are closed.");
    lines.push(endpoint.active ? `What is under way finishes: ${countText(endpoint.active)} now.` : "Nothing is under way with it now.");
    if (others) lines.push(`${others} of ${count} endpoints of ${cluster.name} remain usable.`);
    else lines.push(make("p", {class: "warning", text: `▲ Nothing else in ${cluster.name} is usable: its requests will fail, unless it has a fallback.`}));
  } else {
    lines.push(endpoint.health === "down"
      ? "It is down by active checks: it gets requests again when they find it up."
      : "It gets new requests again, by its weight.");
  }
  return lines;
}

// How its share changes, where weights alone decide.
function weightEffect(cluster, endpoint, text) {
  const wanted = text === "" ? endpoint.weight.configured : Number(text);
  const others = sum(cluster.endpoints.filter(one => one !== endpoint && one.usable).map(one => one.weight.wanted));
  const share = weight => (weight + others ? `${((100 * weight) / (weight + others)).toFixed(1)}%` : "0%");
  if (!endpoint.usable) return "It is not usable now; this counts when it is.";
  const zero = wanted === 0 ? " 0: no new requests." : "";
  return `By weight it gets ${share(wanted)} of the requests; now ${share(endpoint.weight.wanted)}.${zero}`;
}

function* factsOf({cluster, endpoint}, history) {
  const flow = history.endpointFlow(cluster, endpoint);
  const codes = endpoint.codes.map((count, i) => [i ? `${i}xx` : "no response", count]).filter(([, count]) => count);
  yield ["State", [stateOf(endpoint), endpoint.trouble].filter(Boolean).join(": ")];
  yield ["Gets requests", endpoint.obstacles.length ? `no: ${endpoint.obstacles.join("; ")}` : "yes"];
  yield ["Address", endpoint.address];
  yield ["Weight", `${endpoint.weight.wanted} (configured ${endpoint.weight.configured}, in effect ${endpoint.weight.effective})`];
  yield ["Health checks", endpoint.health + (endpoint.rtt === null ? "" : `, connecting takes ${timeText(endpoint.rtt)}`)];
  if (endpoint.breaker) yield ["Breaker", `${endpoint.breaker}, opened ${countText(endpoint.breaker_opened)} times`];
  yield ["Ejected", `${endpoint.ejected ? "now, " : ""}${countText(endpoint.ejections)} times`];
  yield ["Now", `${rateText(flow.rate)} requests/s, ${shareText(flow.errors)} failed, p50 ${timeText(flow.p50)}, p99 ${timeText(flow.p99)}`];
  yield ["Under way", `${countText(endpoint.active)}${endpoint.empty ? ", empty" : ""}; ${countText(endpoint.connections.queued)} queued`];
  yield ["Connections", `${countText(endpoint.connections.open)} open, ${countText(endpoint.connections.idle)} of them idle`];
  yield ["Since start", `${countText(endpoint.requests)} attempts, ${countText(endpoint.failures)} failed; ${countText(endpoint.connects)} connections, ${countText(endpoint.connect_failures)} failed`];
  yield ["Responses", codes.map(([name, count]) => `${name} ${countText(count)}`).join(", ") || "none"];
  yield ["Priority", String(endpoint.priority)];
  const labels = Object.entries(endpoint.labels).map(([name, value]) => `${name}=${value}`);
  if (labels.length) yield ["Labels", labels.join(", ")];
}

// Resolves with nothing once there is a token to try.
function askToken(asking, wasRefused) {
  return new Promise(resolve => {
    const input = make("input", {
      id: "token", type: "password", autocomplete: "off", required: true, autofocus: true, "aria-describedby": "token-why",
    });
    const go = make("button", {type: "submit", class: "primary", text: "Use it"});
    const why = make("p", {id: "token-why", class: "muted", text: "admin.token of its configuration. It stays in this tab until the tab is closed."});
    const form = asking.open("lbd asks for its admin token", [why, make("p", {}, make("label", {for: "token", text: "Token "}), input)], [go], {keeps: true});
    if (wasRefused) asking.fail("That token was refused.");
    form.addEventListener("submit", event => {
      event.preventDefault();
      if (!/^[\x21-\x7e]+$/.test(input.value)) {
        asking.fail("A token has no spaces and no letters beyond ASCII.");
        return;
      }
      sessionStorage.setItem(TOKEN, input.value);
      asking.close();
      resolve();
    });
  });
}
