//! `weir doctor`: looks at a server from outside, as its users do, and says what to do about what is wrong.

use super::output::{Out, cell, print};
use super::{ini, login, npmrc};
use crate::cli::Doctor;
use crate::client::{Client, unreachable_server};
use crate::config::Variables;
use anyhow::Result;
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;
use weir_core::{Clock as _, SystemClock};

/// What one check found.
struct Finding {
    name: &'static str,
    good: bool,
    /// What is, and where it is wrong what to do.
    text: String,
}

/// Signatures are refused from 15 minutes on; more than this deserves a word.
const MOST_SKEW_SECONDS: i64 = 60;

/// Runs all checks that can be run; exit code 1 when one found something.
pub(super) async fn run(arguments: Doctor, variables: &Variables) -> Result<ExitCode> {
    let mut report = Vec::new();
    look(&arguments, variables, &mut report).await;
    let all_good = report.iter().all(|finding| finding.good);
    print(&Out::new(arguments.json, || as_json(&report), || as_text(&report)));
    Ok(if all_good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

async fn look(arguments: &Doctor, variables: &Variables, report: &mut Vec<Finding>) {
    if !reachable(arguments, variables, report).await {
        return;
    }
    let client = match arguments.remote.client(variables) {
        Ok(client) => client,
        Err(error) => return report.push(bad("credentials", format!("{error:#}"))),
    };
    if credentials(&client, report).await {
        repository(&client, arguments, report).await;
        connections(&client, report).await;
    }
    npmrc(&client, arguments, variables, report).await;
    pip(&client, arguments, variables, report).await;
}

/// Address, TLS, readiness and the clock, without credentials.
async fn reachable(arguments: &Doctor, variables: &Variables, report: &mut Vec<Finding>) -> bool {
    let prepared = arguments.remote.url().and_then(|url| Ok((arguments.remote.http(variables)?, url)));
    let (http, url) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            report.push(bad("endpoint", format!("{error:#}")));
            return false;
        }
    };
    let address = format!("{}/readyz", url.as_str().trim_end_matches('/'));
    let answer = match http.get(address).send().await {
        Ok(answer) => answer,
        Err(error) => {
            report.push(bad("endpoint", format!("{:#}", unreachable_server(&url, &error))));
            return false;
        }
    };
    let trust = if url.scheme() == "https" { ", and its certificate is trusted" } else { "" };
    report.push(match answer.status().as_u16() {
        200 => good("endpoint", format!("{url} is ready{trust}")),
        503 => bad(
            "endpoint",
            format!("{url} is up and not ready: its database or disk does not answer; see its log"),
        ),
        status => bad(
            "endpoint",
            format!("{url} answered {status} to /readyz: is this a Weir server? --endpoint names another"),
        ),
    });
    let date = answer.headers().get("date").and_then(|date| date.to_str().ok());
    let there = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    if let Some(there) = there {
        let skew = SystemClock.now().as_second() - there.timestamp().as_second();
        report.push(if skew.abs() <= MOST_SKEW_SECONDS {
            good("clock", "this machine and the server agree".to_owned())
        } else {
            bad(
                "clock",
                format!(
                    "this machine is {skew} s ahead of the server; set the clocks (signatures allow 900 s)"
                ),
            )
        });
    }
    answer.status() == http::StatusCode::OK
}

async fn credentials(client: &Client, report: &mut Vec<Finding>) -> bool {
    let from = &client.credentials().source;
    let finding = match client.caller_identity().await {
        Ok(answer) if answer.status == 200 => {
            let arn = answer.text.split_once("<Arn>").and_then(|(_, rest)| rest.split_once("</Arn>"));
            let who = arn.map_or("someone", |(arn, _)| arn);
            good("credentials", format!("{} is {who}, from {from}", client.credentials().access_key_id))
        }
        // STS answers in XML.
        Ok(answer) => {
            let message =
                answer.text.split_once("<Message>").and_then(|(_, rest)| rest.split_once("</Message>"));
            let message = message.map_or(answer.text.trim(), |(message, _)| message);
            bad(
                "credentials",
                format!(
                    "the key from {from} is refused: {message} ({}); 'weir key create' makes another",
                    answer.status
                ),
            )
        }
        Err(error) => bad("credentials", format!("{error:#}")),
    };
    let works = finding.good;
    report.push(finding);
    works
}

