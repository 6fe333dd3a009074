// Figures: counters of two readings -> rates, shares and quantiles, as `lbd top` computes them; and as text.

function rateText(rate) {
  if (rate === null) return "–";
  return rate === 0 || rate >= 100 ? Math.round(rate).toLocaleString("en") : rate.toFixed(1);
}

function shareText(share) {
  return share === null ? "–" : `${(100 * share).toFixed(1)}%`;
}

function timeText(seconds) {
  if (seconds === null) return "–";
  if (seconds >= 0.000001 && seconds < 0.0001) return `${Math.round(1e6 * seconds)} µs`;
  return seconds >= 1 ? `${seconds.toFixed(2)} s` : `${(1000 * seconds).toFixed(1)} ms`;
}

function countText(count) {
  return count.toLocaleString("en");
}

function bytesText(bytes) {
  if (bytes === null) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let power = 0;
  while (bytes >= 1024 && power < units.length - 1) {
    bytes /= 1024;
    power += 1;
  }
  return `${power && bytes < 100 ? bytes.toFixed(1) : Math.round(bytes)} ${units[power]}`;
}

function durationText(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [days, hours, minutes] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}

function clockText(unix) {
  const when = new Date(1000 * unix);
  const two = number => String(number).padStart(2, "0");
  const time = [when.getHours(), when.getMinutes(), when.getSeconds()].map(two).join(":");
  if (when.toDateString() === new Date().toDateString()) return time;
  return `${when.getFullYear()}-${two(when.getMonth() + 1)}-${two(when.getDate())} ${time}`;
}

// A counter that is lower than before has begun anew.
function increase(now, before) {
  return now >= before ? now - before : now;
}

function sum(numbers) {
  let total = 0;
  for (const number of numbers) total += number;
  return total;
}

function increasesOf(now, before) {
  const found = {};
  for (const [name, count] of Object.entries(now)) found[name] = increase(count, before[name] || 0);
  return found;
}

// Of a histogram, as [[index, count]].
function newParts(now, before) {
  const old = new Map(before);
  const found = [];
  for (const [index, count] of now) {
    const more = increase(count, old.get(index) || 0);
    if (more) found.push([index, more]);
  }
  return found;
}

// Observations are taken to be spread evenly in their bucket, as Prometheus does.
function quantile(q, parts, bounds) {
  const total = sum(parts.map(part => part[1]));
  if (!total) return null;
  const rank = q * total;
  let below = 0;
  for (const [index, count] of parts) {
    if (below + count >= rank) {
      const low = index ? bounds[index - 1] : 0;
      return index < bounds.length ? low + (bounds[index] - low) * ((rank - below) / count) : low;
    }
    below += count;
  }
  return bounds[bounds.length - 1];
}

const NOTHING = Object.freeze({rate: 0, errors: null, p50: null, p99: null, requests: 0, failed: 0});
const UNKNOWN = Object.freeze({...NOTHING, rate: null});

function flowOf(requests, failed, parts, bounds, seconds) {
  if (!requests && !parts.length) return NOTHING;
  return {
    rate: requests / seconds,
    errors: requests ? failed / requests : null,
    p50: quantile(0.5, parts, bounds),
    p99: quantile(0.99, parts, bounds),
    requests, failed,
  };
}

const NO_TRAFFIC = {codes: {}, duration: [], received: 0, sent: 0};

// Of exchanges: those that ended with 5xx have failed.
function trafficFlow(now, before, bounds, seconds) {
  const codes = increasesOf(now.codes, before.codes);
  const failed = sum(Object.keys(codes).filter(code => code.startsWith("5")).map(code => codes[code]));
  return flowOf(sum(Object.values(codes)), failed, newParts(now.duration, before.duration), bounds, seconds);
}

// Of attempts with an endpoint: those that failed for its fault.
function endpointFlow(now, before, bounds, seconds) {
  const requests = sum(now.codes.map((count, index) => increase(count, before ? before.codes[index] : 0)));
  const failed = increase(now.failures, before ? before.failures : 0);
  return flowOf(requests, failed, newParts(now.first_byte, before ? before.first_byte : []), bounds, seconds);
}
