//! AWS's own test vectors for Signature Version 4, read from the sources of the `aws-sigv4` crate in
//! cargo's registry folder, where they are fetched when they are not there; none of them is kept here.

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::process::Command;
use weir_api::sigv4::{Claim, ExpectedPayload, Refusal, SignedRequest};
use weir_core::Digest;

/// A request of a vector's file, as text.
struct Sample {
    method: String,
    path: String,
    query: String,
    headers: HeaderMap,
    body: String,
}

struct Context {
    secret: String,
    now: Timestamp,
    /// S3 signs the path as it is; every other service signs the normalised one.
    normalizes: bool,
    token_is_added_after_signing: bool,
}

#[test]
fn the_published_requests_are_accepted_in_both_forms() {
    let Some(suite) = suite() else { return };
    let (mut verified, mut left_out) = (0, Vec::new());
    for folder in fs_err::read_dir(&suite).expect("the suite is a folder") {
        let folder = folder.expect("an entry").path();
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let Some(context) = context(&folder) else { continue };
        for form in ["header", "query"] {
            let sample = Sample::parse(&read(&folder.join(format!("{form}-signed-request.txt"))));
            let is_normal =
                |path: &str| !path.contains("//") && !path.split('/').any(|part| matches!(part, "." | ".."));
            let only_s3 = !context.normalizes && !is_normal(&sample.path);
            let token_unsigned = form == "query" && context.token_is_added_after_signing;
            if only_s3 || token_unsigned {
                left_out.push(format!("{name} ({form})"));
                continue;
            }
            if let Err(refusal) = verify(&sample, &context) {
                panic!("{name}, {form} form: {refusal}");
            }
            let mut other = context.secret.clone();
            other.push('x');
            let wrong = Context { secret: other, ..context };
            assert!(verify(&sample, &wrong).is_err(), "{name}, {form} form, with another secret");
            verified += 1;
        }
    }
    left_out.sort();
    eprintln!(
        "{verified} signed requests verified; left out, being of S3's or IoT's kind: {}",
        left_out.join(", ")
    );
    assert!(verified >= 63, "only {verified} vectors were found in {}", suite.display());
    assert!(left_out.len() <= 15, "{left_out:?}");
}

fn verify(sample: &Sample, context: &Context) -> Result<(), Refusal> {
    let request = SignedRequest {
        method: &sample.method,
        path: &sample.path,
        query: &sample.query,
        host: None,
        headers: &sample.headers,
    };
    let claim = Claim::read(&request, context.now)?;
    claim.require_service(&["service"])?;
    let body = Digest::of(sample.body.as_bytes());
    if let ExpectedPayload::Sha256(signed) = claim.payload() {
        assert_eq!(signed, body);
    }
    claim.verify(&request, &context.secret, Some(body))
}

impl Sample {
    /// Reads `METHOD TARGET HTTP/1.1`, headers, an empty line and the body; targets hold raw spaces.
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut lines = head.lines();
        let first = lines.next().expect("a request line");
        let (method, target) = first.split_once(' ').expect("a method");
        let target = target.strip_suffix(" HTTP/1.1").unwrap_or(target);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            if line.starts_with([' ', '\t']) {
                // A folded line, which servers of HTTP join with a space or refuse.
                let (_, value) = fields.last_mut().expect("a header before it");
                value.push(' ');
                value.push_str(line.trim());
                continue;
            }
            let (name, value) = line.split_once(':').expect("a colon");
            fields.push((name.to_owned(), value.to_owned()));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::try_from(name).expect("a header's name");
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a header's value"));
        }
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers,
            body: body.trim_end_matches('\n').to_owned(),
        }
    }
}

/// What `context.json` tells; `None` for the two folders that have none.
fn context(folder: &Path) -> Option<Context> {
    let text = fs_err::read_to_string(folder.join("context.json")).ok()?;
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    Some(Context {
        secret: value["credentials"]["secret_access_key"].as_str().expect("a secret").to_owned(),
        now: value["timestamp"].as_str().expect("a time").parse().expect("a timestamp"),
        normalizes: value["normalize"].as_bool().expect("a flag"),
        token_is_added_after_signing: value["omit_session_token"].as_bool().unwrap_or(false),
    })
}

fn read(path: &Path) -> String {
    fs_err::read_to_string(path).expect("every vector has its files")
}

/// The folder of the vectors, fetched if need be; `None`, said aloud, where there is no network.
fn suite() -> Option<PathBuf> {
    find().or_else(|| {
        let project = Path::new(env!("CARGO_TARGET_TMPDIR")).join("aws-sigv4-sources");
        fs_err::create_dir_all(project.join("src")).expect("the target folder is writable");
        let manifest = "[package]\nname = \"sources\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
                        [dependencies]\naws-sigv4 = \"1\"\n\n[workspace]\n";
        fs_err::write(project.join("Cargo.toml"), manifest).expect("the target folder is writable");
        fs_err::write(project.join("src/lib.rs"), "").expect("the target folder is writable");
        let fetched = Command::new(env!("CARGO")).arg("fetch").current_dir(&project).status();
        let found = if fetched.is_ok_and(|status| status.success()) { find() } else { None };
        if found.is_none() {
            eprintln!("skipped: the sources of aws-sigv4 are not on this machine and cannot be fetched");
        }
        found
    })
}

fn find() -> Option<PathBuf> {
    let home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => std::env::home_dir()?.join(".cargo"),
    };
    let folders = |path: PathBuf| {
        fs_err::read_dir(path)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect::<Vec<_>>()
    };
    let crates = folders(home.join("registry/src")).into_iter().flat_map(folders);
    let mut suites: Vec<PathBuf> = crates
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("aws-sigv4-")))
        .map(|path| path.join("aws-signing-test-suite/v4"))
        .filter(|path| path.is_dir())
        .collect();
    suites.sort();
    suites.pop()
}
