-- Prints the figures of a wrk run as one line of JSON, which is easier to trust than its prose.
done = function(summary, latency, requests)
  io.write(string.format(
    '\nFIGURES {"requests":%d,"duration_us":%d,"bytes":%d,"errors":%d,"p50_us":%d,"p99_us":%d,"max_us":%d}\n',
    summary.requests, summary.duration, summary.bytes,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status + summary.errors.timeout,
    latency:percentile(50), latency:percentile(99), latency.max))
end
