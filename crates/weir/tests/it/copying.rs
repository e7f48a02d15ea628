//! `weir export` and `weir import`: an installation that moves answers as before, byte for byte, with the same keys
//! and tokens; what was cut goes on; what is damaged is told; the drill of `docs/operations.md` works as written.

use crate::running::{builder, weir};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use weir_testkit::backend::{Bucket, ObjectStore, Postgres};
use weir_testkit::output::{clean_command, run};
use weir_testkit::package::noise;
use weir_testkit::server::Builder;
use weir_testkit::sign::sign;
use weir_testkit::{NpmPackage, Output, PythonPackage, Upstream, Weir};

const NPM: &str = "/npm/d/local-000000000000";
const PYPI: &str = "/pypi/d/local-000000000000";
/// What the public registry of npm wants.
const SECRET: &str = "registry-secret";

/// An installation with something of everything, and the public registries behind it.
struct World {
    home: tempfile::TempDir,
    /// Wants `SECRET`, which is stored with its address.
    npm: Upstream,
    pypi: Upstream,
    /// A token without an end.
    robot: String,
    /// One that was revoked.
    revoked: String,
}

impl World {
    /// The world and its server, whose data folder is `source` in `home`.
    async fn start() -> (Self, Weir) {
        let (npm, pypi) = (Upstream::start().await, Upstream::start().await);
        npm.require_token(SECRET);
        npm.publish_all(&[
            NpmPackage::new("later", "1.0.0"),
            NpmPackage::new("left-pad", "1.2.0").published("2024-01-02T03:04:05.000Z"),
            NpmPackage::new("left-pad", "1.3.0").file("noise", noise(300_000)),
        ]);
        let pulled = PythonPackage::new("pulled", "2.0").requires("other>=1");
        pypi.publish_distributions(&[pulled.wheel(), pulled.sdist()]);
        let home = tempfile::tempdir().expect("a temporary folder can be made");
        let data = home.path().join("source");
        let server = settings(&pypi).data(&data).start().await;
        let mut world = Self { home, npm, pypi, robot: String::new(), revoked: String::new() };
        world.furnish(&server).await;
        (world, server)
    }

