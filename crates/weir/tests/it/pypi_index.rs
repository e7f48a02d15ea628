//! What the wire tests of Python's protocol have in common: a fake public index, a server whose `pypi-store`
//! leads to it, and requests as no client would send them.

use crate::stored;
use serde_json::{Value, json};
use std::time::Duration;
use weir_testkit::raw::{RawAnswer, exchange};
use weir_testkit::server::Builder;
use weir_testkit::{Answer, Distribution, PythonPackage, UploadForm, Upstream, Weir};

pub(crate) const JSON: &str = "application/vnd.pypi.simple.v1+json";
pub(crate) const HTML: &str = "application/vnd.pypi.simple.v1+html";
/// What asks for the page in JSON.
pub(crate) const AS_JSON: (&str, &str) = ("accept", JSON);
/// What asks for the page in HTML.
pub(crate) const AS_HTML: (&str, &str) = ("accept", "text/html");

/// How long a raw exchange may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The project of most tests.
pub(crate) fn demo(version: &str) -> PythonPackage {
    PythonPackage::new("weir-demo", version)
}

/// A fake index and a server in front of it.
pub(crate) struct World {
    pub(crate) upstream: Upstream,
    pub(crate) weir: Weir,
    /// A token of the administrator.
    pub(crate) token: String,
    /// The address of `main`; ends in `/`.
    pub(crate) endpoint: String,
}

/// Where a repository's page has a file, below the repository.
pub(crate) fn path_of(file: &Distribution) -> String {
    format!("simple/{}/{}/{}", file.package.normalized_name(), file.package.version(), file.file_name)
}

/// The files on a page, by name; the page must not name one twice.
pub(crate) fn names(page: &Value) -> Vec<String> {
    let files = page["files"].as_array().unwrap_or_else(|| panic!("no files in {page}"));
    let mut names: Vec<_> =
        files.iter().map(|file| file["filename"].as_str().unwrap_or_default().to_owned()).collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all, "{page}");
    names
}

/// The object of a file on a page.
#[track_caller]
pub(crate) fn entry(page: &Value, file_name: &str) -> Value {
    let mut files = page["files"].as_array().into_iter().flatten();
    let found = files.find(|file| file["filename"] == file_name);
    found.unwrap_or_else(|| panic!("no {file_name} in {page}")).clone()
}

impl World {
    /// A server with the repositories of a first start.
    pub(crate) async fn start() -> Self {
        Self::start_with(|builder| builder).await
    }

    /// A server that asks its index anew for every page.
    pub(crate) async fn following() -> Self {
        Self::start_with(|builder| builder.flag("--freshness", "0s").flag("--negative-freshness", "0s")).await
    }

    /// [`start`](Self::start) with further settings.
    pub(crate) async fn start_with(settings: impl FnOnce(Builder) -> Builder) -> Self {
        let upstream = Upstream::start().await;
        let builder = Weir::builder(env!("CARGO_BIN_EXE_weir")).pypi(&upstream.pypi_url());
        let weir = settings(builder).start().await;
        let token = weir.token("local").await;
        let endpoint = weir.endpoint("local", "main", "pypi").await;
        Self { upstream, weir, token, endpoint }
    }

    /// Makes a repository with these upstreams and gives its address.
    pub(crate) async fn repository(&self, name: &str, upstreams: &[&str]) -> String {
        self.put_upstreams("POST", name, upstreams).await;
        self.weir.endpoint("local", name, "pypi").await
    }

    /// Gives a repository these upstreams in place of those it has (`PUT`), or makes it (`POST`).
    pub(crate) async fn put_upstreams(&self, method: &str, name: &str, upstreams: &[&str]) {
        let upstreams: Vec<Value> = upstreams.iter().map(|name| json!({ "repositoryName": name })).collect();
        let body = json!({ "upstreams": upstreams }).to_string();
        let path = format!("/v1/repository?domain=local&repository={name}");
        self.weir.api(method, &path, &body).await.assert_status(200);
    }

