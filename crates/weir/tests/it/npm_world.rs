//! What the tests of npm's protocol have in common: a fake public registry, a server whose `npm-store`
//! leads to it, requests with a token, and the words in which each client is asked for the same thing.

use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::Value;
use weir_testkit::server::Builder;
use weir_testkit::{Answer, Client, NpmPackage, Tool, Upstream, Weir};

/// Clients that run at once; more would only wait for the machine's cores.
const AT_ONCE: usize = 2;

/// A fake registry and a server in front of it.
pub(crate) struct World {
    pub(crate) upstream: Upstream,
    pub(crate) weir: Weir,
    /// A token of the administrator.
    pub(crate) token: String,
    /// The address of `main`; ends in `/`.
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
        let endpoint = weir.endpoint("local", "main", "npm").await;
        Self { upstream, weir, token, endpoint }
    }

    /// Makes a repository with these upstreams and gives its address.
    pub(crate) async fn repository(&self, name: &str, upstreams: &[&str]) -> String {
        let upstreams: Vec<Value> =
            upstreams.iter().map(|name| serde_json::json!({ "repositoryName": name })).collect();
        let body = serde_json::json!({ "upstreams": upstreams }).to_string();
        let path = format!("/v1/repository?domain=local&repository={name}");
        self.weir.api("POST", &path, &body).await.assert_status(200);
        self.weir.endpoint("local", name, "npm").await
    }

    /// Points a client at `main`.
    pub(crate) fn set_up(&self, client: &Client) {
        client.write_config(&self.endpoint, Some(&self.token));
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

    /// Publishes by a plain PUT, as npm does.
    pub(crate) async fn publish(&self, package: &NpmPackage) -> Answer {
        let document = package.publish_document("http://publisher.example.test").to_string();
        self.send("PUT", &package.full_name().replace('/', "%2f"), &[], document).await
    }

    /// The full document of a package as `main` shows it.
    pub(crate) async fn document(&self, name: &str) -> Value {
        self.get(name, &[]).await.assert_status(200).json()
    }

    /// The versions that a repository itself holds, by the control API; none where there is no record.
    pub(crate) async fn held(&self, repository: &str, package: &NpmPackage) -> Vec<String> {
        let full = package.full_name();
        let name = match full.strip_prefix('@').and_then(|full| full.split_once('/')) {
            Some((scope, name)) => format!("namespace={scope}&package={name}"),
            None => format!("package={full}"),
        };
        let path = format!("/v1/package/versions?domain=local&repository={repository}&format=npm&{name}");
        let answer = self.weir.api("POST", &path, "").await;
        if answer.status == 404 {
            return Vec::new();
        }
        let versions = answer.assert_status(200).json()["versions"].as_array().cloned().unwrap_or_default();
        versions.iter().filter_map(|version| version["version"].as_str().map(str::to_owned)).collect()
    }

    /// How many tarballs the public registry was asked for.
    pub(crate) fn tarball_calls(&self) -> usize {
        self.upstream.requests().iter().filter(|seen| seen.path.ends_with(".tgz")).count()
    }
}

/// Runs a check with every client that is here, each on a clean machine.
pub(crate) async fn each_client(check: impl AsyncFn(Client)) {
    let check = &check;
    let checks = Client::npm_family().into_iter().map(|client| async move { check(client).await });
    stream::iter(checks).buffer_unordered(AT_ONCE).collect::<()>().await;
}

/// The command that installs a project; `frozen`: exactly what the lock file says.
pub(crate) fn install_command(tool: Tool, frozen: bool) -> &'static [&'static str] {
    match (tool, frozen) {
        (Tool::Npm10 | Tool::Npm11, false) => &["install", "--no-audit"],
        (Tool::Npm10 | Tool::Npm11, true) => &["ci", "--no-audit"],
        (Tool::Yarn1, false) => &["install", "--non-interactive"],
        (Tool::Yarn1, true) => &["install", "--non-interactive", "--frozen-lockfile"],
        (Tool::Yarn4, true) => &["install", "--immutable"],
        (Tool::Pnpm | Tool::Bun, true) => &["install", "--frozen-lockfile"],
        (Tool::Yarn4 | Tool::Pnpm | Tool::Bun, false) => &["install"],
        (other, _) => panic!("{} installs no npm packages", other.name()),
    }
}

/// The lock file that a client writes.
pub(crate) fn lock_file(tool: Tool) -> &'static str {
    match tool {
        Tool::Npm10 | Tool::Npm11 => "package-lock.json",
        Tool::Yarn1 | Tool::Yarn4 => "yarn.lock",
        Tool::Pnpm => "pnpm-lock.yaml",
        Tool::Bun => "bun.lock",
        other => panic!("{} has no npm lock file", other.name()),
    }
}

/// Writes a package into a folder below the client's project, has the client publish it, and gives what it
/// said.
pub(crate) async fn publish_with(
    client: &Client,
    package: &NpmPackage,
    arguments: &[&str],
) -> weir_testkit::Output {
    let folder = client.project().join(package.full_name().replace('/', "-"));
    package.write_source(&folder);
    let command: &[&str] = match client.tool() {
        Tool::Yarn1 => &["publish", "--non-interactive"],
        Tool::Yarn4 => &["npm", "publish"],
        Tool::Pnpm => &["publish", "--no-git-checks"],
        _ => &["publish"],
    };
    if client.tool() == Tool::Yarn4 {
        // Berry publishes only from a project that it has installed.
        fs_err::write(folder.join("yarn.lock"), "").expect("a temporary folder can be written");
        client.run_in(&folder, &["install"]).await.assert_ok();
    }
    client.run_in(&folder, &[command, arguments].concat()).await
}
