//! The request line as text and as JSON, byte for byte as the other log lines are written: it is written for every
//! request, and going through the general formatter cost as much as all the rest of a small answer.

use super::request_line::RequestLine;
use std::fmt::Write as _;
use weir_core::Timestamp;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogFormat {
    /// `log-format=text`
    Text,
    /// `log-format=json`
    Json,
}

/// A value of a field.
enum Value<'a> {
    /// Quoted.
    Text(&'a str),
    /// As it is: numbers and truth values.
    Plain(std::fmt::Arguments<'a>),
    /// As it is in text, quoted in JSON.
    Shown(std::fmt::Arguments<'a>),
}

/// Appends the line, with its end, to `out`.
pub(super) fn write(
    out: &mut String,
    format: LogFormat,
    line: &RequestLine,
    at: Timestamp,
    duration_ms: f64,
) {
    // Writing to a string cannot fail.
    let _ = match format {
        LogFormat::Text => write!(out, "{at:.6}  INFO weir::request: request"),
        LogFormat::Json => {
            write!(out, "{{\"timestamp\":\"{at:.6}\",\"level\":\"INFO\",\"message\":\"request\"")
        }
    };
    let mut field = |name: &str, value: Value<'_>| {
        let _ = match (format, value) {
            (LogFormat::Text, Value::Text(text)) => write_text(out, name, text),
            (LogFormat::Text, Value::Plain(value) | Value::Shown(value)) => write!(out, " {name}={value}"),
            (LogFormat::Json, Value::Text(text)) => write_json(out, name, text),
            (LogFormat::Json, Value::Plain(value)) => write!(out, ",\"{name}\":{value}"),
            (LogFormat::Json, Value::Shown(value)) => write!(out, ",\"{name}\":\"{value}\""),
        };
    };
    field("request.id", Value::Text(line.id.as_str()));
    field("client.address", Value::Shown(format_args!("{}", line.client)));
    field("http.method", Value::Text(line.method.as_str()));
    field("http.path", Value::Text(line.path()));
    field("http.status", Value::Plain(format_args!("{}", line.status)));
    field("http.bytes", Value::Plain(format_args!("{}", line.bytes)));
    field("duration_ms", Value::Plain(format_args!("{duration_ms:?}")));
    if let Some(format) = line.format {
        field("format", Value::Text(format));
    }
    if let Some(repository) = &line.repository {
        field("repository.name", Value::Text(repository));
    }
    if let Some(package) = &line.package {
        field("package.name", Value::Text(package));
    }
    if let Some(principal) = &line.principal {
        field("principal", Value::Text(principal.arn.as_str()));
    }
    if let Some(seconds) = line.stale_s {
        field("upstream.stale_s", Value::Plain(format_args!("{seconds}")));
    }
    if !line.ended {
        field("cut", Value::Plain(format_args!("true")));
    }
    if let Some(error) = &line.error {
        field("error", Value::Text(error));
    }
    out.push_str(match format {
        LogFormat::Text => "\n",
        LogFormat::Json => ",\"target\":\"weir::request\"}\n",
    });
}

fn write_text(out: &mut String, name: &str, text: &str) -> std::fmt::Result {
    out.push(' ');
    out.push_str(name);
    out.push('=');
    if is_plain(text) {
        out.push('"');
        out.push_str(text);
        out.push('"');
        return Ok(());
    }
    write!(out, "{text:?}")
}

fn write_json(out: &mut String, name: &str, text: &str) -> std::fmt::Result {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":");
    if is_plain(text) {
        out.push('"');
        out.push_str(text);
        out.push('"');
        return Ok(());
    }
    write!(out, "{}", serde_json::Value::from(text))
}

/// Whether text needs no escape in quotes.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Method, Uri};
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The same line by the general formatter.
    fn general(format: LogFormat, line: &RequestLine, duration_ms: f64) -> String {
        let written = Written::default();
        let place = written.clone();
        let builder = tracing_subscriber::fmt().with_writer(move || place.clone());
        let write = || {
            tracing::info!(
                target: "weir::request",
                {
                    request.id = line.id.as_str(),
                    client.address = %line.client,
                    http.method = line.method.as_str(),
                    http.path = line.path(),
                    http.status = line.status,
                    http.bytes = line.bytes,
                    duration_ms,
                    format = line.format,
                    repository.name = line.repository.as_deref(),
                    package.name = line.package.as_deref(),
                    upstream.stale_s = line.stale_s,
                    cut = (!line.ended).then_some(true),
                    error = line.error.as_deref(),
                },
                "request"
            );
        };
        match format {
            LogFormat::Json => {
                let json = builder.json().flatten_event(true).with_current_span(false).with_span_list(false);
                tracing::subscriber::with_default(json.finish(), write);
            }
            LogFormat::Text => {
                tracing::subscriber::with_default(builder.with_ansi(false).finish(), write);
            }
        }
        String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn the_line_is_as_the_general_formatter_writes_it() {
        let mut line = RequestLine::new(
            "127.0.0.1".parse().unwrap(),
            Method::GET,
            Uri::from_static("/npm/d/local-000000000000/main/left-pad?x=1"),
        );
        let whole = |line: &RequestLine, format| {
            let mut out = String::new();
            write(&mut out, format, line, Timestamp::from_microsecond(1_763_683_200_123_456).unwrap(), 0.31);
            out
        };
        // The times differ, and are of the same length.
        let check = |line: &RequestLine| {
            for (format, place) in [(LogFormat::Text, 0..27), (LogFormat::Json, 14..41)] {
                let (mut direct, mut general) = (whole(line, format), general(format, line, 0.31));
                assert!(direct[place.clone()].starts_with("2025-11-21T00:00:00.123456Z"), "{direct}");
                direct.replace_range(place.clone(), "");
                general.replace_range(place, "");
                assert_eq!(direct, general);
            }
        };
        check(&line);
        line.format = Some("npm");
        line.repository = Some("local/main".to_owned());
        line.package = Some("@a/\u{fc}\"b\\".to_owned());
        line.stale_s = Some(7);
        line.error = Some("two\nlines \u{1b}[31m \u{7f}".to_owned());
        line.status = 503;
        check(&line);
        let _ = line.path();
    }
}