    /// Adds (`POST`) or removes (`DELETE`) the external connection of a repository.
    pub(crate) async fn connection(&self, method: &str, repository: &str, name: &str) {
        let path = "/v1/repository/external-connection?domain=local";
        let path = format!("{path}&repository={repository}&external-connection={name}");
        self.weir.api(method, &path, "").await.assert_status(200);
    }

    /// Sets the origin controls of a package.
    pub(crate) async fn put_controls(&self, repository: &str, name: &str, publish: &str, upstream: &str) {
        let path = format!("/v1/package?domain=local&repository={repository}&format=pypi&package={name}");
        let body = json!({ "restrictions": { "publish": publish, "upstream": upstream } }).to_string();
        self.weir.api("POST", &path, &body).await.assert_status(200);
    }

    /// Sets the status of one version.
    pub(crate) async fn put_status(&self, repository: &str, name: &str, version: &str, status: &str) {
        let query = format!("domain=local&repository={repository}&format=pypi&package={name}");
        let (call, body) = match status {
            "Disposed" => ("dispose", json!({ "versions": [version] })),
            "Deleted" => ("delete", json!({ "versions": [version] })),
            _ => ("update_status", json!({ "versions": [version], "targetStatus": status })),
        };
        let path = format!("/v1/package/versions/{call}?{query}");
        let changed = self.weir.api("POST", &path, &body.to_string()).await;
        assert_eq!(changed.assert_status(200).json()["failedVersions"], json!({}));
    }

