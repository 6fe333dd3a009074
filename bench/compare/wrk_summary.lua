-- What: prints wrk's totals as one JSON line, so that nothing is parsed out of text meant for people.
-- Invariant: only `done` is defined. A `request` or `response` function would run Lua for every request and
-- slow the generator, which may share its core with the origin.
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\nwrk_summary {"requests": %d, "duration_us": %d, "bytes": %d, "connect": %d, "read": %d, "write": %d, '
      .. '"status": %d, "timeout": %d, "p50_us": %d, "p99_us": %d}\n',
    summary.requests, summary.duration, summary.bytes, e.connect, e.read, e.write,
    e.status, e.timeout, latency:percentile(50), latency:percentile(99)))
end
