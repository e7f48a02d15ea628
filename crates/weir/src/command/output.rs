//! How commands print: text for people, JSON for scripts.

use serde_json::Value;

/// What a command says, ready to be printed.
pub(super) struct Out(String);

impl Out {
    /// JSON if it was asked for, else text that ends in a newline.
    pub(super) fn new(as_json: bool, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> Self {
        Self(if as_json { pretty(&json()) } else { text() })
    }
}

/// Prints to standard output. A reader that went away (`| head`) is no failure.
pub(super) fn print(out: &Out) {
    use std::io::Write as _;
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(out.0.as_bytes()).and_then(|()| stdout.flush());
    drop(written);
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// A table with a heading; columns are as wide as their widest cell. `empty` is said where there are no rows.
pub(super) fn table(heading: &[&str], rows: &[Vec<String>], empty: &str) -> String {
    if rows.is_empty() {
        return format!("{empty}\n");
    }
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row.get(column).map_or(0, |cell| cell.chars().count()));
        cells.max().unwrap_or(0).max(heading[column].len())
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    let mut out = line(heading.to_vec());
    for row in rows {
        out.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    out
}

/// A member of a JSON object as text; `-` where it is absent.
pub(super) fn cell(value: &Value, name: &str) -> String {
    match &value[name] {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        // What others wrote must not steer the terminal.
        Value::String(text) => text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
        other => other.to_string(),
    }
}

/// A time of the API (epoch seconds) as people read it; `-` where it is absent.
pub(super) fn time(value: &Value, name: &str) -> String {
    let at = value[name].as_f64().and_then(|seconds| jiff::Timestamp::from_second(seconds as i64).ok());
    at.map_or_else(|| "-".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_has_columns_and_no_control_characters() {
        let row = json!({ "a": "x\u{1b}[31m", "t": 1_763_690_400.5, "n": null });
        let rows = vec![vec![cell(&row, "a"), time(&row, "t"), cell(&row, "n"), time(&row, "n")]];
        let text = table(&["NAME", "MADE", "N", "T"], &rows, "nothing");
        assert_eq!(text, "NAME    MADE                  N  T\nx\u{fffd}[31m  2025-11-21T02:00:00Z  -  -\n");
        assert_eq!(table(&["A"], &[], "nothing"), "nothing\n");
    }
}
