//! Weir's own commands for Python packages: `weir login` for each client, `weir publish` of a folder,
//! `weir explain`, and `weir yank` as pip sees it.

use crate::pypi_world::{World, file_names};
use crate::running::weir;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use weir_testkit::{Distribution, NpmPackage, Output, PythonClient, PythonPackage};

/// What the yanked version is said to do.
const REASON: &str = "loses data";

fn demo(version: &str) -> PythonPackage {
    PythonPackage::new("weir-demo", version)
}

/// Runs `weir login TOOL --json` as the user whose home the client has.
async fn login(world: &World, client: &PythonClient, tool: &str) -> Value {
    let home = client.home();
    let mut variables = world.weir.aws_env();
    for (name, path) in [("XDG_CONFIG_HOME", home.join("config")), ("POETRY_CONFIG_DIR", home.join("poetry"))]
    {
        variables.push((name.to_owned(), path.display().to_string()));
    }
    variables.push(("WEIR_ENDPOINT".to_owned(), world.weir.url().to_owned()));
    let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let told = weir(&home, &variables, &["login", tool, "--json"]).await.assert_ok().json();
    assert_eq!(told["registry"], world.endpoint.as_str());
    told
}

/// Writes what somebody else had in a file of settings, for all to read.
fn write_foreign(path: &Path, text: &str) {
    fs_err::create_dir_all(path.parent().expect("it is in a folder")).expect("a temporary folder");
    fs_err::write(path, text).expect("a temporary folder can be written");
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o644)).expect("it is ours");
}