async fn repository(client: &Client, arguments: &Doctor, report: &mut Vec<Finding>) {
    let place = &arguments.place;
    let mut query = vec![("domain", place.domain.as_str())];
    query.extend(place.domain_owner.as_deref().map(|owner| ("domain-owner", owner)));
    let domain = client.call("GET", "/v1/domain", &query, None).await;
    report.push(match &domain {
        Ok(_) => good("domain", format!("{} is there", place.domain)),
        Err(error) => bad(
            "domain",
            format!("{error:#}; --domain names another, 'aws codeartifact create-domain' makes one"),
        ),
    });
    if domain.is_err() {
        return;
    }
    query.push(("repository", &place.repository));
    report.push(match client.call("GET", "/v1/repository", &query, None).await {
        Ok(answer) => {
            let upstreams = answer["repository"]["upstreams"].as_array().map_or(0, Vec::len);
            let plural = if upstreams == 1 { "" } else { "s" };
            good("repository", format!("{} is there, with {upstreams} upstream{plural}", place.repository))
        }
        Err(error) => bad(
            "repository",
            format!("{error:#}; --repository names another, 'aws codeartifact create-repository' makes one"),
        ),
    });
}

async fn connections(client: &Client, report: &mut Vec<Finding>) {
    let status = match client.call("GET", "/weir/v1/status", &[], None).await {
        Ok(status) => status,
        Err(error) => return report.push(bad("connections", format!("{error:#}"))),
    };
    let Some(connections) = status["connections"].as_array() else {
        return report.push(good("connections", "not shown to this user".to_owned()));
    };
    for connection in connections {
        let is_used = connection["repositories"].as_u64() != Some(0);
        if connection["url"].is_null() && is_used {
            // What the first package that is asked for would do.
            let path = format!("/weir/v1/connections/{}/rediscover", cell(connection, "name"));
            if let Ok(found) = client.call("POST", &path, &[], Some(&json!({}))).await {
                report.push(connection_finding(&found["connection"]));
                continue;
            }
        }
        report.push(connection_finding(connection));
    }
}

fn connection_finding(connection: &Value) -> Finding {
    let name = cell(connection, "name");
    let unused = connection["repositories"].as_u64() == Some(0);
    match (connection["url"].as_str(), connection["health"].as_str()) {
        (None, _) if unused => {
            good("connection", format!("{name} has no address, and no repository uses it"))
        }
        (None, _) => bad("connection", format!("{name} has no address: {}", cell(connection, "advice"))),
        (Some(url), Some("down")) => bad(
            "connection",
            format!(
                "{name} at {url} does not answer ({}); held packages are served, others wait. \
                 'weir connections set {name} URL' names another address",
                cell(connection, "lastFailure")
            ),
        ),
        (Some(url), Some("up")) => good("connection", format!("{name} at {url} answers")),
        (Some(url), _) => good("connection", format!("{name} at {url} was not asked yet")),
    }
}

/// Whether the token in .npmrc is one this server takes.
async fn npmrc(client: &Client, arguments: &Doctor, variables: &Variables, report: &mut Vec<Finding>) {
    let Some(path) = arguments.npmrc.clone().or_else(|| npmrc::user_file(variables)) else { return };
    let login = "'weir login npm' writes a new one";
    let Ok(text) = fs_err::read_to_string(&path) else {
        return report.push(good("npmrc", format!("{} is not there; {login}", path.display())));
    };
    let base = client.endpoint().as_str().trim_end_matches('/');
    let registries = text.lines().filter_map(|line| line.trim().split_once('='));
    let ours = registries
        .filter(|(key, _)| *key.trim() == *"registry" || key.trim().ends_with(":registry"))
        .map(|(_, address)| address.trim().trim_matches('"'))
        .find(|address| address.starts_with(base));
    let Some(address) = ours else {
        return report
            .push(good("npmrc", format!("{} does not point to this server; {login}", path.display())));
    };
    let Some(token) = npmrc::value(&text, &npmrc::key_of(address, "_authToken")) else {
        return report.push(bad("npmrc", format!("{} has no token for {address}; {login}", path.display())));
    };
    let who = format!("{}/-/whoami", address.trim_end_matches('/'));
    let request = client.http().get(who).bearer_auth(token);
    report.push(token_finding("npmrc", request, &path, address, login).await);
}