    async fn furnish(&mut self, server: &Weir) {
        let ok = async |arguments: &[&str]| server.cli(arguments).await.assert_ok().stdout.trim().to_owned();
        ok(&["user", "create", "ci", "--policy", "publish"]).await;
        self.robot = ok(&["token", "create", "--user", "ci", "--description", "robot"]).await;
        self.revoked = ok(&["token", "create", "--user", "ci", "--description", "revoked"]).await;
        let tokens = server.cli(&["token", "list", "--json"]).await.assert_ok().json();
        let revoked = tokens["tokens"].as_array().into_iter().flatten();
        let revoked = revoked.filter(|token| token["description"] == "revoked");
        for token in revoked.filter_map(|token| token["id"].as_str()) {
            ok(&["token", "delete", token]).await;
        }
        let file = self.home.path().join("token");
        fs_err::write(&file, SECRET).expect("a temporary folder can be written");
        let file = file.display().to_string();
        ok(&["connections", "set", "public:npmjs", &self.npm.url(), "--token-file", &file]).await;
        let api = async |path: &str, body: &str| {
            server.api("POST", path, body).await.assert_status(200);
        };
        api("/v1/repository?domain=local&repository=other", r#"{"upstreams": [{"repositoryName": "main"}]}"#)
            .await;
        for package in [
            NpmPackage::new("own", "1.0.0"),
            NpmPackage::new("own", "1.1.0").file("noise", noise(200_000)),
            NpmPackage::new("own", "2.0.0-rc.1").tag("next"),
            NpmPackage::new("own", "0.9.0").tag("old"),
            NpmPackage::new("widget", "1.0.0").scope("acme"),
        ] {
            self.publish(server, &package).await;
        }
        let own = "domain=local&repository=main&format=npm&package=own";
        api(&format!("/v1/package/versions/delete?{own}"), &json!({ "versions": ["0.9.0"] }).to_string())
            .await;
        let archive = json!({ "versions": ["1.0.0"], "targetStatus": "Unlisted" }).to_string();
        api(&format!("/v1/package/versions/update_status?{own}"), &archive).await;
        let put = json!({ "restrictions": { "publish": "ALLOW", "upstream": "BLOCK" } }).to_string();
        api("/v1/package?domain=local&repository=main&format=npm&namespace=acme&package=widget", &put).await;
        let tags = json!({ "tags": [{ "key": "team", "value": "blue" }] }).to_string();
        let arn = "arn:aws:codeartifact:us-east-1:000000000000:repository/local/main";
        api(&format!("/v1/tag?resourceArn={arn}"), &tags).await;
        self.upload(server, &PythonPackage::new("mine", "1.0").readme("Mine.")).await;
        self.publish_generic(server, "1.0", "tool.bin", &noise(100_000)).await;
        for path in
            [format!("{NPM}/main/left-pad/-/left-pad-1.3.0.tgz"), format!("{NPM}/other/own/-/own-1.1.0.tgz")]
        {
            server.get(&path, &self.robot).await.assert_status(200);
        }
        for file in self.python_files(server, "pulled").await {
            server.get(&file, &self.robot).await.assert_status(200);
        }
    }

    async fn publish(&self, server: &Weir, package: &NpmPackage) {
        let document = package.publish_document("http://publisher.example.test").to_string();
        let bearer = format!("Bearer {}", self.robot);
        let path = format!("{NPM}/main/{}", package.full_name().replace('/', "%2f"));
        let answer = server.send("PUT", &path, &[("authorization", &bearer)], document.as_bytes()).await;
        answer.assert_status(201);
    }

    async fn upload(&self, server: &Weir, package: &PythonPackage) {
        let bearer = format!("Bearer {}", self.robot);
        for distribution in [package.wheel(), package.sdist()] {
            let (kind, body) = distribution.upload_form();
            let headers = [("authorization", bearer.as_str()), ("content-type", kind.as_str())];
            server.send("POST", &format!("{PYPI}/main/"), &headers, &body).await.assert_status(200);
        }
    }

    async fn publish_generic(&self, server: &Weir, version: &str, asset: &str, body: &[u8]) {
        let url = format!(
            "{}/v1/package/version/publish?domain=local&repository=main&format=generic&namespace=team&package=tool\
             &version={version}&asset={asset}",
            server.url()
        );
        let digest = hex::encode(Sha256::digest(body));
        let mut headers = vec![("x-amz-content-sha256", digest.as_str())];
        let signature = sign("POST", &url, &headers, body, &server.credentials());
        headers.extend(signature.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        weir_testkit::http::send("POST", &url, &headers, body.to_vec()).await.assert_status(200);
    }

    /// The files on the page of a Python project, below the server's address.
    async fn python_files(&self, server: &Weir, project: &str) -> Vec<String> {
        let bearer = format!("Bearer {}", self.robot);
        let headers = [("authorization", bearer.as_str()), ("accept", "application/vnd.pypi.simple.v1+json")];
        let page = format!("{PYPI}/main/simple/{project}/");
        let page = server.send("GET", &page, &headers, b"").await.assert_status(200).json();
        let files = page["files"].as_array().into_iter().flatten();
        files
            .filter_map(|file| file["url"].as_str())
            .map(|url| format!("{PYPI}/main/simple/{project}/{url}"))
            .collect()
    }

    /// Everything that is to be the same after a move: by question, what was answered.
    async fn answers(&self, server: &Weir) -> BTreeMap<String, String> {
        let mut answers = BTreeMap::new();
        let mut note = |question: String, answer: weir_testkit::Answer| {
            let digest = hex::encode(Sha256::digest(&answer.body));
            let body = std::str::from_utf8(&answer.body).map_or(digest, str::to_owned);
            let tag = answer.header("etag").to_owned();
            answers.insert(question, format!("{} {tag} {body}", answer.status));
        };
        let mut paths = vec![
            format!("{NPM}/main/own"),
            format!("{NPM}/main/@acme%2fwidget"),
            format!("{NPM}/main/left-pad"),
            format!("{NPM}/other/own"),
            format!("{NPM}/main/own/-/own-1.1.0.tgz"),
            format!("{NPM}/main/own/-/own-0.9.0.tgz"),
            format!("{NPM}/main/left-pad/-/left-pad-1.3.0.tgz"),
            format!("{NPM}/other/own/-/own-1.1.0.tgz"),
            format!("{PYPI}/main/simple/"),
            format!("{PYPI}/main/simple/mine/"),
            format!("{PYPI}/main/simple/pulled/"),
        ];
        paths.extend(self.python_files(server, "mine").await);
        paths.extend(self.python_files(server, "pulled").await);
        for path in paths {
            let answer = server.get(&path, &self.robot).await;
            assert!(answer.status == 200 || path.contains("0.9.0"), "{path}: {}", answer.text());
            note(path, answer);
        }
        server.get(&format!("{NPM}/main/own"), &self.revoked).await.assert_status(401);
        let bearer = format!("Bearer {}", self.robot);
        let abbreviated = [("authorization", &*bearer), ("accept", "application/vnd.npm.install-v1+json")];
        note(
            "abbreviated".to_owned(),
            server.send("GET", &format!("{NPM}/main/own"), &abbreviated, b"").await,
        );
        let of = |repository: &str| format!("domain=local&repository={repository}");
        let own = "&format=npm&package=own";
        let arn = "arn:aws:codeartifact:us-east-1:000000000000:repository/local/main";
        for (method, path) in [
            ("GET", "/v1/domain?domain=local".to_owned()),
            ("POST", "/v1/domain/repositories?domain=local".to_owned()),
            ("GET", format!("/v1/repository?{}", of("main"))),
            ("GET", format!("/v1/repository?{}", of("other"))),
            ("POST", format!("/v1/packages?{}", of("main"))),
            ("POST", format!("/v1/packages?{}", of("npm-store"))),
            ("POST", format!("/v1/packages?{}", of("pypi-store"))),
            ("POST", format!("/v1/packages?{}", of("other"))),
            ("POST", format!("/v1/package/versions?{}{own}", of("main"))),
            ("GET", format!("/v1/package?{}{own}", of("main"))),
            ("GET", format!("/v1/package?{}&format=npm&namespace=acme&package=widget", of("main"))),
            ("GET", format!("/v1/package/version?{}{own}&version=1.1.0", of("main"))),
            ("POST", format!("/v1/package/version/assets?{}{own}&version=1.1.0", of("main"))),
            (
                "GET",
                format!(
                    "/v1/package/version/asset?{}&format=generic&namespace=team&package=tool&version=1.0&asset=tool.bin",
                    of("main")
                ),
            ),
            ("POST", format!("/v1/tags?resourceArn={arn}")),
        ] {
            let answer = server.api(method, &path, "").await;
            note(format!("{method} {path}"), answer.assert_status(200).clone());
        }
        for command in [["user", "list", "--json"], ["token", "list", "--json"], ["key", "list", "--json"]] {
            let listed = server.cli(&command).await.assert_ok().json();
            answers.insert(command.join(" "), listed.to_string());
        }
        answers
    }

    /// What was sealed opens: the public registry gives what was never asked for.
    async fn credentials_work(&self, server: &Weir) {
        let path = format!("{NPM}/main/later/-/later-1.0.0.tgz");
        server.get(&path, &self.robot).await.assert_status(200);
    }

    fn key(&self) -> String {
        let key = fs_err::read_to_string(self.home.path().join("source/master.key")).expect("it was made");
        key.trim().to_owned()
    }
}

fn settings(pypi: &Upstream) -> Builder {
    // One address for all of them, so that answers are the same to the last byte, their tags too.
    builder().pypi(&pypi.pypi_url()).flag("--public-url", "http://packages.example.test")
}

/// Settings of a command as variables.
struct Place(Vec<(String, String)>);

impl Place {
    fn folder(data: &Path) -> Self {
        Self(vec![("WEIR_DATA".to_owned(), data.display().to_string())])
    }

    fn shared(data: &Path, postgres: &Postgres, bucket: &Bucket) -> Self {
        let mut place = Self::folder(data);
        place.set("WEIR_DATABASE_URL", postgres.url());
        place.set("WEIR_BLOB_URL", &bucket.blob_url());
        for (name, value) in bucket.variables() {
            place.set(name, value);
        }
        place
    }

    fn set(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), value.to_owned()));
    }

    async fn weir(&self, home: &Path, arguments: &[&str]) -> Output {
        let variables: Vec<_> = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        weir(home, &variables, arguments).await
    }
}