/// The login wrote to this file, kept every line that was there, and lets nobody else read it.
fn assert_written(path: &Path, foreign: &str) {
    let text = fs_err::read_to_string(path).expect("it is there");
    assert!(text.len() > foreign.len(), "{text}");
    for line in foreign.lines() {
        assert!(text.lines().any(|one| one == line), "no {line:?}:\n{text}");
    }
    let mode = fs_err::metadata(path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{}", path.display());
}

/// Puts a file into the client's `dist` and gives its path.
fn in_dist(client: &PythonClient, distribution: &Distribution) -> String {
    let path = format!("dist/{}", distribution.file_name);
    client.write(&path, &distribution.bytes);
    path
}

/// Runs `weir publish FOLDER --json`, which is to end with this exit code.
async fn publish(world: &World, folder: &Path, code: i32) -> Value {
    let output = world.weir.cli(&["publish", &folder.display().to_string(), "--json"]).await;
    assert_eq!(output.code, Some(code), "{output}");
    output.json()
}

/// Runs `weir yank` for `pypi`.
async fn yank(world: &World, arguments: &[&str]) -> Output {
    world.weir.cli(&[&["yank", "pypi"], arguments].concat()).await
}

#[tokio::test]
async fn pip_installs_with_what_weir_login_wrote() {
    let Some(pip) = PythonClient::pip() else { return };
    let world = World::start().await;
    world.publish(&demo("1.0").requires("leaf-pkg")).await;
    world.upstream.publish_distribution(&PythonPackage::new("leaf-pkg", "1.2").wheel());
    let (file, foreign) = (pip.home().join("config/pip/pip.conf"), "# mine\n[global]\ntimeout = 21\n");
    write_foreign(&file, foreign);
    let told = login(&world, &pip, "pip").await;
    assert_eq!((&told["file"], &told["index"]), (&json!(file), &json!(world.index())));
    assert_written(&file, foreign);
    pip.run(&["install", "weir-demo"]).await.assert_ok();
    let installed = ["weir-demo", "leaf-pkg"].map(|name| pip.installed(name));
    assert_eq!(installed, [Some("1.0".to_owned()), Some("1.2".to_owned())]);
    // A second login takes the place of the first.
    login(&world, &pip, "pip").await;
    let text = fs_err::read_to_string(&file).expect("it is there");
    assert_eq!(text.matches("index-url").count(), 1, "{text}");
}

#[tokio::test]
async fn uv_installs_and_publishes_with_what_weir_login_wrote() {
    let Some(uv) = PythonClient::uv() else { return };
    let world = World::start().await;
    let (file, foreign) = (uv.home().join("config/uv/uv.toml"), "# mine\nlink-mode = \"copy\"\n");
    write_foreign(&file, foreign);
    let told = login(&world, &uv, "uv").await;
    assert_eq!((&told["file"], &told["name"]), (&json!(file), &json!("weir")));
    assert_written(&file, foreign);
    let wheel = demo("1.0").wheel();
    let path = in_dist(&uv, &wheel);
    uv.run(&["publish", "--index", "weir", "--trusted-publishing=never", &path]).await.assert_ok();
    assert_eq!(file_names(&world.page("weir-demo").await), [wheel.file_name]);
    uv.run(&["pip", "install", "weir-demo"]).await.assert_ok();
    assert_eq!(uv.installed("weir-demo").as_deref(), Some("1.0"));
}

#[tokio::test]
async fn poetry_publishes_and_installs_with_what_weir_login_wrote() {
    let Some(poetry) = PythonClient::poetry() else { return };
    let world = World::start().await;
    let folder = poetry.home().join("poetry");
    let files = [
        (folder.join("auth.toml"), "# mine\n[http-basic.other]\nusername = \"me\"\npassword = \"x\"\n"),
        (folder.join("config.toml"), "# mine\n[virtualenvs]\nin-project = true\n"),
    ];
    for (file, foreign) in &files {
        write_foreign(file, foreign);
    }
    let told = login(&world, &poetry, "poetry").await;
    assert_eq!((&told["file"], &told["config"]), (&json!(files[0].0), &json!(files[1].0)));
    for (file, foreign) in &files {
        assert_written(file, foreign);
    }
    let wheel = demo("1.0").wheel();
    in_dist(&poetry, &wheel);
    let project = |name: &str, version: &str, requirements: &[&str]| {
        format!(
            "[project]\nname = {name:?}\nversion = {version:?}\ndescription = \"A project.\"\n\
             requires-python = \">=3.9\"\ndependencies = {requirements:?}\n"
        )
    };
    poetry.write("pyproject.toml", project("weir-demo", "1.0", &[]));
    poetry.run(&["publish", "-r", "weir"]).await.assert_ok();
    assert_eq!(file_names(&world.page("weir-demo").await), [wheel.file_name]);

    poetry.write("pyproject.toml", project("project", "0.1", &["weir-demo"]));
    let next = told["next"].as_str().expect("it says what to type");
    let words: Vec<&str> = next.split(' ').skip(1).collect();
    poetry.run(&words).await.assert_ok();
    poetry.run(&["install", "--no-root"]).await.assert_ok();
    assert_eq!(poetry.installed("weir-demo").as_deref(), Some("1.0"));
}

#[tokio::test]
async fn twine_uploads_with_what_weir_login_wrote() {
    let Some(twine) = PythonClient::twine() else { return };
    let world = World::start().await;
    let (file, foreign) = (twine.home().join(".pypirc"), "# mine\n[other]\nusername = me\n");
    write_foreign(&file, foreign);
    let told = login(&world, &twine, "twine").await;
    assert_eq!(told["file"], json!(file));
    assert_written(&file, foreign);
    let (wheel, sdist) = (demo("1.0").wheel(), demo("1.0").sdist());
    let paths = [&wheel, &sdist].map(|one| in_dist(&twine, one));
    let command = ["upload", "--non-interactive", "--disable-progress-bar", "-r", "weir"];
    let paths = paths.each_ref().map(String::as_str);
    twine.run(&[&command[..], &paths].concat()).await.assert_ok();
    assert_eq!(file_names(&world.page("weir-demo").await), [wheel.file_name, sdist.file_name]);
}

#[tokio::test]
async fn weir_publish_sends_what_is_missing_and_fails_only_what_is_broken() {
    let world = World::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (wheel, sdist) = (demo("1.0").wheel(), demo("1.0").sdist());
    let tarball = NpmPackage::new("widget", "1.0.0").scope("acme");
    let broken = PythonPackage::new("broken", "1.0").wheel().with_bytes("this is no archive");
    let below = folder.path().join("dist");
    fs_err::create_dir(&below).expect("a temporary folder can be written");
    for one in [&wheel, &sdist, &broken] {
        fs_err::write(below.join(&one.file_name), &one.bytes).expect("a temporary folder can be written");
    }
    fs_err::write(folder.path().join(tarball.file_name()), tarball.tarball()).expect("so can this");

    let mut reasons = Vec::new();
    for (published, present) in [(3, 0), (0, 3)] {
        let told = publish(&world, folder.path(), 1).await;
        assert_eq!((&told["published"], &told["present"]), (&json!(published), &json!(present)), "{told:#}");
        let failed = told["failed"].as_array().expect("a list");
        assert_eq!(
            (failed.len(), &failed[0]["file"]),
            (1, &json!(below.join(&broken.file_name))),
            "{told:#}"
        );
        reasons.push(failed[0]["error"].clone());
    }
    assert_eq!(reasons[0], reasons[1]);
    let reason = reasons[0].as_str().expect("a sentence");
    assert!(reason.contains("400") && reason.contains("zip"), "the server's reason: {reason}");
    assert_eq!(file_names(&world.page("weir-demo").await), [&*wheel.file_name, &*sdist.file_name]);
    assert_eq!(world.projects("main").await, ["weir-demo"], "of the broken one nothing is kept");

    fs_err::remove_file(below.join(&broken.file_name)).expect("it is there");
    let told = publish(&world, folder.path(), 0).await;
    assert_eq!(told, json!({ "published": 0, "present": 3, "failed": [] }));
}

#[tokio::test]
async fn weir_publish_refuses_a_file_that_is_there_with_other_bytes() {
    let world = World::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (wheel, sdist) = (demo("1.0").wheel(), demo("1.0").sdist());
    world.upload(&wheel).await.assert_status(200);
    let other = demo("1.0").file("weir_demo/more.py", "MORE = True\n").wheel();
    for one in [&other, &sdist] {
        fs_err::write(folder.path().join(&one.file_name), &one.bytes).expect("a temporary folder");
    }
    let told = publish(&world, folder.path(), 1).await;
    assert_eq!((&told["published"], &told["present"]), (&json!(1), &json!(0)), "{told:#}");
    let error = told["failed"][0]["error"].as_str().unwrap_or_default();
    assert!(error.contains("is there with other bytes"), "{told:#}");
    assert_eq!(world.page("weir-demo").await["files"][0]["hashes"]["sha256"], wheel.sha256());
}

#[tokio::test]
async fn weir_explain_finds_a_version_in_any_spelling_and_says_who_supplied_it() {
    let world = World::start().await;
    world.publish(&demo("1.0")).await;
    world.upstream.publish_distribution(&PythonPackage::new("Leaf.Pkg", "2.0").wheel());
    for (asked, supplier) in [
        ("Weir_Demo@1.0.0", "repository 'main'"),
        ("weir-demo@1.0", "repository 'main'"),
        ("leaf_pkg@v2", "public:pypi (connection of repository 'pypi-store')"),
    ] {
        let told = world.weir.cli(&["explain", "pypi", asked, "--json"]).await.assert_ok().json();
        assert_eq!(
            (&told["outcome"], &told["suppliedBy"]),
            (&json!("offered"), &json!(supplier)),
            "{told:#}"
        );
        let text = world.weir.cli(&["explain", "pypi", asked]).await;
        text.assert_ok().assert_says(&format!("supplied by: {supplier}"));
    }
    let told = world.weir.cli(&["explain", "pypi", "weir-demo@1.0.1", "--json"]).await.assert_ok().json();
    assert_eq!((&told["outcome"], &told["suppliedBy"]), (&json!("unknown"), &json!(null)), "{told:#}");
}

#[tokio::test]
async fn pip_passes_a_yanked_version_over_until_that_is_taken_back() {
    let world = World::start().await;
    for version in ["0.9", "1.0"] {
        world.publish(&demo(version)).await;
    }
    let before = world.page("weir-demo").await;
    let told = yank(&world, &["weir-demo@1.0", "--reason", REASON, "--json"]).await.assert_ok().json();
    assert_eq!((&told["version"], &told["yanked"]), (&json!("1.0"), &json!(true)));
    let page = world.page("weir-demo").await;
    assert_eq!(page["versions"], json!(["0.9", "1.0"]));
    for file in page["files"].as_array().expect("a list") {
        let is_yanked = file["filename"].as_str().is_some_and(|name| name.starts_with("weir_demo-1.0"));
        let yanked = if is_yanked { json!(REASON) } else { json!(false) };
        assert_eq!(file.get("yanked").unwrap_or(&json!(false)), &yanked, "{file:#}");
    }
    let html = world.get("simple/weir-demo/", &[("accept", "text/html")]).await.text();
    for line in html.lines().filter(|line| line.contains("<a ")) {
        let is_yanked = line.contains(&format!("data-yanked=\"{REASON}\""));
        assert_eq!(is_yanked, line.contains("weir_demo-1.0"), "{line}");
    }

    if let Some(pip) = world.pip() {
        let plain = pip.install(&["weir-demo"]).await;
        assert!(!plain.assert_ok().says(REASON), "{plain}");
        assert_eq!(pip.installed("weir-demo").as_deref(), Some("0.9"));
        pip.install(&["weir-demo==1.0"]).await.assert_ok().assert_says("yanked").assert_says(REASON);
        assert_eq!(pip.installed("weir-demo").as_deref(), Some("1.0"));
    }
    // The version is said in any spelling, and another reason takes the place of the first.
    yank(&world, &["Weir.Demo@v1.0.0"]).await.assert_ok();
    let html = world.get("simple/weir-demo/", &[("accept", "text/html")]).await.text();
    assert_eq!(html.matches("data-yanked=\"\"").count(), 2, "{html}");

    yank(&world, &["weir-demo@1.0", "--undo"]).await.assert_ok().assert_says("is no longer yanked");
    assert_eq!(world.page("weir-demo").await["files"], before["files"]);
    if let Some(pip) = world.pip() {
        pip.install(&["weir-demo"]).await.assert_ok();
        assert_eq!(pip.installed("weir-demo").as_deref(), Some("1.0"));
    }
}

#[tokio::test]
async fn what_cannot_be_yanked_is_refused_with_a_reason() {
    let world = World::start().await;
    let public = PythonPackage::new("leaf-pkg", "1.2").wheel();
    world.upstream.publish_distribution(&public);
    let unheld = yank(&world, &["leaf-pkg@1.2"]).await;
    unheld.assert_fails().assert_says("what comes from upstream is changed there");
    let file = format!("simple/leaf-pkg/1.2/{}", public.file_name);
    world.get(&file, &[]).await.assert_status(200);
    let held = yank(&world, &["leaf-pkg@1.2", "--reason", REASON]).await;
    held.assert_fails().assert_says("came from a public registry");
    assert!(!world.page("leaf-pkg").await.to_string().contains(REASON));

    let npm = world.weir.cli(&["yank", "npm", "left-pad@1.3.0"]).await;
    npm.assert_fails().assert_says("npm versions cannot be yanked").assert_says("npm deprecate");
    yank(&world, &["weir-demo"]).await.assert_fails().assert_says("write PACKAGE@VERSION");
    yank(&world, &["weir-demo@1.0"]).await.assert_fails().assert_says("weir-demo");
    world.publish(&demo("1.0")).await;
    yank(&world, &["weir-demo@1.1"]).await.assert_fails().assert_says("weir-demo@1.1");
    yank(&world, &["weir-demo@one"]).await.assert_fails().assert_says("one");
    yank(&world, &["weir-demo@1.0", "--reason", "two\nlines"])
        .await
        .assert_fails()
        .assert_says("control character");
    let both = yank(&world, &["weir-demo@1.0", "--reason", REASON, "--undo"]).await;
    assert_eq!(both.code, Some(2), "{both}");
    assert!(!world.page("weir-demo").await.to_string().contains(REASON));
}
