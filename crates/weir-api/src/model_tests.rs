//! Compares this API with AWS's service model, read from the `botocore` that is installed (or named by
//! `WEIR_BOTOCORE`): operations, inputs, outputs and errors. The model itself is not kept here.

mod answers;

use crate::error::ApiError;
use crate::input::{FORMATS, Input};
use crate::operation::{Operation, route};
use crate::query::Query;
use answers::answers;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use weir_core::{Error, Resource};

struct Model(Value);

impl Model {
    fn operations(&self) -> &Map<String, Value> {
        self.0["operations"].as_object().expect("operations")
    }

    fn shape(&self, name: &Value) -> &Value {
        &self.0["shapes"][name.as_str().expect("a shape's name")]
    }

    fn members(&self, shape: &Value) -> Map<String, Value> {
        shape["members"].as_object().cloned().unwrap_or_default()
    }
}

fn operation(name: &str) -> Operation {
    let found = Operation::ALL.iter().copied().find(|operation| operation.name() == name);
    found.unwrap_or_else(|| panic!("{name} of the model has no place in the router"))
}

#[test]
fn every_operation_of_the_model_is_at_its_method_and_path() {
    let Some(model) = model() else { return };
    assert_eq!(model.operations().len(), Operation::ALL.len());
    for (name, described) in model.operations() {
        let method: Method =
            described["http"]["method"].as_str().expect("a method").parse().expect("a method");
        let path = described["http"]["requestUri"].as_str().expect("a path");
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        assert_eq!(route(&method, &segments), Some(operation(name)), "{method} {path}");
        assert!(described["http"].get("responseCode").is_none(), "{name} answers 200");
    }
    let formats = model.0["shapes"]["PackageFormat"]["enum"].as_array().expect("words");
    let formats: BTreeSet<&str> = formats.iter().filter_map(Value::as_str).collect();
    assert_eq!(FORMATS.iter().copied().collect::<BTreeSet<_>>(), formats);
}

/// The input of one request, put together member by member.
#[derive(Default, Clone)]
struct Sample {
    query: BTreeMap<String, String>,
    headers: HeaderMap,
    body: Map<String, Value>,
}

impl Sample {
    fn put(&mut self, name: &str, described: &Value, value: Value) {
        let location_name = described["locationName"].as_str().unwrap_or(name).to_owned();
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match described["location"].as_str() {
            Some("querystring") => {
                self.query.insert(location_name, text);
            }
            Some("header") => {
                let name: HeaderName = location_name.parse().expect("a header's name");
                self.headers.insert(name, HeaderValue::from_str(&text).expect("a header's value"));
            }
            Some(other) => panic!("{name} is at a new place, {other}"),
            None => {
                self.body.insert(name.to_owned(), value);
            }
        }
    }

    fn check(&self, operation: Operation) -> weir_core::Result<()> {
        let encode = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
        };
        let pairs: Vec<String> =
            self.query.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let query = Query::parse(&pairs.join("&"))?;
        let body = if self.body.is_empty() {
            Vec::new()
        } else {
            Value::from(self.body.clone()).to_string().into_bytes()
        };
        operation.check(&Input { query: &query, headers: &self.headers, body: &body })
    }
}

/// A value that is allowed for a member.
fn valid(model: &Model, shape_name: &Value) -> Value {
    let shape = model.shape(shape_name);
    match shape["type"].as_str().expect("a type") {
        "structure" => {
            let members = model.members(shape);
            Value::Object(
                members.iter().map(|(name, member)| (name.clone(), valid(model, &member["shape"]))).collect(),
            )
        }
        "list" => json!([valid(model, &shape["member"]["shape"])]),
        "map" => json!({ "1.0.0": valid(model, &shape["value"]["shape"]) }),
        "boolean" => json!(true),
        "integer" | "long" => json!(shape["min"].as_i64().unwrap_or(0).max(900)),
        _ => match (shape_name.as_str().expect("a name"), shape["enum"].as_array()) {
            ("PackageVersionStatus", _) => json!("Archived"),
            (_, Some(words)) => words[0].clone(),
            ("AccountId", _) => json!("000000000000"),
            ("Arn", _) => json!("arn:aws:codeartifact:us-east-1:000000000000:domain/local"),
            ("PaginationToken", _) => json!("WyJhIl0"),
            ("SHA256", _) => json!("0".repeat(64)),
            _ => json!("some-name"),
        },
    }
}

