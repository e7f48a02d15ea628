//! One run of wrk against one address, and what it and the server's processes say of it.

use crate::http::Request;
use crate::measure::Values;
use crate::meter::Meter;
use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

const SCRIPT: &str = include_str!("load/report.lua");

/// wrk, and the script by which it reports.
pub(crate) struct Wrk {
    program: PathBuf,
    script: PathBuf,
}

/// What the script prints.
#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Figures {
    requests: u64,
    duration_us: u64,
    bytes: u64,
    errors: u64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
}

impl Wrk {
    /// Writes the script into the folder.
    pub(crate) fn new(program: &Path, folder: &Path) -> Result<Self> {
        fs_err::create_dir_all(folder)?;
        let script = folder.join("report.lua");
        fs_err::write(&script, SCRIPT)?;
        Ok(Self { program: program.to_owned(), script })
    }

    /// Asks for the same thing over so many connections for so long; `roots` are the server's processes.
    pub(crate) async fn run(
        &self,
        request: &Request,
        connections: usize,
        seconds: u64,
        roots: &[u32],
    ) -> Result<Values> {
        let mut wrk = Command::new(&self.program);
        // One thread sends more than any server here answers, and leaves the server a core.
        wrk.args(["--threads", "1", "--connections", &connections.to_string(), "--latency"]);
        wrk.args(["--duration", &format!("{seconds}s"), "--timeout", "60s", "--script"]).arg(&self.script);
        for (name, value) in &request.headers {
            wrk.args(["--header", &format!("{name}: {value}")]);
        }
        wrk.arg(&request.url).stdin(Stdio::null()).kill_on_drop(true);
        let meter = Meter::start(roots);
        let ended = tokio::time::timeout(Duration::from_secs(seconds + 90), wrk.output()).await;
        let cost = meter.stop();
        let ended = ended.context("wrk did not end")?.context("wrk could not be started")?;
        let said = String::from_utf8_lossy(&ended.stdout);
        ensure!(ended.status.success(), "wrk failed: {}", String::from_utf8_lossy(&ended.stderr));
        let figures = parse(&said).with_context(|| format!("wrk did not report on {}", request.url))?;
        let mut values = cost.values();
        values.remove("wall_s");
        values.extend(figures.values(cost.cpu));
        Ok(values)
    }
}

fn parse(output: &str) -> Option<Figures> {
    let line = output.lines().find_map(|line| line.strip_prefix("FIGURES "))?;
    serde_json::from_str(line).ok()
}

impl Figures {
    fn values(&self, cpu: f64) -> Values {
        let seconds = self.duration_us as f64 / 1e6;
        let megabytes = self.bytes as f64 / 1e6;
        let mut values: Values = [
            ("requests_per_second", self.requests as f64 / seconds),
            ("mb_per_second", megabytes / seconds),
            ("p50_ms", self.p50_us as f64 / 1e3),
            ("p99_ms", self.p99_us as f64 / 1e3),
            ("errors", self.errors as f64),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        if self.requests > 0 {
            values.insert("cpu_us_per_request".to_owned(), cpu * 1e6 / self.requests as f64);
            values.insert("cpu_us_per_mb".to_owned(), cpu * 1e6 / megabytes);
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_figures_is_found_in_what_wrk_prints() {
        let output = "Running 1s test @ http://127.0.0.1:1/\n  1 threads and 16 connections\n\
            FIGURES {\"requests\":2000,\"duration_us\":1000000,\"bytes\":4000000,\"errors\":0,\"p50_us\":150,\"p99_us\":900,\"max_us\":2000}\n";
        let figures = parse(output).expect("the line is there");
        let values = figures.values(0.5);
        assert_eq!(values["requests_per_second"], 2000.0);
        assert_eq!(values["mb_per_second"], 4.0);
        assert_eq!(values["cpu_us_per_request"], 250.0);
        assert_eq!(values["p99_ms"], 0.9);
        assert_eq!(parse("Requests/sec: 12"), None);
    }

    #[test]
    fn a_run_without_an_answer_has_no_cost_per_request() {
        let none = Figures {
            requests: 0,
            duration_us: 1_000_000,
            bytes: 0,
            errors: 3,
            p50_us: 0,
            p99_us: 0,
            max_us: 0,
        };
        assert!(!none.values(0.1).contains_key("cpu_us_per_request"));
    }
}
