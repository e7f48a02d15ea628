//! The commands that ask a server: help, doctor and explain, and what they say when it is away.

use crate::npm_world::World;
use crate::running::{builder, weir};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use weir_testkit::{Client, NpmPackage, Output, Weir};

#[tokio::test]
async fn every_command_has_help_with_an_example() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let help = async |words: &[&str]| {
        let output = weir(folder.path(), &[], &[words, &["--help"]].concat()).await;
        output.assert_ok();
        assert!(output.stdout.contains("Usage: weir"), "{output}");
        output.stdout
    };
    let mut open: Vec<Vec<String>> = vec![Vec::new()];
    let mut seen = Vec::new();
    while let Some(words) = open.pop() {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let text = help(&words).await;
        let commands = text.lines().skip_while(|line| *line != "Commands:").skip(1);
        let below: Vec<&str> = commands
            .take_while(|line| !line.is_empty())
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        let has_example = text.contains("Example:\n  weir") || text.contains("Example:\n  WEIR_");
        assert!(has_example || words.is_empty() || !below.is_empty(), "weir {words:?}:\n{text}");
        open.extend(
            below.iter().map(|name| words.iter().chain([name]).map(|&word| word.to_owned()).collect()),
        );
        seen.push(words.join(" "));
    }
    for command in [
        "serve",
        "config",
        "gc",
        "verify",
        "doctor",
        "explain",
        "connections unpin",
        "token create",
        "login npm",
    ] {
        assert!(seen.iter().any(|one| one == command), "{command} is not in {seen:?}");
    }
    let version = weir(folder.path(), &[], &["--version"]).await;
    assert!(version.assert_ok().stdout.starts_with("weir "), "{version}");
    for arguments in [&[][..], &["unheard-of"], &["explain"], &["token", "create", "--expires"]] {
        assert_eq!(weir(folder.path(), &[], arguments).await.code, Some(2), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_away_or_does_not_know_the_key_is_told_in_a_sentence() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path();
    let key = [("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "hunter2")];
    let commands: [&[&str]; 9] = [
        &["explain", "npm", "left-pad"],
        &["connections"],
        &["connections", "set", "public:npmjs", "http://mirror.example.test/"],
        &["user", "list"],
        &["key", "list"],
        &["token", "list"],
        &["token", "create"],
        &["login", "npm", "--npmrc", "written"],
        &["publish", "."],
    ];
    let server = builder().start().await;
    fs_err::write(path.join("left-pad-1.3.0.tgz"), NpmPackage::new("left-pad", "1.3.0").tarball())
        .expect("a temporary folder can be written");
    for command in commands {
        let away = weir(path, &key, &[command, &["--endpoint", "http://127.0.0.1:9"]].concat()).await;
        away.assert_says("cannot be reached").assert_says("is 'weir serve' running there?");
        let none = weir(path, &[], &[command, &["--endpoint", server.url()]].concat()).await;
        none.assert_says("no access key was found").assert_says("AWS_ACCESS_KEY_ID");
        let wrong = weir(path, &key, &[command, &["--endpoint", server.url()]].concat()).await;
        wrong.assert_says("(403)").assert_says("AWS_ACCESS_KEY_ID");
        let nonsense = weir(path, &key, &[command, &["--endpoint", "nonsense"]].concat()).await;
        nonsense.assert_says("--endpoint: 'nonsense'");
        for output in [away, none, wrong, nonsense] {
            assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""), "{output}");
            assert!(!output.says("hunter2") && !output.says("panicked"), "{output}");
        }
    }
    assert!(!path.join("written").exists());
}

/// What `weir doctor` found, by check; of several connections what is wrong with one.
fn findings(output: &Output) -> BTreeMap<String, (bool, String)> {
    let report = output.json();
    assert_eq!(report["good"] == json!(true), output.success(), "{output}");
    let mut found: BTreeMap<String, (bool, String)> = BTreeMap::new();
    for check in report["checks"].as_array().expect("a list") {
        let text = |name: &str| check[name].as_str().unwrap_or_default().to_owned();
        if found.get(&text("check")).is_none_or(|(good, _)| *good) {
            found.insert(text("check"), (check["good"] == json!(true), text("text")));
        }
    }
    found
}

#[tokio::test]
async fn doctor_finds_nothing_where_all_is_well() {
    let world = World::start().await;
    world.upstream.publish(&NpmPackage::new("left-pad", "1.3.0"));
    world.get("left-pad", &[]).await.assert_status(200);
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let npmrc = folder.path().join(".npmrc").display().to_string();
    world.weir.cli(&["login", "npm", "--npmrc", &npmrc]).await.assert_ok();
    let report = world.weir.cli(&["doctor", "--npmrc", &npmrc, "--json"]).await;
    let found = findings(report.assert_ok());
    for check in ["endpoint", "clock", "credentials", "domain", "repository", "connection", "npmrc"] {
        assert!(found.get(check).is_some_and(|(good, _)| *good), "{check}: {found:?}");
    }
    assert!(report.says("answers"), "{report}");
    assert!(found["npmrc"].1.contains("works"), "{found:?}");
    let text = world.weir.cli(&["doctor", "--npmrc", &npmrc]).await;
    assert!(text.assert_ok().stdout.lines().all(|line| line.starts_with('✓')), "{text}");
    assert!(!text.says(&world.token) && !text.says(&world.weir.credentials().secret_access_key));
}

#[tokio::test]
async fn doctor_names_what_is_wrong_and_what_to_do() {
    let server = builder().pypi("http://127.0.0.1:9/").flag("--failed-auth-limit", "0").start().await;
    let doctor = async |arguments: &[&str]| {
        let output = server.cli(&[&["doctor", "--json"], arguments].concat()).await;
        assert_eq!(output.code, Some(1), "{output}");
        findings(&output)
    };
    let bad = |found: &BTreeMap<String, (bool, String)>, check: &str, said: &str| {
        let (good, text) = found.get(check).unwrap_or_else(|| panic!("no {check}: {found:?}"));
        assert!(!good && text.contains(said), "{check}: {text}");
    };
    bad(&doctor(&["--endpoint", "http://127.0.0.1:9"]).await, "endpoint", "cannot be reached");
    bad(&doctor(&["--endpoint", "nonsense"]).await, "endpoint", "nonsense");
    let key = ["--access-key-id", "AKIAEXAMPLE", "--secret-access-key", "hunter2"];
    bad(&doctor(&key).await, "credentials", "weir key create");
    bad(&doctor(&["--repository", "nowhere"]).await, "repository", "--repository");
    bad(&doctor(&["--domain", "nowhere"]).await, "domain", "nowhere");
    let without = doctor(&[]).await;
    bad(&without, "connection", "weir connections set public:npmjs URL");
    assert!(without["endpoint"].0 && without["repository"].0, "{without:?}");

    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let npmrc = folder.path().join("npmrc").display().to_string();
    server.cli(&["login", "npm", "--npmrc", &npmrc]).await.assert_ok();
    let tokens = server.cli(&["token", "list", "--json"]).await.assert_ok().json();
    let id = tokens["tokens"][0]["id"].as_str().expect("login made one").to_owned();
    server.cli(&["token", "delete", &id]).await.assert_ok();
    bad(&doctor(&["--npmrc", &npmrc]).await, "npmrc", "weir login npm");

    // A public registry that is down: what is held is served, and doctor tells.
    server.cli(&["connections", "set", "public:npmjs", "http://127.0.0.1:9/"]).await.assert_ok();
    let token = server.token("local").await;
    for _ in 0..6 {
        server.get("/npm/d/local-000000000000/main/left-pad", &token).await.assert_status(503);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let found = doctor(&[]).await;
    bad(&found, "connection", "does not answer");
}

/// What explain tells, as JSON; the text says the same.
async fn explain(server: &Weir, arguments: &[&str]) -> Value {
    let told = server.cli(&[&["explain", "npm"], arguments, &["--json"]].concat()).await.assert_ok().json();
    let text = server.cli(&[&["explain", "npm"], arguments].concat()).await;
    text.assert_ok();
    for name in ["question", "answer", "suppliedBy", "rule", "publish"] {
        let Some(said) = told[name].as_str() else { continue };
        text.assert_says(said);
    }
    for step in told["steps"].as_array().expect("a list") {
        text.assert_says(step.as_str().expect("a sentence"));
    }
    told
}

#[tokio::test]
async fn explain_says_who_supplied_a_version() {
    let world = World::start().await;
    let package = NpmPackage::new("left-pad", "1.3.0").published("2024-01-02T03:04:05.000Z");
    world.upstream.publish(&package);
    let told = explain(&world.weir, &["left-pad@1.3.0"]).await;
    assert_eq!((&told["outcome"], &told["rule"]), (&json!("offered"), &json!(null)), "{told:#}");
    assert_eq!(told["question"], "npm left-pad@1.3.0 in main");
    assert_eq!(told["suppliedBy"], "public:npmjs (connection of repository 'npm-store')");
    assert_eq!(told["publishTime"], json!({ "time": 1_704_164_645.0, "source": "registry" }), "{told:#}");
    let steps = told["steps"].to_string();
    let places = ["main ", "npm-store ", "public:npmjs "].map(|place| steps.find(place));
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{told:#}");
    assert_eq!(world.tarball_calls(), 0, "explain fetches no file");
    assert!(world.held("main", &package).await.is_empty(), "explain retains nothing");

    world.get(&package.tarball_path(), &[]).await.assert_status(200);
    let told = explain(&world.weir, &["left-pad@1.3.0"]).await;
    assert_eq!(told["suppliedBy"], "repository 'main'", "{told:#}");
    let told = explain(&world.weir, &["left-pad"]).await;
    assert_eq!(told["outcome"], "package", "{told:#}");
    for unknown in ["left-pad@9.9.9", "absent@1.0.0", "@acme/absent@1.0.0"] {
        let told = explain(&world.weir, &[unknown]).await;
        assert_eq!((&told["outcome"], &told["suppliedBy"]), (&json!("unknown"), &json!(null)), "{told:#}");
    }
    for (arguments, said) in [
        (&["explain", "unheard-of", "left-pad"][..], "unheard-of"),
        (&["explain", "npm", "left-pad", "--repository", "nowhere"], "nowhere"),
        (&["explain", "npm", "Left Pad"], "must not contain ' '"),
        (&["explain", "npm", "left-pad", "--principal", "nobody"], "nobody"),
    ] {
        world.weir.cli(arguments).await.assert_fails().assert_says(said);
    }
}

#[tokio::test]
async fn explain_names_the_rule_that_withholds_a_version() {
    let world = World::start().await;
    world.upstream.publish_all(&[
        NpmPackage::new("left-pad", "1.3.0"),
        NpmPackage::new("widget", "9.9.9").scope("acme"),
        NpmPackage::new("cut", "1.0.0"),
    ]);
    world.publish(&NpmPackage::new("own", "1.0.0")).await.assert_status(201);
    let path = "/v1/package/versions/update_status?domain=local&repository=main&format=npm&package=own";
    let archive = json!({ "versions": ["1.0.0"], "targetStatus": "Archived" }).to_string();
    world.weir.api("POST", path, &archive).await.assert_status(200);
    let told = explain(&world.weir, &["own@1.0.0"]).await;
    assert_eq!(told["outcome"], "withheld", "{told:#}");
    assert_eq!(told["rule"], "its status is Archived", "{told:#}");
    assert_eq!(told["suppliedBy"], "repository 'main'", "{told:#}");

    world.publish(&NpmPackage::new("widget", "1.0.0").scope("acme")).await.assert_status(201);
    let told = explain(&world.weir, &["@acme/widget@9.9.9"]).await;
    assert!(["withheld", "unknown"].contains(&told["outcome"].as_str().unwrap_or_default()), "{told:#}");
    let steps = told["steps"].to_string();
    assert!(steps.contains("INTERNAL") && steps.contains("reserve"), "{told:#}");
    world.get("@acme%2fwidget/9.9.9", &[]).await.assert_status(404);

    let path = "/v1/package?domain=local&repository=main&format=npm&package=cut";
    let block = json!({ "restrictions": { "publish": "BLOCK", "upstream": "BLOCK" } }).to_string();
    world.weir.api("POST", path, &block).await.assert_status(200);
    let told = explain(&world.weir, &["cut@1.0.0"]).await;
    assert_eq!(told["outcome"], "unknown", "{told:#}");
    assert!(told["steps"].to_string().contains("upstream=BLOCK"), "{told:#}");
    let publish = told["publish"].as_str().unwrap_or_default();
    assert!(publish.contains("publish=BLOCK") && publish.contains("refused"), "{publish}");
}

#[tokio::test]
async fn explain_asks_for_another_and_names_only_what_the_asker_may_read() {
    let world = World::start().await;
    world.upstream.publish(&NpmPackage::new("left-pad", "1.3.0"));
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let main = "arn:aws:codeartifact:us-east-1:000000000000:repository/local/main";
    let mut keys = BTreeMap::new();
    for (name, actions, resource) in [
        ("narrow", json!(["codeartifact:*", "weir:Explain"]), format!("{main}*")),
        ("stranger", json!("codeartifact:ListDomains"), "*".to_owned()),
    ] {
        let document = json!({ "Version": "2012-10-17", "Statement": [
            { "Effect": "Allow", "Action": actions, "Resource": [
                resource, "arn:aws:codeartifact:us-east-1:000000000000:package/local/main/*",
            ] },
        ] });
        let file = folder.path().join(name);
        fs_err::write(&file, document.to_string()).expect("a temporary folder can be written");
        let policy = file.display().to_string();
        world.weir.cli(&["user", "create", name, "--policy", &policy]).await.assert_ok();
        let key = world.weir.cli(&["key", "create", "--user", name, "--json"]).await.assert_ok().json();
        let text = |name: &str| key[name].as_str().expect("a key has both").to_owned();
        keys.insert(name, (text("accessKeyId"), text("secretAccessKey")));
    }
    let told = explain(&world.weir, &["left-pad@1.3.0", "--principal", "narrow"]).await;
    assert_eq!(told["outcome"], "offered", "{told:#}");
    let arn = "arn:aws:iam::000000000000:user/stranger";
    for stranger in ["stranger", arn] {
        let told = explain(&world.weir, &["left-pad@1.3.0", "--principal", stranger]).await;
        assert_eq!(told["outcome"], "withheld", "{told:#}");
        assert!(told["rule"].as_str().is_some_and(|rule| rule.contains("ReadFromRepository")), "{told:#}");
    }
    let role = arn.replace(":user/", ":role/");
    let absent = world.weir.cli(&["explain", "npm", "left-pad", "--principal", &role]).await;
    absent.assert_fails().assert_says(&role);
    let (id, secret) = &keys["narrow"];
    let as_narrow = ["--access-key-id", id, "--secret-access-key", secret];
    let told = explain(&world.weir, &[&["left-pad@1.3.0"][..], &as_narrow].concat()).await;
    assert_eq!(told["outcome"], "offered", "{told:#}");
    assert!(told.to_string().contains("another repository"), "{told:#}");
    assert!(!told.to_string().contains("npm-store"), "{told:#}");
    let other = [&["explain", "npm", "left-pad", "--principal", "stranger"][..], &as_narrow].concat();
    world.weir.cli(&other).await.assert_fails().assert_says("ManageIdentities");
    let (id, secret) = &keys["stranger"];
    let as_stranger = ["--access-key-id", id, "--secret-access-key", secret];
    let refused = world.weir.cli(&[&["explain", "npm", "left-pad"][..], &as_stranger].concat()).await;
    refused.assert_fails().assert_says("(403)");
}

#[tokio::test]
async fn login_makes_npm_work_and_keeps_other_lines() {
    let world = World::start().await;
    world.upstream.publish(&NpmPackage::new("left-pad", "1.3.0"));
    let Some(npm) = Client::npm11() else { return };
    let npmrc = npm.home().join(".npmrc");
    fs_err::write(&npmrc, "fund=false\n//elsewhere.example.test/:_authToken=kept\n").expect("it is ours");
    let path = npmrc.display().to_string();
    for _ in 0..2 {
        let login = world.weir.cli(&["login", "npm", "--npmrc", &path]).await;
        let text = fs_err::read_to_string(&npmrc).expect("it is there");
        let token = text.lines().find_map(|line| line.split_once("_authToken=weir_")).expect("a token").1;
        assert!(!login.assert_ok().says(token), "a token is written and not printed: {login}");
        assert_eq!(text.matches("_authToken=weir_").count(), 1, "{text}");
        assert!(text.contains("fund=false\n") && text.contains("_authToken=kept\n"), "{text}");
    }
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs_err::metadata(&npmrc).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "it holds a token");
    npm.write_manifest(&[("left-pad", "1.3.0")]);
    npm.run(&["install", "--no-audit"]).await.assert_ok();
    assert_eq!(npm.installed("left-pad").as_deref(), Some("1.3.0"));
}