/// A value that no member of the shape may have.
fn invalid(model: &Model, shape_name: &Value, in_body: bool) -> Value {
    match model.shape(shape_name)["type"].as_str() {
        Some("boolean" | "integer" | "long") => json!("many"),
        Some("string") if in_body => json!(7),
        Some("string") => json!("x".repeat(3000)),
        _ => json!(7),
    }
}

#[test]
fn every_input_of_the_built_operations_is_read_and_checked() {
    let Some(model) = model() else { return };
    let mut read = 0;
    for (name, described) in model.operations() {
        let operation = operation(name);
        if !operation.is_built() {
            continue;
        }
        let shape = model.shape(&described["input"]["shape"]);
        let payload = shape["payload"].as_str();
        let members: Vec<(String, Value)> =
            model.members(shape).into_iter().filter(|(name, _)| Some(name.as_str()) != payload).collect();
        let mut good = Sample::default();
        for (member, described) in &members {
            // CopyPackageVersions takes one of two.
            if !(name == "CopyPackageVersions" && member == "versionRevisions") {
                good.put(member, described, valid(&model, &described["shape"]));
            }
        }
        good.check(operation).unwrap_or_else(|error| panic!("{name} with all its members: {error}"));
        for (member, described) in &members {
            let mut bad = good.clone();
            let in_body = described["location"].is_null();
            bad.put(member, described, invalid(&model, &described["shape"], in_body));
            let Err(error) = bad.check(operation) else { panic!("{name} does not read {member}") };
            assert!(matches!(error, Error::Invalid { .. }), "{name}, {member}: {error:?}");
            let location_name = described["locationName"].as_str();
            let told = error.to_string();
            let names = |field: &str| told.contains(field) || in_body;
            let field = location_name.unwrap_or(member);
            // A page is read by one function for query and body, which names its members.
            assert!(names(field) || field == "next-token" && names("nextToken"), "{name}, {member}: {told}");
            read += 1;
        }
        for required in shape["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let Some((member, described)) = members.iter().find(|(name, _)| name == required) else {
                continue;
            };
            let mut without = good.clone();
            let field = described["locationName"].as_str().unwrap_or(member);
            without.query.remove(field);
            without.headers.remove(field);
            without.body.remove(field);
            let Err(error) = without.check(operation) else { panic!("{name} does without {member}") };
            assert!(error.to_string().contains(field), "{name} without {member}: {error}");
        }
        let mut unknown = good.clone();
        unknown.query.insert("unknown".into(), "1".into());
        unknown.check(operation).unwrap_or_else(|error| panic!("{name} with an unknown parameter: {error}"));
    }
    assert!(read > 150, "only {read} members were checked");
}

#[test]
fn every_output_of_the_built_operations_is_told() {
    let Some(model) = model() else { return };
    let answers = answers();
    for (name, described) in model.operations() {
        if !operation(name).is_built() {
            continue;
        }
        let shape = &described["output"]["shape"];
        if !model.shape(shape)["payload"].is_null() {
            assert_eq!(name, "GetPackageVersionAsset", "its members are headers and the file itself");
            continue;
        }
        let answer = answers.get(name.as_str()).unwrap_or_else(|| panic!("{name} has no sample answer"));
        compare(&model, name, shape, &[answer]);
    }
}

/// Compares members, recursively; `values` are several values of one shape, which together have them all.
fn compare(model: &Model, place: &str, shape_name: &Value, values: &[&Value]) {
    let shape = model.shape(shape_name);
    match shape["type"].as_str().expect("a type") {
        "structure" => {
            let expected: BTreeSet<String> = model.members(shape).keys().cloned().collect();
            let objects = values
                .iter()
                .map(|value| value.as_object().unwrap_or_else(|| panic!("{place} is no object")));
            let told: BTreeSet<String> = objects.flat_map(|object| object.keys().cloned()).collect();
            assert_eq!(told, expected, "the members of {place}");
            for (member, described) in model.members(shape) {
                let inner: Vec<&Value> = values.iter().filter_map(|value| value.get(&member)).collect();
                compare(model, &format!("{place}.{member}"), &described["shape"], &inner);
            }
        }
        "list" => {
            let items: Vec<&Value> =
                values.iter().flat_map(|value| value.as_array().expect("a list")).collect();
            assert!(!items.is_empty(), "{place} has an item in the sample");
            compare(model, place, &shape["member"]["shape"], &items);
        }
        "map" => {
            let entries: Vec<(&String, &Value)> =
                values.iter().flat_map(|value| value.as_object().expect("a map")).collect();
            if let Some(words) = model.shape(&shape["key"]["shape"])["enum"].as_array() {
                let keys: BTreeSet<&str> = entries.iter().map(|(key, _)| key.as_str()).collect();
                assert_eq!(keys, words.iter().filter_map(Value::as_str).collect(), "the keys of {place}");
            }
            let inner: Vec<&Value> = entries.into_iter().map(|(_, value)| value).collect();
            compare(model, place, &shape["value"]["shape"], &inner);
        }
        "timestamp" | "integer" | "long" => {
            assert!(values.iter().all(|value| value.is_number()), "{place}: {values:?}")
        }
        "string" => {
            let words = shape["enum"].as_array();
            for value in values {
                let text = value.as_str().unwrap_or_else(|| panic!("{place} is no text"));
                // Terraform wants AVAILABLE and the guide prints it, where the model says Available.
                let known = words.is_none_or(|words| words.contains(value)) || text == "AVAILABLE";
                assert!(known, "{place}: {text} is not a word of the model");
            }
        }
        other => panic!("{place} is of a new type, {other}"),
    }
}

