// The dashboard: asks once a second, shows what has come, and says so when nothing comes.

const LATE_SECONDS = 2.5;      // after an answer was due, the data is called stale
const TIMEOUT_MS = 10000;
const RETRY_MS = 2000;

class Dashboard {
  constructor() {
    this.history = new History();
    this.asking = new Asking();
    this.table = new ClusterTable(this.history);
    this.actions = new Actions(this.history, this.asking);
    this.tiles = new Tiles();
    this.problems = new Problems();
    this.events = new EventList();
    this.tag = "";
    this.answered = 0;         // when lbd last did
    this.trouble = "";         // why it did not
    this.paused = false;
    this.timer = 0;
    this.isAsking = false;
    this.table.onAction = (action, row) => this.actions.begin(action, row);
    this.actions.onChanged = said => this.onChanged(said);
  }

  start() {
    $("pause").addEventListener("click", () => this.togglePause());
    $("theme").addEventListener("click", nextTheme);
    $("help").addEventListener("click", () => showHelp(this.asking));
    $("filter").addEventListener("input", event => this.setFilter(event.target.value));
    $("sort").addEventListener("change", event => this.setSort(event.target.value));
    $("troubled").addEventListener("change", event => {
      this.table.troubled = event.target.checked;
      this.table.show(true);
    });
    document.addEventListener("visibilitychange", () => this.poll());
    handleKeys(this);
    setTheme(THEMES.includes(localStorage.getItem(THEME)) ? localStorage.getItem(THEME) : "auto");
    setInterval(() => this.showAge(), 500);
    this.poll();
  }

  // Now, and again and again; not while nobody looks.
  async poll() {
    clearTimeout(this.timer);
    if (this.paused || document.hidden || this.isAsking) return;
    this.isAsking = true;
    const began = performance.now();
    let pause = RETRY_MS;
    try {
      const answer = await ask(`api/overview?after=${encodeURIComponent(this.tag)}`, {timeout: TIMEOUT_MS});
      this.take(answer);
      pause = 1000 * answer.pause;
      if (answer.last_event !== this.events.last || answer.info.pid !== this.events.pid) {
        const known = answer.info.pid === this.events.pid ? this.events.last : 0;
        this.events.take(await ask(`api/events?after=${known}`, {timeout: TIMEOUT_MS}));
      }
      this.trouble = "";
    } catch (error) {
      pause = await this.onFailed(error);
    }
    this.isAsking = false;
    this.showAge();
    this.timer = setTimeout(() => this.poll(), Math.max(100, pause - (performance.now() - began)));
  }

  // The milliseconds until it is tried again.
  async onFailed(error) {
    if (error instanceof Refused && error.status === 401) {
      await askToken(this.asking, sessionStorage.getItem(TOKEN) !== null);
      return 0;
    }
    const isRefusal = error instanceof Refused && error.status < 500;
    this.trouble = isRefusal ? `lbd refuses: ${error.message}` : "lbd does not answer";
    if (!(error instanceof Refused || error instanceof TypeError || error instanceof DOMException)) {
      console.error(error);
      this.trouble = `this page has a defect: ${error.message}`;
    }
    this.tag = "";             // whoever answers next begins from the start
    return RETRY_MS;
  }

  take(answer) {
    const now = performance.now();
    this.answered = now;
    this.tag = answer.tag;
    if (!this.history.take(answer, now)) return;
    if (this.history.restarted) this.actions.refusal = "";
    this.draw();
  }

  draw() {
    const {history} = this;
    const {now} = history;
    showHead(now, Date.now() / 1000);
    this.tiles.show(history);
    for (const cluster of now.clusters.values()) history.put(`cluster ${cluster.name}`, history.clusterFlow(cluster).rate);
    history.forget(now.clusters);
    this.problems.show(problemsOf(now));
    this.table.show();
    this.table.allow(this.actions.refusal);
    showListeners(history);
    showAnswers(history);
    showProcesses(history);
    this.asking.refresh();
    document.title = `lbd ${now.health.status}, ${rateText(history.flow().rate)} req/s`;
  }

  showAge() {
    const age = (performance.now() - this.answered) / 1000;
    const due = this.history.now ? this.history.now.pause : 0;
    const isLate = this.answered === 0 ? Boolean(this.trouble) : age > due + LATE_SECONDS && !this.paused;
    document.body.classList.toggle("stale", isLate);
    const data = this.answered ? `data is ${durationText(age)} old` : "";
    setText($("age"), this.paused ? `paused, ${data}` : isLate ? data : this.answered ? "live" : "");
    const why = this.trouble || "lbd does not answer";
    const since = this.answered ? ` since ${clockText((Date.now() - 1000 * age) / 1000)}` : "";
    setText($("stale"), isLate ? `▲ ${why}${since}. What stands here is old; it is tried again and again.` : "");
    setHidden($("stale"), !isLate);
    if (isLate) {
      setText($("health"), "no answer");
      setAttribute($("health"), "data-status", "failed");
      document.title = "lbd: no answer";
    } else if (this.history.now) showHead(this.history.now, Date.now() / 1000);
    this.table.allow(isLate ? why : this.actions.refusal);
  }

  onChanged(said) {
    setText($("said"), said);
    clearTimeout(this.forgetting);
    this.forgetting = setTimeout(() => setText($("said"), ""), 8000);
    this.poll();
  }

  setFilter(text) {
    this.table.text = text.toLowerCase();
    this.table.show(true);
  }

  setSort(name) {
    $("sort").value = name;
    this.table.sort = name;
    this.table.show(true);
  }

  nextSort() {
    const names = Object.keys(SORTS);
    this.setSort(names[(names.indexOf(this.table.sort) + 1) % names.length]);
  }

  togglePause() {
    this.paused = !this.paused;
    $("pause").setAttribute("aria-pressed", String(this.paused));
    setText($("pause"), this.paused ? "Go on" : "Pause");
    this.showAge();
    this.poll();
  }
}

new Dashboard().start();
