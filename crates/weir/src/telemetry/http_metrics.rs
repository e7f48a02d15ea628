//! The counters of the HTTP side, for `/metrics`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::LazyLock;

/// What is counted of requests.
#[derive(Debug)]
pub(crate) struct HttpMetrics {
    requests: Family<Labels, Counter>,
    duration: Histogram,
    bytes: Counter,
    /// Requests whose answer has not ended.
    pub(crate) in_flight: Gauge,
    /// Open connections.
    pub(crate) connections: Gauge,
    /// Idle connections that gave way to new ones.
    pub(crate) connections_closed_idle: Counter,
    /// Authentications that failed.
    pub(crate) failed_authentications: Counter,
    /// Handlers that panicked.
    pub(crate) panics: Counter,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    format: &'static str,
    status: &'static str,
}

/// Upper bounds in seconds.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0];

impl HttpMetrics {
    /// The counters of this process: there is one HTTP side.
    pub(crate) fn get() -> &'static Self {
        static METRICS: LazyLock<HttpMetrics> = LazyLock::new(HttpMetrics::new);
        &METRICS
    }

    fn new() -> Self {
        Self {
            requests: Family::default(),
            duration: Histogram::new(BUCKETS),
            bytes: Counter::default(),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            connections_closed_idle: Counter::default(),
            failed_authentications: Counter::default(),
            panics: Counter::default(),
        }
    }

    /// Counts a request whose answer has ended.
    pub(crate) fn ended(&self, format: Option<&'static str>, status: u16, seconds: f64, bytes: u64) {
        let labels = Labels { format: format.unwrap_or("none"), status: class(status) };
        self.requests.get_or_create(&labels).inc();
        self.duration.observe(seconds);
        self.bytes.inc_by(bytes);
    }

    /// The counters as a registry to be encoded.
    pub(crate) fn registry(&self) -> Registry {
        let mut registry = Registry::default();
        registry.register(
            "weir_http_requests",
            "Requests answered, by format and class of status",
            self.requests.clone(),
        );
        registry.register(
            "weir_http_request_duration_seconds",
            "Time from the head of a request to the end of its answer",
            self.duration.clone(),
        );
        registry.register("weir_http_response_bytes", "Bytes of bodies sent", self.bytes.clone());
        registry.register(
            "weir_http_requests_in_flight",
            "Requests whose answer has not ended",
            self.in_flight.clone(),
        );
        registry.register("weir_http_connections", "Open connections", self.connections.clone());
        registry.register(
            "weir_http_connections_closed_idle",
            "Idle connections that gave way to new ones",
            self.connections_closed_idle.clone(),
        );
        registry.register(
            "weir_http_failed_authentications",
            "Authentications that failed",
            self.failed_authentications.clone(),
        );
        registry.register("weir_http_panics", "Handlers that panicked", self.panics.clone());
        registry
    }
}

fn class(status: u16) -> &'static str {
    match status {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}