#[test]
fn every_error_of_the_model_exists() {
    let Some(model) = model() else { return };
    let of_package = (Resource::Package, "left-pad", "m");
    let samples: BTreeMap<&str, ApiError> = [
        Error::not_found(of_package.0, of_package.1, of_package.2),
        Error::conflict(of_package.0, of_package.1, of_package.2),
        Error::QuotaExceeded {
            resource: of_package.0,
            id: of_package.1.into(),
            message: of_package.2.into(),
        },
        Error::invalid("domain", "m"),
        Error::denied("m"),
        Error::Throttled { retry_after: Duration::from_secs(3), message: "m".into() },
        Error::internal("m"),
    ]
    .into_iter()
    .map(ApiError::from)
    .map(|error| (error.kind().0, error))
    .collect();
    for (name, described) in model.operations() {
        for declared in described["errors"].as_array().expect("errors") {
            let shape_name = declared["shape"].as_str().expect("a name");
            let error = samples.get(shape_name).unwrap_or_else(|| panic!("{name} may answer {shape_name}"));
            let shape = model.shape(&declared["shape"]);
            assert_eq!(
                Some(u64::from(error.kind().1.as_u16())),
                shape["error"]["httpStatusCode"].as_u64(),
                "{shape_name}"
            );
            let response = error.response();
            let in_headers = |member: &Value| member["location"] == "header";
            for (_, member) in model.members(shape).iter().filter(|(_, member)| in_headers(member)) {
                let header = member["locationName"].as_str().expect("a header's name");
                assert!(response.headers().contains_key(header), "{shape_name} has {header}");
            }
            let weir_protocol::Body::Full(bytes) = response.into_body() else { panic!("a body in memory") };
            let body: Map<String, Value> = serde_json::from_slice(&bytes).expect("JSON");
            let expected: BTreeSet<String> = model
                .members(shape)
                .into_iter()
                .filter(|(_, member)| !in_headers(member))
                .map(|(name, _)| name)
                .collect();
            assert_eq!(
                body.keys().cloned().collect::<BTreeSet<_>>(),
                expected,
                "the members of {shape_name}"
            );
        }
    }
}

/// The service model; `None`, said aloud, where there is no botocore.
fn model() -> Option<Model> {
    let Some(folder) = botocore() else {
        eprintln!(
            "skipped: botocore is not installed and WEIR_BOTOCORE names none; `cargo xtask test` installs it"
        );
        return None;
    };
    let file = folder.join("data/codeartifact/2018-09-22/service-2.json");
    let text = match fs_err::read(&file) {
        Ok(text) => text,
        Err(_) => {
            let packed =
                fs_err::File::open(file.with_extension("json.gz")).expect("botocore has the service model");
            let mut text = Vec::new();
            flate2::read::GzDecoder::new(packed).read_to_end(&mut text).expect("gzip");
            text
        }
    };
    Some(Model(serde_json::from_slice(&text).expect("JSON")))
}

fn botocore() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("WEIR_BOTOCORE") {
        let named = PathBuf::from(named);
        return [named.join("botocore"), named].into_iter().find(|path| path.join("data").is_dir());
    }
    let found =
        Command::new("python3").args(["-c", "import botocore; print(botocore.__path__[0])"]).output().ok()?;
    let path = String::from_utf8(found.stdout).ok()?;
    Some(Path::new(path.trim()).to_path_buf()).filter(|path| path.join("data").is_dir())
}
