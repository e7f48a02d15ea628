//! What the server tells of itself: log lines on standard error and the counters of HTTP.
//! `docs/logging.md` specifies the lines.

mod http_metrics;
mod redacted;
mod request_line;

pub(crate) use http_metrics::HttpMetrics;
pub(crate) use request_line::{Logged, RequestLine};

use crate::config::{Config, ConfigError};
use redacted::Redacted;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Sends log lines to standard error in the format and from the level that the settings say.
pub(crate) fn start_logging(config: &Config) -> Result<(), ConfigError> {
    let filter = EnvFilter::try_new(&config.log_level).map_err(|error| {
        ConfigError(format!("log-level: '{}' is not understood: {error}", config.log_level))
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Redacted(std::io::stderr()))
        .with_span_events(FmtSpan::NONE);
    let installed = if config.log_json {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    } else {
        builder.with_ansi(false).try_init()
    };
    // A second start within one process, as in tests, keeps the first one's lines.
    drop(installed);
    Ok(())
}