    /// Sends a request with the administrator's token; `path` is below `main`, or a whole address.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend(headers);
        let url =
            if path.starts_with("http://") { path.to_owned() } else { format!("{}{path}", self.endpoint) };
        weir_testkit::http::send(method, &url, &all, body.into()).await
    }

    /// A GET below `main`.
    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", path, headers, Vec::new()).await
    }

    /// The page of a project in JSON.
    pub(crate) async fn page(&self, name: &str) -> Value {
        self.get(&format!("simple/{name}/"), &[AS_JSON]).await.assert_status(200).json()
    }

    /// The page of a project in HTML.
    pub(crate) async fn html(&self, name: &str) -> String {
        self.get(&format!("simple/{name}/"), &[AS_HTML]).await.assert_status(200).text()
    }

    /// The files on the page of a project, by name.
    pub(crate) async fn files(&self, name: &str) -> Vec<String> {
        names(&self.page(name).await)
    }

    /// Fetches a file from `main` and compares it.
    pub(crate) async fn fetch(&self, file: &Distribution) {
        let answer = self.get(&path_of(file), &[]).await;
        assert_eq!(answer.assert_status(200).body, file.bytes, "{}", file.file_name);
    }

    /// Publishes a file to `main`.
    pub(crate) async fn publish(&self, file: &Distribution) -> Answer {
        self.upload(&file.form()).await
    }

    /// Sends a form to `main`.
    pub(crate) async fn upload(&self, form: &UploadForm) -> Answer {
        self.upload_to(&self.endpoint, form).await
    }

    /// Sends a form to a repository's address.
    pub(crate) async fn upload_to(&self, endpoint: &str, form: &UploadForm) -> Answer {
        let (kind, body) = form.build();
        self.send("POST", endpoint, &[("content-type", &kind)], body).await
    }

    /// Sends bytes as a form on a connection of its own, with the length `announced`.
    pub(crate) async fn upload_raw(&self, kind: &str, body: &[u8], announced: usize) -> RawAnswer {
        let authority = self.weir.authority();
        let (_, path) = self.endpoint.split_once(authority).expect("the address is the server's own");
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer {}\r\nContent-Type: {kind}\r\n\
             Content-Length: {announced}\r\nConnection: close\r\n\r\n",
            self.token
        );
        // For bytes that never come the server waits longer than a test should.
        let patience = if announced > body.len() { Duration::from_secs(1) } else { PATIENCE };
        exchange(authority, &[head.as_bytes(), body].concat(), patience).await
    }

    /// The versions that a repository itself holds, by the control API; none where there is no record.
    pub(crate) async fn held(&self, repository: &str, name: &str) -> Vec<String> {
        let path =
            format!("/v1/package/versions?domain=local&repository={repository}&format=pypi&package={name}");
        let answer = self.weir.api("POST", &path, "").await;
        if answer.status == 404 {
            return Vec::new();
        }
        let versions = answer.assert_status(200).json()["versions"].as_array().cloned().unwrap_or_default();
        versions.iter().filter_map(|version| version["version"].as_str().map(str::to_owned)).collect()
    }

    /// Panics unless neither files nor packages nor spool files are there.
    pub(crate) async fn holds_nothing(&self, after: &str) {
        stored::spool_is_empty(self.weir.data()).await;
        let kept = stored::kept(self.weir.data());
        assert!(kept.is_empty(), "{after} left {kept:?}");
        for repository in ["main", "pypi-store"] {
            let path = format!("/v1/packages?domain=local&repository={repository}");
            let answer = self.weir.api("POST", &path, "").await;
            let packages = answer.assert_status(200).json()["packages"].clone();
            assert_eq!(packages, json!([]), "{after} left packages in {repository}");
        }
    }

    /// Everything that a page of `main` advertises is there and is what the page says, in both forms; gives
    /// how many files, metadata and provenances that were. Fetching can change the page, so it is read first.
    pub(crate) async fn keeps_its_promises(&self, name: &str) -> [usize; 3] {
        let (page, html) = (self.page(name).await, self.html(name).await);
        let base = format!("{}simple/{name}/", self.endpoint);
        let mut found = [0; 3];
        let links: Vec<&str> = html.lines().filter(|line| line.starts_with("<a ")).collect();
        let files = page["files"].as_array().cloned().unwrap_or_default();
        assert_eq!(links.len(), files.len(), "{html}");
        // Metadata first: fetching a file would bring it here.
        for file in &files {
            let text = |member: &str| file[member].as_str().unwrap_or_default().to_owned();
            let (url, file_name) = (format!("{base}{}", text("url")), text("filename"));
            let link = links.iter().find(|link| link.contains(&format!(">{file_name}</a>")));
            let link = link.unwrap_or_else(|| panic!("no {file_name} in {html}"));
            let metadata = file["core-metadata"]["sha256"].as_str();
            for attribute in ["data-core-metadata", "data-dist-info-metadata"] {
                let said = metadata.map(|sha256| format!(" {attribute}=\"sha256={sha256}\""));
                assert_eq!(link.contains(attribute), said.is_some(), "{link}");
                assert!(said.is_none_or(|said| link.contains(&said)), "{link}");
            }
            if let Some(sha256) = metadata {
                let answer = self.get(&format!("{url}.metadata"), &[]).await;
                assert_eq!(weir_testkit::python::sha256(&answer.assert_status(200).body), sha256, "{url}");
                found[1] += 1;
            } else {
                assert_eq!(file["core-metadata"], false, "{file}");
            }
            let provenance = file["provenance"].as_str();
            assert_eq!(link.contains("data-provenance"), provenance.is_some(), "{link}");
            if let Some(address) = provenance {
                assert!(link.contains(&format!(" data-provenance=\"{address}\"")), "{link}");
                let answer = self.get(address, &[]).await;
                assert!(answer.assert_status(200).json()["attestation_bundles"].is_array(), "{address}");
                found[2] += 1;
            }
        }
        for file in &files {
            let url = format!("{base}{}", file["url"].as_str().unwrap_or_default());
            let body = self.get(&url, &[]).await.assert_status(200).body.clone();
            found[0] += 1;
            if let Some(sha256) = file["hashes"]["sha256"].as_str() {
                assert_eq!(weir_testkit::python::sha256(&body), sha256, "{url}");
            }
            assert!(file["size"].as_u64().is_none_or(|size| size == body.len() as u64), "{file}");
        }
        found
    }
}