fn same(left: &BTreeMap<String, String>, right: &BTreeMap<String, String>) {
    for (question, answer) in left {
        assert_eq!(Some(answer), right.get(question), "{question}");
    }
    assert_eq!(left.len(), right.len());
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_moves_to_postgresql_and_s3_and_back_and_answers_as_before() {
    let (Some(postgres), Some(bucket)) = (Postgres::shared_database().await, ObjectStore::bucket().await)
    else {
        return;
    };
    let (world, server) = World::start().await;
    let home = world.home.path().to_owned();
    let path = |name: &str| home.join(name).display().to_string();
    let before = world.answers(&server).await;
    let source = Place::folder(&home.join("source"));
    let there = path("there");
    source.weir(&home, &["export", &there]).await.assert_fails().assert_says("weir serve").assert_says("pid");
    let (pypi, key) = (&world.pypi, world.key());
    let credentials = fs_err::read(home.join("source/credentials")).expect("they were made");
    assert_eq!(server.stop().await, Some(0));
    let exported = source.weir(&home, &["export", &there, "--json"]).await.assert_ok().json();
    assert!(number(&exported["files"]["count"]) >= 10, "{exported}");
    assert_eq!((&exported["lost"], &exported["withKey"]), (&json!([]), &json!(false)), "{exported}");
    assert!(!Path::new(&there).join("master.key").exists());
    let second = source.weir(&home, &["export", &there, "--json"]).await.assert_ok().json();
    assert_eq!(second["copied"]["count"], 0, "{second}");

    let target = Place::shared(&home.join("node"), &postgres, &bucket);
    let imported = target.weir(&home, &["import", &there]).await;
    let fingerprint = exported["masterKey"].as_str().expect("it has a key");
    imported.assert_ok().assert_says(fingerprint).assert_says("--master-key-file");
    let twice = target.weir(&home, &["import", &there]).await;
    twice.assert_fails().assert_says("not empty");
    fs_err::write(home.join("node/credentials"), &credentials).expect("the folder is there");
    let node = settings(pypi).database(&postgres).env("WEIR_MASTER_KEY", &key).objects(&bucket);
    let node = node.data(&home.join("node")).start().await;
    same(&before, &world.answers(&node).await);
    assert!(bucket.objects().iter().any(|name| name.starts_with("domains/")));

    // Beside the running node, and back into a folder, with the key.
    let back = path("back");
    let mut beside = target;
    beside.set("WEIR_MASTER_KEY", &key);
    beside.weir(&home, &["export", &back, "--with-keys"]).await.assert_ok();
    assert!(!Path::new(&back).join("work").exists());
    drop(node);
    let last = Place::folder(&home.join("last"));
    last.weir(&home, &["import", &back]).await.assert_ok().assert_says("master.key");
    fs_err::write(home.join("last/credentials"), &credentials).expect("the folder is there");
    let server = settings(pypi).data(&home.join("last")).start().await;
    same(&before, &world.answers(&server).await);
    world.credentials_work(&server).await;
}

/// Publishes so many packages with a file of their own.
async fn publish_many(server: &Weir, count: usize) {
    let token = server.token("local").await;
    let bearer = format!("Bearer {token}");
    for number in 0..count {
        let package =
            NpmPackage::new(&format!("many-{number}"), "1.0.0").file("noise", noise(10_000 + number));
        let document = package.publish_document("http://publisher.example.test").to_string();
        let path = format!("{NPM}/main/{}", package.full_name());
        let answer = server.send("PUT", &path, &[("authorization", &bearer)], document.as_bytes()).await;
        answer.assert_status(201);
    }
}

/// Imports with a kill after ever longer times, until one comes to its end; gives how many were killed, and after
/// how many of those the database was refused to others.
async fn import_with_kills(place: &Place, home: &Path, folder: &str) -> (usize, usize) {
    let (mut kills, mut refusals) = (0, 0);
    let mut patience = Duration::from_millis(8);
    loop {
        let mut command = clean_command(env!("CARGO_BIN_EXE_weir"), home);
        command.current_dir(home).args(["import", folder]).envs(place.0.iter().cloned());
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("weir is started");
        if let Ok(ended) = tokio::time::timeout(patience, child.wait()).await {
            let ended = ended.expect("it is a child of ours");
            let output = child.wait_with_output().await.expect("it is a child of ours");
            let told = String::from_utf8_lossy(&output.stderr);
            // The last kill may have come between the end of the import and that of the process.
            assert!(ended.success() || (kills > 0 && told.contains("not empty")), "{told}");
            return (kills, refusals);
        }
        child.kill().await.expect("a child of ours can be killed");
        kills += 1;
        // Small steps, so that on a fast machine too some kills fall between the beginning and the end.
        patience = patience.mul_f64(1.1);
        assert!(kills < 100, "the import does not come to its end");
        // Before the import has begun the database is a new one like any other.
        let other = place.weir(home, &["export", "of-half"]).await;
        refusals += usize::from(other.says("the beginning of an import") && other.says("weir import"));
    }
}

/// What tells two exports of the same rows apart from others: rows of each table, and files.
fn contents(folder: &Path) -> BTreeMap<String, Value> {
    let text = fs_err::read_to_string(folder.join("manifest.json")).expect("an export");
    let manifest: Value = serde_json::from_str(&text).expect("JSON");
    let tables = manifest["tables"].as_array().into_iter().flatten();
    let rows = tables.map(|table| (table["name"].to_string(), table["rows"].clone()));
    rows.chain([("files".to_owned(), manifest["files"].clone())]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_killed_again_and_again_brings_everything() {
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let home = home.path();
    let server = builder().data(&home.join("source")).start().await;
    publish_many(&server, 120).await;
    assert_eq!(server.stop().await, Some(0));
    let folder = home.join("export").display().to_string();
    Place::folder(&home.join("source")).weir(home, &["export", &folder]).await.assert_ok();
    let before = contents(Path::new(&folder));
    let (postgres, bucket) = (Postgres::shared_database().await, ObjectStore::bucket().await);
    let shared = postgres.as_ref().zip(bucket.as_ref());
    let shared = shared.map(|(postgres, bucket)| Place::shared(&home.join("node"), postgres, bucket));
    for (index, place) in
        [Some(Place::folder(&home.join("target"))), shared].into_iter().flatten().enumerate()
    {
        let (kills, refusals) = import_with_kills(&place, home, &folder).await;
        assert!(kills > 2 && refusals > 0, "{kills} kills, {refusals} refusals");
        let check = home.join(format!("check-{index}"));
        place.weir(home, &["export", &check.display().to_string()]).await.assert_ok();
        assert_eq!(contents(&check), before);
        place.weir(home, &["import", &folder]).await.assert_fails().assert_says("not empty");
    }
}

/// The files of versions in a blob folder.
fn files(blobs: &Path) -> Vec<PathBuf> {
    let (mut open, mut found) = (vec![blobs.join("domains")], Vec::new());
    while let Some(folder) = open.pop() {
        for entry in fs_err::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.retain(|path| path.components().any(|part| part.as_os_str() == "sha256"));
    found.sort();
    found
}

fn spoil(path: &Path) {
    let mut bytes = fs_err::read(path).expect("it is there");
    *bytes.last_mut().expect("it has bytes") ^= 1;
    fs_err::write(path, bytes).expect("it can be written");
}

fn digest_of(path: &Path) -> String {
    let parts: Vec<_> = path.iter().rev().take(2).map(|part| part.to_string_lossy()).collect();
    format!("{}{}", parts[1], parts[0])
}

#[tokio::test]
async fn damaged_files_are_told_by_the_export_and_refused_by_the_import() {
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let home = home.path();
    let server = builder().data(&home.join("source")).start().await;
    publish_many(&server, 3).await;
    assert_eq!(server.stop().await, Some(0));
    let source = Place::folder(&home.join("source"));
    let kept = files(&home.join("source/blobs"));
    assert_eq!(kept.len(), 3);
    spoil(&kept[0]);
    let export = source.weir(home, &["export", "export"]).await;
    export.assert_says(&digest_of(&kept[0])).assert_says("missing or damaged").assert_says("exported to");
    assert_eq!(export.code, Some(1), "{export}");
    let told = source.weir(home, &["export", "export", "--json"]).await;
    assert_eq!(
        (told.code, &told.json()["lost"][0]["sha256"]),
        (Some(1), &json!(digest_of(&kept[0]))),
        "{told}"
    );
    let exported = files(&home.join("export/blobs"));
    assert_eq!(exported.len(), 2);

    let target = Place::folder(&home.join("target"));
    target.weir(home, &["import", "export"]).await.assert_ok().assert_says("when the export was made");
    spoil(&exported[0]);
    let target = Place::folder(&home.join("second"));
    let refused = target.weir(home, &["import", "export"]).await;
    let named = exported[0].strip_prefix(home).expect("it is below").display().to_string();
    refused.assert_fails().assert_says(&named).assert_says("--skip-damaged");
    target.weir(home, &["export", "other"]).await.assert_fails().assert_says("the beginning of an import");
    let passed = target.weir(home, &["import", "export", "--skip-damaged"]).await;
    assert_eq!(
        passed.assert_says("passed over").assert_says(&digest_of(&exported[0])).code,
        Some(1),
        "{passed}"
    );
    let nothing = target.weir(home, &["import", "nowhere"]).await;
    nothing.assert_fails().assert_says("holds no export").assert_says("nowhere");
}

#[tokio::test]
async fn an_import_makes_no_master_key_and_refuses_another_one() {
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let home = home.path();
    assert_eq!(builder().data(&home.join("source")).start().await.stop().await, Some(0));
    let key = fs_err::read_to_string(home.join("source/master.key")).expect("it was made");
    let source = Place::folder(&home.join("source"));
    let exported = source.weir(home, &["export", "export", "--json"]).await.assert_ok().json();
    let fingerprint = exported["masterKey"].as_str().expect("a key");

    let mut other = Place::folder(&home.join("target"));
    other.set("WEIR_MASTER_KEY", &"ab".repeat(32));
    let refused = other.weir(home, &["import", "export"]).await;
    refused.assert_fails().assert_says(fingerprint).assert_says("WEIR_MASTER_KEY");
    let target = Place::folder(&home.join("target"));
    target.weir(home, &["import", "export"]).await.assert_ok().assert_says(fingerprint);
    assert!(!home.join("target/master.key").exists());
    let refused = builder().data(&home.join("target")).start_refused().await;
    refused.assert_says("missing").assert_says(fingerprint);
    let server = builder().data(&home.join("target")).env("WEIR_MASTER_KEY", key.trim()).start().await;
    assert_eq!(server.stop().await, Some(0));

    source.weir(home, &["export", "export", "--with-keys"]).await.assert_ok();
    assert_eq!(fs_err::read_to_string(home.join("export/master.key")).expect("it was written"), key);
    use std::os::unix::fs::PermissionsExt as _;
    let mode =
        |name: &str| fs_err::metadata(home.join(name)).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode("export"), mode("export/master.key")), (0o700, 0o600));
    let again = source.weir(home, &["export", "export"]).await;
    again.assert_ok().assert_says("earlier export with keys");
    let last = Place::folder(&home.join("last"));
    last.weir(home, &["import", "export"]).await.assert_ok().assert_says("last/master.key");
    assert_eq!(builder().data(&home.join("last")).start().await.stop().await, Some(0));
}

/// The commands of `docs/operations.md` behind a mark, with this test's places.
fn drill(name: &str, home: &Path) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md");
    let text = fs_err::read_to_string(path).expect("the document is there");
    let mark = format!("<!-- drill: {name} -->\n```\n");
    let (_, rest) =
        text.split_once(&mark).unwrap_or_else(|| panic!("no block '{name}' in docs/operations.md"));
    let (block, _) = rest.split_once("```").expect("the block ends");
    let home = home.display().to_string();
    ["/var/lib/", "/backup/", "/vault/", "/srv/"]
        .iter()
        .fold(block.to_owned(), |block, place| block.replace(place, &format!("{home}{place}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drills_of_the_documentation_work_as_written() {
    let (world, server) = World::start().await;
    let home = world.home.path().to_owned();
    let before = world.answers(&server).await;
    assert_eq!(server.stop().await, Some(0));
    for folder in ["var/lib", "backup", "vault", "srv", "bin"] {
        fs_err::create_dir_all(home.join(folder)).expect("a temporary folder can be written");
    }
    fs_err::rename(home.join("source"), home.join("var/lib/weir")).expect("it is there");
    let credentials = fs_err::read(home.join("var/lib/weir/credentials")).expect("they were made");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_weir"), home.join("bin/weir")).expect("a link");
    let perform = async |name: &str, variables: &[(&str, &str)]| {
        let mut command = clean_command("sh", &home);
        let path = format!("{}:/usr/bin:/bin", home.join("bin").display());
        command.current_dir(&home).args(["-e", "-c", &drill(name, &home)]).env("PATH", path);
        command.envs(variables.iter().copied());
        run(command).await
    };
    perform("backup", &[]).await.assert_ok();
    // The disk is gone.
    fs_err::remove_dir_all(home.join("var/lib/weir")).expect("it is there");
    perform("restore", &[]).await.assert_ok();
    fs_err::write(home.join("var/lib/weir/credentials"), &credentials).expect("the folder is there");
    let server = settings(&world.pypi).data(&home.join("var/lib/weir")).start().await;
    same(&before, &world.answers(&server).await);
    assert_eq!(server.stop().await, Some(0));

    let (Some(postgres), Some(bucket)) = (Postgres::shared_database().await, ObjectStore::bucket().await)
    else {
        return;
    };
    let (url, blob_url) = (postgres.url(), bucket.blob_url());
    let mut variables = vec![("DATABASE_URL", url), ("BLOB_URL", &blob_url)];
    variables.extend(bucket.variables());
    perform("move", &variables).await.assert_ok();
    fs_err::write(home.join("var/lib/weir-node/credentials"), &credentials).expect("the folder is there");
    let key = fs_err::read_to_string(home.join("vault/master.key")).expect("it was kept");
    let node = settings(&world.pypi).database(&postgres).env("WEIR_MASTER_KEY", key.trim()).objects(&bucket);
    let node = node.data(&home.join("var/lib/weir-node")).start().await;
    same(&before, &world.answers(&node).await);
    world.credentials_work(&node).await;
    // One moment of an installation that changes: the import would miss what its rows refer to.
    let (exported, ()) = tokio::join!(perform("backup beside nodes", &variables), publish_many(&node, 20));
    exported.assert_ok();
    perform("try a backup", &[]).await.assert_ok();
}