/// Whether the token in pip.conf is one this server takes; nothing is said where there is no such file.
async fn pip(client: &Client, arguments: &Doctor, variables: &Variables, report: &mut Vec<Finding>) {
    let Some(path) = arguments.pip_conf.clone().or_else(|| login::pip_user_file(variables)) else { return };
    let login = "'weir login pip' writes a new one";
    let text = match fs_err::read_to_string(&path) {
        Ok(text) => text,
        Err(_) if arguments.pip_conf.is_none() => return,
        Err(error) => return report.push(bad("pip", format!("{error}; --pip-conf names another"))),
    };
    let Some((address, user, token)) = index_of(&text, client.endpoint().as_str()) else {
        return report
            .push(good("pip", format!("{} does not point to this server; {login}", path.display())));
    };
    if token.is_empty() {
        return report.push(bad("pip", format!("{} has no token for {address}; {login}", path.display())));
    }
    let request = client.http().get(&address).basic_auth(user, Some(token));
    report.push(token_finding("pip", request, &path, &address, login).await);
}

/// The index of a pip.conf, without user and token, and these; `None` where it is not below `base`.
fn index_of(text: &str, base: &str) -> Option<(String, String, String)> {
    let mut url = url::Url::parse(ini::value(text, "global", login::PIP_INDEX)?.first()?).ok()?;
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let (user, token) = (decoded(url.username()), decoded(url.password().unwrap_or_default()));
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    let address = String::from(url);
    address.starts_with(&format!("{}/", base.trim_end_matches('/'))).then_some((address, user, token))
}

/// What a request with the token of a file tells of that token.
async fn token_finding(
    name: &'static str,
    request: reqwest::RequestBuilder,
    path: &Path,
    address: &str,
    login: &str,
) -> Finding {
    let path = path.display();
    match request.send().await.map(|answer| answer.status().as_u16()) {
        Ok(200) => good(name, format!("the token in {path} works at {address}")),
        Ok(401) => bad(name, format!("the token in {path} has ended or was revoked; {login}")),
        Ok(403) => bad(name, format!("the token in {path} may not read {address}; {login}")),
        Ok(404) => bad(name, format!("{address} in {path} is no repository of this server; {login}")),
        Ok(status) => bad(name, format!("{address} answered {status}")),
        Err(error) => bad(name, format!("{address}: {error}")),
    }
}

fn good(name: &'static str, text: String) -> Finding {
    Finding { name, good: true, text }
}

fn bad(name: &'static str, text: String) -> Finding {
    Finding { name, good: false, text }
}

fn as_text(report: &[Finding]) -> String {
    let line = |finding: &Finding| {
        format!("{} {:<12} {}\n", if finding.good { '✓' } else { '✗' }, finding.name, finding.text)
    };
    report.iter().map(line).collect()
}

fn as_json(report: &[Finding]) -> Value {
    let checks: Vec<Value> = report
        .iter()
        .map(|finding| json!({ "check": finding.name, "good": finding.good, "text": finding.text }))
        .collect();
    json!({ "good": report.iter().all(|finding| finding.good), "checks": checks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_judged_by_address_health_and_use() {
        let check = |connection: Value, is_good: bool, text: &str| {
            let finding = connection_finding(&connection);
            assert!(finding.good == is_good && finding.text.contains(text), "{}", finding.text);
        };
        check(json!({ "name": "public:npmjs", "repositories": 0 }), true, "no repository uses it");
        let advice = "give it one with: weir connections set";
        check(json!({ "name": "public:npmjs", "repositories": 1, "advice": advice }), false, advice);
        let down = json!({ "name": "a", "url": "http://x/", "health": "down", "lastFailure": "timeout", "repositories": 1 });
        check(down, false, "timeout");
        check(json!({ "name": "a", "url": "http://x/", "health": "up", "repositories": 1 }), true, "answers");
    }

    #[test]
    fn the_index_of_pip_is_split_from_its_token() {
        let text = "[global]\nindex_url = http://aws:weir%5Fabc@127.0.0.1:8090/pypi/d/a-0/main/simple/\n";
        let (address, user, token) = index_of(text, "http://127.0.0.1:8090/").unwrap();
        assert_eq!(address, "http://127.0.0.1:8090/pypi/d/a-0/main/simple/");
        assert_eq!((user.as_str(), token.as_str()), ("aws", "weir_abc"));
        assert!(index_of(text, "http://127.0.0.1:809").is_none());
        assert!(index_of("[global]\ntimeout = 1\n", "http://127.0.0.1:8090/").is_none());
    }

    #[test]
    fn the_report_shows_marks_and_json() {
        let report = [good("clock", "fine".into()), bad("npmrc", "old token".into())];
        assert_eq!(as_text(&report), "✓ clock        fine\n✗ npmrc        old token\n");
        assert_eq!(as_json(&report)["good"], json!(false));
    }
}
