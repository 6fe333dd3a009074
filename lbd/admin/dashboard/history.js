// History: the readings of the last seconds, which figures are computed from, and series of the last ten minutes.

const WINDOW = 5;         // seconds that figures are about
const LONGEST_GAP = 15;   // seconds without a reading after which the former ones say nothing about now
const POINTS = 600;       // of a series, one for each reading
const FEWEST = 60;        // that a line is drawn for

class History {
  constructor() {
    this.readings = [];
    this.slot = -1;
    this.made = 0;        // points so far
    this.last = 0;        // when the last point was made, by the browser's clock
    this.series = new Map();
    this.flows = new WeakMap();
  }

  // Takes an answer of /api/overview; false when it holds nothing new.
  take(answer, now) {
    const before = this.now;
    if (before && before.info.pid === answer.info.pid && before.at === answer.at) return false;
    const whole = answer.whole || !before;
    const clusters = whole ? new Map() : new Map(before.clusters);
    for (const cluster of answer.clusters) {
      cluster.byName = new Map(cluster.endpoints.map(endpoint => [endpoint.name, endpoint]));
      clusters.set(cluster.name, cluster);
    }
    this.restarted = Boolean(before) && (before.info.pid !== answer.info.pid || before.info.started !== answer.info.started);
    const longest = Math.max(LONGEST_GAP, 3 * answer.pause);
    const gap = before && answer.at - before.at > longest;
    if (this.restarted || gap) this.readings = [];
    this.readings.push({...answer, clusters});
    while (this.readings.length > 2 && answer.at - this.readings[1].at >= WINDOW) this.readings.shift();
    this.flows = new WeakMap();
    if (this.made && (now - this.last > 1000 * longest || this.restarted)) this.point(now);
    this.point(now);
    return true;
  }

  get now() { return this.readings[this.readings.length - 1]; }
  get base() { return this.readings[0]; }
  get seconds() { return this.now.at - this.base.at; }
  get knows() { return this.readings.length > 1; }

  // Opens a new point in all series; what is not put there is a gap.
  point(now) {
    this.last = now;
    this.made = Math.min(this.made + 1, POINTS);
    this.slot = (this.slot + 1) % POINTS;
    for (const values of this.series.values()) values[this.slot] = NaN;
  }

  put(name, value) {
    let values = this.series.get(name);
    if (!values) {
      if (!value) return;      // a cluster that never had a request costs nothing
      values = new Float32Array(POINTS).fill(NaN);
      this.series.set(name, values);
    }
    values[this.slot] = value === null ? NaN : value;
  }

  // The last values of a series, the oldest first: as far as there are some, but so many that a line is one.
  values(name, count = POINTS) {
    const values = this.series.get(name);
    if (!values) return [];
    const found = [];
    for (let i = Math.min(count, Math.max(this.made, FEWEST)) - 1; i >= 0; i -= 1) found.push(values[(this.slot - i + POINTS) % POINTS]);
    return found;
  }

  forget(names) {
    for (const name of this.series.keys()) if (name.startsWith("cluster ") && !names.has(name.slice(8))) this.series.delete(name);
  }

  // What went through lbd, a cluster, an endpoint, in the last seconds.
  flow() {
    if (!this.knows) return UNKNOWN;
    return trafficFlow(this.now.traffic, this.base.traffic, this.now.bounds, this.seconds);
  }

  clusterFlow(cluster) {
    if (!this.knows) return UNKNOWN;
    const before = this.base.clusters.get(cluster.name);
    if (before === cluster) return NOTHING;
    return this.kept(cluster, () =>
      trafficFlow(cluster.traffic, before ? before.traffic : NO_TRAFFIC, this.now.bounds, this.seconds));
  }

  endpointFlow(cluster, endpoint) {
    if (!this.knows) return UNKNOWN;
    const before = this.base.clusters.get(cluster.name);
    if (before === cluster) return NOTHING;
    return this.kept(endpoint, () =>
      endpointFlow(endpoint, before && before.byName.get(endpoint.name), this.now.bounds, this.seconds));
  }

  kept(key, compute) {
    let flow = this.flows.get(key);
    if (!flow) {
      flow = compute();
      this.flows.set(key, flow);
    }
    return flow;
  }

  // Of a number of two readings: how much more a second.
  rate(pick) {
    return this.knows ? increase(pick(this.now), pick(this.base)) / this.seconds : null;
  }
}
