//! What the server tells of itself: log lines on standard error and the counters of HTTP.
//! `docs/logging.md` specifies the lines.

mod http_metrics;
mod line_format;
mod log_lines;
mod redacted;
mod request_line;

pub(crate) use http_metrics::HttpMetrics;
pub(crate) use request_line::{Logged, RequestLine};

use crate::config::{Config, ConfigError};
use line_format::LogFormat;
use log_lines::LogLines;
use std::cell::RefCell;
use std::io::Write as _;
use std::sync::OnceLock;
use std::time::Duration;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use weir_core::{Clock as _, SystemClock};

/// How long the end of the process waits for the last lines.
const PATIENCE: Duration = Duration::from_secs(2);

/// The lines of this process and how they are written.
static LOG: OnceLock<(LogLines, LogFormat)> = OnceLock::new();

/// Waits until all log lines are written.
pub(crate) fn flush_logging() {
    if let Some((lines, _)) = LOG.get() {
        lines.flush(PATIENCE);
    }
}

/// Writes the line of a request that has ended.
fn write_request_line(line: &RequestLine, duration_ms: f64) {
    thread_local! {
        static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
    }
    let Some((lines, format)) = LOG.get() else { return };
    TEXT.with_borrow_mut(|text| {
        text.clear();
        line_format::write(text, *format, line, SystemClock.now(), duration_ms);
        // A log that cannot be written is told to nobody.
        let _ = lines.clone().write_all(text.as_bytes());
    });
}

/// Sends log lines to standard error in the format and from the level that the settings say.
pub(crate) fn start_logging(config: &Config) -> Result<(), ConfigError> {
    let filter = EnvFilter::try_new(&config.log_level).map_err(|error| {
        ConfigError(format!("log-level: '{}' is not understood: {error}", config.log_level))
    })?;
    let format = if config.log_json { LogFormat::Json } else { LogFormat::Text };
    let lines = match LOG.get() {
        Some((lines, _)) => lines.clone(),
        None => {
            let lines = LogLines::start(std::io::stderr())
                .map_err(|error| ConfigError(format!("the log cannot be started: {error}")))?;
            LOG.get_or_init(|| (lines, format)).0.clone()
        }
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || lines.clone())
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
