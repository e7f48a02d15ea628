//! What the tests of Python's protocols have in common: a fake public index, a server whose `pypi-store` leads
//! to it, requests with a token, and clients that are pointed at `main`.

use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::Value;
use weir_testkit::server::Builder;
use weir_testkit::{Answer, Distribution, PythonClient, PythonPackage, Upstream, Weir};

/// Clients that run at once; more would only wait for the machine's cores.
const AT_ONCE: usize = 2;

/// Where the repositories of `local` lie, below the server's address.
pub(crate) const PATH: &str = "/pypi/d/local-000000000000";

/// The user name beside the token; the server takes any.
pub(crate) const USER: &str = "aws";

/// What asks for a page in JSON.
pub(crate) const JSON: (&str, &str) = ("accept", "application/vnd.pypi.simple.v1+json");

/// A fake registry and a server in front of it.
pub(crate) struct World {
    pub(crate) upstream: Upstream,
    pub(crate) weir: Weir,
    /// A token of the administrator.
    pub(crate) token: String,
    /// The address of `main`, where uploads go; ends in `/`.
    pub(crate) endpoint: String,
}

impl World {
    /// A server with the repositories of a first start.
    pub(crate) async fn start() -> Self {
        Self::start_with(|builder| builder).await
    }

    /// [`start`](Self::start) with further settings.
    pub(crate) async fn start_with(settings: impl FnOnce(Builder) -> Builder) -> Self {
        let upstream = Upstream::start().await;
        let builder =
            Weir::builder(env!("CARGO_BIN_EXE_weir")).npmjs(&upstream.url()).pypi(&upstream.pypi_url());
        let weir = settings(builder).start().await;
        let token = weir.token("local").await;
        let endpoint = weir.endpoint("local", "main", "pypi").await;
        Self { upstream, weir, token, endpoint }
    }

    /// Makes a repository with these upstreams and gives its address.
    pub(crate) async fn repository(&self, name: &str, upstreams: &[&str]) -> String {
        let upstreams: Vec<Value> =
            upstreams.iter().map(|name| serde_json::json!({ "repositoryName": name })).collect();
        let body = serde_json::json!({ "upstreams": upstreams }).to_string();
        let path = format!("/v1/repository?domain=local&repository={name}");
        self.weir.api("POST", &path, &body).await.assert_status(200);
        self.weir.endpoint("local", name, "pypi").await
    }

    /// The simple index of `main`.
    pub(crate) fn index(&self) -> String {
        format!("{}simple/", self.endpoint)
    }

    /// Lets a client install from `main`.
    pub(crate) fn set_up(&self, client: &mut PythonClient) {
        client.write_config(&self.index(), Some((USER, &self.token)));
    }

    /// Lets a client upload to `main`.
    pub(crate) fn set_up_upload(&self, client: &mut PythonClient) {
        client.write_upload_config(&self.endpoint, Some((USER, &self.token)));
    }

    /// A pip that installs from `main`; `None` after a skip line.
    pub(crate) fn pip(&self) -> Option<PythonClient> {
        let mut pip = PythonClient::pip()?;
        self.set_up(&mut pip);
        Some(pip)
    }

    /// Sends a request with the administrator's token; `path` is below `main`.
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
        weir_testkit::http::send(method, &format!("{}{path}", self.endpoint), &all, body.into()).await
    }

    /// A GET below `main`.
    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", path, headers, Vec::new()).await
    }

    /// Uploads one file by its form, as twine does.
    pub(crate) async fn upload(&self, distribution: &Distribution) -> Answer {
        self.upload_as(&self.token, distribution).await
    }

    /// [`upload`](Self::upload) with somebody else's token.
    pub(crate) async fn upload_as(&self, token: &str, distribution: &Distribution) -> Answer {
        let (kind, body) = distribution.upload_form();
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", kind.as_str())];
        weir_testkit::http::send("POST", &self.endpoint, &headers, body).await
    }

    /// Uploads the wheel and the source distribution, which must work.
    pub(crate) async fn publish(&self, package: &PythonPackage) {
        for distribution in [package.wheel(), package.sdist()] {
            self.upload(&distribution).await.assert_status(200);
        }
    }

    /// The page of a project in JSON, as `main` shows it.
    pub(crate) async fn page(&self, project: &str) -> Value {
        self.get(&format!("simple/{project}/"), &[JSON]).await.assert_status(200).json()
    }

    /// The versions that a repository itself holds, by the control API, in the order of their names, with
    /// the type of their origin; none where there is no record.
    pub(crate) async fn held(&self, repository: &str, project: &str) -> Vec<(String, String)> {
        let of = format!("domain=local&repository={repository}&format=pypi&package={project}");
        let answer = self.weir.api("POST", &format!("/v1/package/versions?{of}"), "").await;
        if answer.status == 404 {
            return Vec::new();
        }
        let versions = answer.assert_status(200).json()["versions"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut held: Vec<_> = versions
            .iter()
            .map(|version| (text(&version["version"]), text(&version["origin"]["originType"])))
            .collect();
        held.sort();
        held
    }

    /// The projects that a repository itself holds.
    pub(crate) async fn projects(&self, repository: &str) -> Vec<String> {
        let path = format!("/v1/packages?domain=local&repository={repository}&format=pypi");
        let answer = self.weir.api("POST", &path, "").await.assert_status(200).json();
        let packages = answer["packages"].as_array().into_iter().flatten();
        packages.filter_map(|package| package["package"].as_str().map(str::to_owned)).collect()
    }

    /// The names of the files that the public index was asked for, each as often as it was, without what goes
    /// with them.
    pub(crate) fn fetched_files(&self) -> Vec<String> {
        let paths = self.upstream.requests().into_iter().map(|seen| seen.path);
        let files = paths.filter(|path| path.starts_with("/files/") && !path.ends_with(".metadata"));
        let mut names: Vec<_> = files.filter_map(|path| path.rsplit('/').next().map(str::to_owned)).collect();
        names.sort();
        names
    }

    /// Makes a user with this policy and gives a token of theirs.
    pub(crate) async fn token_of(&self, name: &str, policy: &str) -> String {
        self.weir.cli(&["user", "create", name, "--policy", policy]).await.assert_ok();
        let made = self.weir.cli(&["token", "create", "--user", name]).await;
        made.assert_ok().stdout.trim().to_owned()
    }
}

/// The names of the files on a page.
pub(crate) fn file_names(page: &Value) -> Vec<&str> {
    let files = page["files"].as_array().into_iter().flatten();
    files.filter_map(|file| file["filename"].as_str()).collect()
}

/// Runs a check with every client that installs and is here, each on a clean machine.
pub(crate) async fn each_installer(check: impl AsyncFn(PythonClient)) {
    each(PythonClient::installers(), check).await;
}

/// Runs a check with every client that uploads and is here, each on a clean machine.
pub(crate) async fn each_uploader(check: impl AsyncFn(PythonClient)) {
    each(PythonClient::uploaders(), check).await;
}

async fn each(clients: Vec<PythonClient>, check: impl AsyncFn(PythonClient)) {
    let check = &check;
    let checks = clients.into_iter().map(|client| async move { check(client).await });
    stream::iter(checks).buffer_unordered(AT_ONCE).collect::<()>().await;
}

/// Empties everything that a client knows but its configuration, the lock file too.
pub(crate) fn start_over(client: &PythonClient) {
    client.forget();
    for lock in ["poetry.lock", "pdm.lock", "uv.lock"] {
        if client.read(lock).is_some() {
            fs_err::remove_file(client.project().join(lock)).expect("it is there");
        }
    }
}
