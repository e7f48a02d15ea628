//! The commands of every client besides install and publish: what works, and that what is missing says so.

use crate::npm_world::{World, each_client, install_command};
use futures_util::future::join_all;
use serde_json::{Value, json};
use weir_testkit::{Client, Fault, NpmPackage, Output, Tool};

/// How a client is told to do one thing, or `None` where it cannot.
fn words(tool: Tool, command: &str) -> Option<&'static [&'static str]> {
    use Tool::{Bun, Npm10, Npm11, Pnpm, Yarn1, Yarn4};
    Some(match (command, tool) {
        ("tag ls", Npm10 | Npm11 | Pnpm) => &["dist-tag", "ls"],
        ("tag add", Npm10 | Npm11 | Pnpm) => &["dist-tag", "add"],
        ("tag rm", Npm10 | Npm11 | Pnpm) => &["dist-tag", "rm"],
        ("tag ls", Yarn1) => &["tag", "list"],
        ("tag add", Yarn1) => &["tag", "add"],
        ("tag rm", Yarn1) => &["tag", "remove"],
        ("tag ls", Yarn4) => &["npm", "tag", "list"],
        ("tag add", Yarn4) => &["npm", "tag", "add"],
        ("tag rm", Yarn4) => &["npm", "tag", "remove"],
        ("deprecate", Npm10 | Npm11 | Pnpm) => &["deprecate"],
        ("unpublish", Npm10 | Npm11 | Pnpm) => &["unpublish"],
        ("view", Npm10 | Npm11 | Pnpm) => &["view", "--json"],
        ("view", Yarn1) => &["info", "--json"],
        ("view", Yarn4) => &["npm", "info", "--json"],
        ("view", Bun) => &["info", "--json"],
        ("outdated", Npm10 | Npm11 | Yarn1 | Pnpm | Bun) => &["outdated"],
        ("ping", Npm10 | Npm11 | Pnpm) => &["ping"],
        ("whoami", Npm10 | Npm11 | Pnpm) => &["whoami"],
        ("whoami", Yarn4) => &["npm", "whoami"],
        ("whoami", Bun) => &["pm", "whoami"],
        ("owner ls", Npm10 | Npm11 | Pnpm) => &["owner", "ls"],
        ("owner ls", Yarn1) => &["owner", "list"],
        ("search", Npm10 | Npm11 | Pnpm) => &["search"],
        ("audit", Npm10 | Npm11 | Pnpm | Bun) => &["audit"],
        ("audit", Yarn4) => &["npm", "audit", "--recursive"],
        ("logout", Npm10 | Npm11 | Pnpm) => &["logout"],
        _ => return None,
    })
}

/// Runs a command with further words, if the client has it.
async fn run(client: &Client, command: &str, arguments: &[&str]) -> Option<Output> {
    let words = words(client.tool(), command)?;
    Some(client.run(&[words, arguments].concat()).await)
}

/// The result of a command that every client has, of those for which this is called.
macro_rules! run {
    ($client:expr, $command:expr $(, $word:expr)* $(,)?) => {
        match run(&$client, $command, &[$($word),*]).await {
            Some(output) => output,
            None => return,
        }
    };
}

/// A project folder that all clients take for one of theirs.
fn project(client: &Client, dependencies: &[(&str, &str)]) {
    client.write_manifest(dependencies);
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_listed_set_and_removed() {
    let world = &World::start().await;
    each_client(async |client| {
        let tool = client.tool().name();
        world.set_up(&client);
        project(&client, &[]);
        let name = format!("@acme/tagged-{tool}");
        for version in ["1.0.0", "1.1.0"] {
            let package = NpmPackage::new(&format!("tagged-{tool}"), version).scope("acme");
            world.publish(&package).await.assert_status(201);
        }
        run!(client, "tag add", &format!("{name}@1.0.0"), "stable").assert_ok();
        assert_eq!(world.document(&name).await["dist-tags"], json!({ "latest": "1.1.0", "stable": "1.0.0" }));
        let listed = run!(client, "tag ls", &name);
        let lines = [("stable", "1.0.0"), ("latest", "1.1.0")];
        for (tag, version) in lines {
            let shown = listed.stdout.lines().any(|line| line.contains(tag) && line.ends_with(version));
            assert!(listed.success() && shown, "{listed}");
        }
        run!(client, "tag rm", &name, "stable").assert_ok();
        assert_eq!(world.document(&name).await["dist-tags"], json!({ "latest": "1.1.0" }), "{tool}");
        run!(client, "tag add", &format!("{name}@9.9.9"), "none").assert_fails();
    })
    .await;
}

#[tokio::test]
async fn tags_of_an_upstream_are_its_own() {
    let world = World::start().await;
    world.upstream.publish(&NpmPackage::new("left-pad", "1.3.0"));
    let tags = world.get("-/package/left-pad/dist-tags", &[]).await;
    assert_eq!(tags.assert_status(200).json(), json!({ "latest": "1.3.0" }));
    let removed = world.send("DELETE", "-/package/left-pad/dist-tags/latest", &[], "").await;
    assert!(removed.assert_status(404).text().contains("upstream"), "{}", removed.text());
    for (tag, body, status) in
        [("1.0.0", "\"1.3.0\"", 400), ("a", "1.3.0", 400), ("a", "", 400), ("a", "\"9.9.9\"", 404)]
    {
        let path = format!("-/package/left-pad/dist-tags/{tag}");
        world.send("PUT", &path, &[], body).await.assert_status(status);
    }
    world.get("-/package/absent/dist-tags", &[]).await.assert_status(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn deprecation_comes_and_goes() {
    let world = &World::start().await;
    each_client(async |client| {
        let tool = client.tool().name();
        world.set_up(&client);
        project(&client, &[]);
        let name = format!("@acme/old-{tool}");
        for version in ["1.0.0", "2.0.0"] {
            let package = NpmPackage::new(&format!("old-{tool}"), version).scope("acme");
            world.publish(&package).await.assert_status(201);
        }
        let deprecated =
            async |version: &str| world.document(&name).await["versions"][version].get("deprecated").cloned();
        run!(client, "deprecate", &format!("{name}@<2"), "take 2").assert_ok();
        assert_eq!(deprecated("1.0.0").await, Some(json!("take 2")), "{tool}");
        assert_eq!(deprecated("2.0.0").await, None, "{tool}");
        let abbreviated = ("accept", "application/vnd.npm.install-v1+json");
        let short = world.get(&name, &[abbreviated]).await.json();
        assert_eq!(short["versions"]["1.0.0"]["deprecated"], "take 2", "{tool}");
        if client.tool() == Tool::Pnpm {
            client.run(&["undeprecate", &format!("{name}@1.0.0")]).await.assert_ok();
        } else {
            run!(client, "deprecate", &format!("{name}@1.0.0"), "").assert_ok();
        }
        assert_eq!(deprecated("1.0.0").await, None, "{tool}: the member is gone, not empty");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_and_then_the_package_are_unpublished() {
    let world = &World::start().await;
    each_client(async |client| {
        let tool = client.tool().name();
        world.set_up(&client);
        project(&client, &[]);
        for scope in [None, Some("acme")] {
            let package = |version: &str| {
                let package = NpmPackage::new(&format!("gone-{tool}"), version);
                scope.map_or(package.clone(), |scope| package.scope(scope))
            };
            let name = package("1.0.0").full_name();
            for version in ["1.0.0", "1.1.0", "1.2.0"] {
                world.publish(&package(version)).await.assert_status(201);
            }
            run!(client, "unpublish", &format!("{name}@1.2.0")).assert_ok();
            let document = world.document(&name).await;
            let versions = document["versions"].as_object().map(serde_json::Map::len);
            assert_eq!((versions, &document["dist-tags"]["latest"]), (Some(2), &json!("1.1.0")), "{tool}");
            world.get(&package("1.2.0").tarball_path(), &[]).await.assert_status(404);
            world.get(&package("1.1.0").tarball_path(), &[]).await.assert_status(200);
            run!(client, "unpublish", &name, "--force").assert_ok();
            world.get(&name, &[]).await.assert_status(404);
            assert!(world.held("main", &package("1.0.0")).await.is_empty());
            // The record and its controls stay, so nobody else takes the name.
            world.upstream.publish(&package("9.9.9"));
            world.get(&name, &[]).await.assert_status(404);
        }
    })
    .await;
}

#[tokio::test]
async fn an_unpublish_with_an_old_revision_or_of_a_public_version_is_refused() {
    let world = World::start().await;
    let widget = |version: &str| NpmPackage::new("widget", version);
    world.publish(&widget("1.0.0")).await.assert_status(201);
    world.publish(&widget("1.1.0")).await.assert_status(201);
    let read = world.get("widget?write=true", &[]).await.json();
    let old = read["_rev"].as_str().expect("npm wants a _rev").to_owned();
    let mut without = read.clone();
    without["versions"].as_object_mut().map(|versions| versions.remove("1.0.0"));
    world.publish(&widget("1.2.0")).await.assert_status(201);

    let stale = world.send("PUT", &format!("widget/-rev/{old}"), &[], without.to_string()).await;
    let text = stale.assert_status(409).text();
    assert!(text.contains("run the command again"), "{text}");
    let stale = world.send("DELETE", &format!("widget/-rev/{old}"), &[], "").await;
    stale.assert_status(409);
    assert_eq!(world.held("main", &widget("1.0.0")).await.len(), 3);
    // The DELETE of a tarball is the last step and does nothing; that of a version still there is refused.
    let path = "widget/-/widget-1.0.0.tgz/-rev/x";
    world.send("DELETE", path, &[], "").await.assert_status(409);
    world.send("DELETE", "widget/-/widget-7.0.0.tgz/-rev/x", &[], "").await.assert_status(200);

    let public = NpmPackage::new("left-pad", "1.3.0");
    world.upstream.publish(&public);
    world.get(&public.tarball_path(), &[]).await.assert_status(200);
    let mut document = world.get("left-pad?write=true", &[]).await.json();
    let rev = document["_rev"].as_str().expect("npm wants a _rev").to_owned();
    document["versions"] = json!({});
    let answer = world.send("PUT", &format!("left-pad/-rev/{rev}"), &[], document.to_string()).await;
    assert!(answer.assert_status(403).text().contains("'main'"), "{}", answer.text());
    world.send("DELETE", &format!("left-pad/-rev/{rev}"), &[], "").await.assert_status(403);
    world.get(&public.tarball_path(), &[]).await.assert_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_are_viewed() {
    let world = &World::start().await;
    let package = NpmPackage::new("widget", "1.2.3").scope("acme").dependency("left-pad", "^1");
    world.publish(&package).await.assert_status(201);
    each_client(async |client| {
        world.set_up(&client);
        project(&client, &[]);
        if client.tool() == Tool::Yarn4 {
            client.run(&["install"]).await.assert_ok();
        }
        let output = run!(client, "view", "@acme/widget");
        output.assert_ok().assert_says("1.2.3").assert_says("left-pad");
        output.assert_says(&format!("{}@acme/widget/-/widget-1.2.3.tgz", world.endpoint));
        // Classic says so and exits with 0 all the same.
        if client.tool() != Tool::Yarn1 {
            run!(client, "view", "@acme/absent").assert_fails();
        }
    })
    .await;
    let Some(npm) = Client::npm11() else { return };
    world.set_up(&npm);
    let absent = npm.run(&["view", "@acme/absent"]).await;
    absent.assert_fails().assert_says("404").assert_says("repository 'main'");
}

#[tokio::test(flavor = "multi_thread")]
async fn outdated_compares_with_what_the_repository_offers() {
    each_client(async |client| {
        let world = World::start().await;
        world.upstream.publish_all([
            &NpmPackage::new("left-pad", "1.2.0"),
            &NpmPackage::new("left-pad", "1.3.0"),
            &NpmPackage::new("left-pad", "2.0.0"),
        ]);
        world.set_up(&client);
        if words(client.tool(), "outdated").is_none() {
            return;
        }
        project(&client, &[("left-pad", "1.2.0")]);
        client.run(install_command(client.tool(), false)).await.assert_ok();
        let output = run!(client, "outdated");
        output.assert_says("1.2.0").assert_says("2.0.0");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_small_commands_answer() {
    let world = &World::start().await;
    let maintained = NpmPackage::new("kept", "1.0.0")
        .field("maintainers", json!([{ "name": "ada", "email": "ada@example.test" }]));
    world.publish(&maintained).await.assert_status(201);
    each_client(async |client| {
        world.set_up(&client);
        project(&client, &[]);
        if let Some(output) = run(&client, "ping", &[]).await {
            output.assert_ok();
        }
        if let Some(output) = run(&client, "whoami", &[]).await {
            output.assert_ok().assert_says("administrator");
        }
        if let Some(output) = run(&client, "owner ls", &["kept"]).await {
            output.assert_ok().assert_says("ada");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn search_finds_what_is_held_and_nothing_else() {
    let world = &World::start().await;
    let own = NpmPackage::new("widget-factory", "1.0.0").scope("acme").field("keywords", json!(["gears"]));
    world.publish(&own).await.assert_status(201);
    let fetched = NpmPackage::new("widget-pad", "1.3.0");
    world.upstream.publish_all([&fetched, &NpmPackage::new("widget-unseen", "1.0.0")]);
    world.get(&fetched.tarball_path(), &[]).await.assert_status(200);
    each_client(async |client| {
        world.set_up(&client);
        project(&client, &[]);
        let output = run!(client, "search", "widget");
        output.assert_ok().assert_says("@acme/widget-factory").assert_says("widget-pad");
        assert!(!output.says("widget-unseen"), "{output}");
    })
    .await;
    let found = world.get("-/v1/search?text=widget&size=1", &[]).await.json();
    assert_eq!((found["total"].as_u64(), found["objects"].as_array().map(Vec::len)), (Some(2), Some(1)));
    assert_eq!(world.get("-/v1/search?text=nothing", &[]).await.json()["total"], 0);
    assert_eq!(world.upstream.calls_under("/-/v1/search"), 0, "a search stays inside");
}

#[tokio::test(flavor = "multi_thread")]
async fn audits_are_answered_by_the_public_registry_for_public_names_alone() {
    each_client(async |mut client| {
        let tool = client.tool().name();
        if words(client.tool(), "audit").is_none() {
            return;
        }
        // These would ask a failing registry again for up to a minute.
        client.env("PNPM_CONFIG_FETCH_RETRIES", "0").env("BUN_CONFIG_HTTP_RETRY_COUNT", "0");
        let world = World::start().await;
        world
            .upstream
            .publish_all([&NpmPackage::new("left-pad", "1.3.0"), &NpmPackage::new("sound", "1.0.0")]);
        world.upstream.advise("left-pad", "<2.0.0", "high", "Pads to the wrong side");
        let secret = NpmPackage::new("secret", "1.0.0").scope("acme").dependency("sound", "^1");
        world.publish(&secret).await.assert_status(201);
        world.set_up(&client);
        project(&client, &[("left-pad", "^1.0.0"), ("@acme/secret", "^1.0.0")]);
        client.run(install_command(client.tool(), false)).await.assert_ok();
        world.upstream.reset_calls();

        let audit = run!(client, "audit");
        audit.assert_fails().assert_says("left-pad").assert_says("Pads to the wrong side");
        let asked: Vec<_> =
            world.upstream.requests().into_iter().filter(|seen| seen.method == "POST").collect();
        assert!(!asked.is_empty(), "{tool}");
        for seen in asked {
            let body = String::from_utf8_lossy(&seen.body).into_owned();
            assert!(body.contains("left-pad") && body.contains("sound"), "{tool}: {body}");
            assert!(!body.contains("secret") && !body.contains("acme"), "{tool} told {body}");
            assert_eq!(seen.header("authorization"), "", "{tool}");
        }

        world.upstream.fail("/-/npm/v1/security", Fault::Status(500));
        let failed = run!(client, "audit");
        failed.assert_fails();
        for calm in [
            "found 0 vulnerabilities",
            "No known vulnerabilities",
            "No audit suggestions",
            "No vulnerabilities",
        ] {
            assert!(!failed.says(calm), "{failed}");
        }
    })
    .await;
}

#[tokio::test]
async fn both_kinds_of_audit_are_answered_and_no_connection_is_an_error() {
    let world = World::start().await;
    let public = NpmPackage::new("left-pad", "1.3.0");
    world.upstream.publish(&public);
    world.upstream.advise("left-pad", "<2.0.0", "high", "Pads to the wrong side");
    let bulk = json!({ "left-pad": ["1.3.0"], "@acme/secret": ["1.0.0"] }).to_string();
    let quick = json!({
        "name": "project", "version": "1.0.0", "requires": { "left-pad": "^1" },
        "dependencies": { "left-pad": { "version": "1.3.0" }, "@acme/secret": { "version": "1.0.0" } },
    })
    .to_string();
    let ask = async |path: &str, body: &str| {
        world.send("POST", path, &[("content-type", "application/json")], body).await
    };
    // Nothing is known to be public until its index was asked for.
    let first = ask("-/npm/v1/security/advisories/bulk", &bulk).await;
    assert_eq!(first.assert_status(200).json(), json!({}));
    world.get("left-pad", &[]).await.assert_status(200);
    let answer = ask("-/npm/v1/security/advisories/bulk", &bulk).await.assert_status(200).json();
    assert_eq!(answer["left-pad"][0]["title"], "Pads to the wrong side");
    for path in ["-/npm/v1/security/audits/quick", "-/npm/v1/security/audits"] {
        let answer = ask(path, &quick).await.assert_status(200).json();
        assert_eq!(answer["metadata"]["vulnerabilities"]["high"], 1, "{path}");
    }
    for seen in world.upstream.requests().iter().filter(|seen| seen.method == "POST") {
        assert!(!String::from_utf8_lossy(&seen.body).contains("secret"), "{seen:?}");
    }
    let packed = gzip(bulk.as_bytes());
    let headers = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let path = "-/npm/v1/security/advisories/bulk";
    let answer = world.send("POST", path, &headers, packed).await.assert_status(200).json();
    assert!(answer["left-pad"].is_array());
    ask(path, "[]").await.assert_status(400);
    for (fault, status) in [(Fault::Status(500), 503), (Fault::Html, 502), (Fault::Status(404), 404)] {
        world.upstream.heal();
        world.upstream.fail("/-/npm/v1/security", fault.clone());
        let refused = ask(path, &bulk).await;
        let error = refused.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(refused.status == status && !error.is_empty(), "{fault:?}: {} {error}", refused.status);
    }

    let alone = weir_testkit::Weir::builder(env!("CARGO_BIN_EXE_weir")).start().await;
    let bearer = format!("Bearer {}", alone.token("local").await);
    let path = format!("/npm/d/local-000000000000/main/{path}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let refused = alone.send("POST", &path, &headers, bulk.as_bytes()).await;
    let error = refused.assert_status(503).json()["error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains("public:npmjs") && error.contains("external-connection"), "{error}");
    let refused = alone.send("GET", "/npm/d/local-000000000000/main/left-pad", &headers[..1], b"").await;
    let error = refused.assert_status(503).json()["error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains("public:npmjs") && error.contains("external-connection"), "{error}");
}

/// Whose documents may be large, and gone.
#[tokio::test(flavor = "multi_thread")]
async fn an_audit_goes_by_the_names_of_indexes_and_reads_none() {
    let world = World::start().await;
    world.upstream.publish(&NpmPackage::new("left-pad", "1.3.0"));
    world.upstream.advise("left-pad", "<2.0.0", "high", "Pads to the wrong side");
    world.get("left-pad", &[]).await.assert_status(200);
    world.get("missing", &[]).await.assert_status(404);
    let World { upstream, weir, .. } = world;
    for domain in fs_err::read_dir(weir.data().join("blobs/domains")).expect("a folder") {
        let _ = fs_err::remove_dir_all(domain.expect("an entry").path().join("documents"));
    }
    let weir = weir.restart().await;
    let bearer = format!("Bearer {}", weir.token("local").await);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let path = "/npm/d/local-000000000000/main/-/npm/v1/security/advisories/bulk";
    let bulk = json!({ "left-pad": ["1.3.0"], "missing": ["1.0.0"], "secret": ["1.0.0"] }).to_string();
    let answer = weir.send("POST", path, &headers, bulk.as_bytes()).await.assert_status(200).json();
    assert_eq!(answer["left-pad"][0]["title"], "Pads to the wrong side");
    let asked = upstream.requests().pop().expect("it was asked");
    assert_eq!(serde_json::from_slice::<Value>(&asked.body).expect("JSON"), json!({ "left-pad": ["1.3.0"] }));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, bytes).expect("memory can be written");
    encoder.finish().expect("memory can be written")
}

#[tokio::test(flavor = "multi_thread")]
async fn npm_logs_in_with_a_token_or_a_key_and_logout_revokes() {
    let world = &World::start().await;
    world.publish(&NpmPackage::new("widget", "1.0.0")).await.assert_status(201);
    let secret = world.weir.credentials().secret_access_key;
    let logins = [(Client::npm10(), world.weir.token("local").await), (Client::npm11(), secret)];
    let logins = logins.into_iter().filter_map(|(client, password)| Some((client?, password)));
    let checks = logins.map(|(client, password)| async move {
        client.write_config(&world.endpoint, None);
        let arguments = ["login", "--auth-type=legacy", "--registry", &world.endpoint];
        client.run_typing(&arguments, &["administrator", &password, "ada@example.test"]).await.assert_ok();
        let config = fs_err::read_to_string(client.home().join(".npmrc")).expect("npm wrote it");
        let token = config.split("_authToken=").nth(1).and_then(|rest| rest.lines().next());
        let token = token.expect("a login gives a token").trim_matches('"').to_owned();
        // A token is given back as it is, so that logging in makes no token live longer.
        assert_eq!(token == password, password.starts_with("weir_"));
        client.run(&["whoami"]).await.assert_ok().assert_says("administrator");
        client.run(&["view", "widget", "version"]).await.assert_ok().assert_says("1.0.0");
        client.run(&["logout"]).await.assert_ok();
        let path = "/npm/d/local-000000000000/main/widget";
        world.weir.get(path, &token).await.assert_status(401);
        let wrong = client.run_typing(&arguments, &["administrator", "wrong", "ada@example.test"]).await;
        wrong.assert_fails().assert_says("401");
        let log = world.weir.log();
        for hidden in [&token, &password] {
            assert!(!log.contains(hidden.as_str()), "the log tells a token or key");
        }
    });
    join_all(checks).await;
    world.get("widget", &[]).await.assert_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_revokes_the_token_of_the_configuration() {
    let world = &World::start().await;
    each_client(async |client| {
        let token = world.weir.token("local").await;
        client.write_config(&world.endpoint, Some(&token));
        project(&client, &[]);
        run!(client, "logout").assert_ok();
        let path = "/npm/d/local-000000000000/main/-/whoami";
        world.weir.get(path, &token).await.assert_status(401);
    })
    .await;
    world.get("-/whoami", &[]).await.assert_status(200);
}

#[tokio::test]
async fn the_login_of_the_web_is_refused_so_that_npm_asks_for_a_password() {
    let world = World::start().await;
    let web = world.weir.send("POST", "/npm/d/local-000000000000/main/-/v1/login", &[], b"{}").await;
    web.assert_status(404);
    let put = async |name: &str, password: &str| {
        let path = format!("/npm/d/local-000000000000/main/-/user/org.couchdb.user:{name}");
        let body = json!({ "name": name, "password": password, "email": "a@example.test" }).to_string();
        world.weir.send("PUT", &path, &[("content-type", "application/json")], body.as_bytes()).await
    };
    let secret = world.weir.credentials().secret_access_key;
    let made = put("administrator", &secret).await;
    let token = made.assert_status(201).json()["token"].as_str().expect("a token comes back").to_owned();
    assert!(token.starts_with("weir_"));
    world.weir.get("/npm/d/local-000000000000/main/-/whoami", &token).await.assert_status(200);
    for (name, password) in [("administrator", "wrong"), ("nobody", secret.as_str()), ("administrator", "")] {
        let refused = put(name, password).await;
        refused.assert_status(401);
        assert_eq!(refused.header("www-authenticate"), "Basic realm=\"local/main\"");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_npm_has_and_weir_has_not_fails_with_a_reason() {
    let world = &World::start().await;
    world.publish(&NpmPackage::new("widget", "1.0.0").scope("acme")).await.assert_status(201);
    let commands: &[&[&str]] = &[
        &["star", "@acme/widget"],
        &["stars", "administrator"],
        &["access", "list", "packages", "acme"],
        &["access", "get", "status", "@acme/widget"],
        &["access", "set", "status=public", "@acme/widget"],
        &["team", "ls", "acme"],
        &["team", "create", "acme:developers"],
        &["org", "ls", "acme"],
        &["token", "list"],
        &["profile", "set", "fullname", "Ada"],
        &["owner", "add", "bob", "@acme/widget"],
        &["hook", "ls"],
    ];
    for client in [Client::npm10(), Client::npm11()].into_iter().flatten() {
        world.set_up(&client);
        for command in commands {
            if client.tool() == Tool::Npm11 && command[0] == "hook" {
                continue;
            }
            let output = client.run(command).await;
            output.assert_fails().assert_says("not supported by Weir");
        }
        client.run(&["profile", "get"]).await.assert_ok().assert_says("administrator");
    }
    let before = world.document("@acme/widget").await;
    let starred =
        json!({ "_id": "@acme/widget", "_rev": before["_rev"], "users": { "administrator": true } });
    world.send("PUT", "@acme%2fwidget", &[], starred.to_string()).await.assert_status(403);
    assert_eq!(world.document("@acme/widget").await, before);
}

#[tokio::test]
async fn weir_login_writes_what_npm_reads() {
    let Some(client) = Client::npm11() else { return };
    let world = World::start().await;
    world.publish(&NpmPackage::new("widget", "1.0.0").scope("acme")).await.assert_status(201);
    let file = client.home().join(".npmrc");
    fs_err::write(&file, "# mine\nsave-exact=true\n").expect("a temporary folder can be written");
    let path = file.to_str().expect("it is UTF-8");
    let login = world.weir.cli(&["login", "npm", "--npmrc", path, "--json"]).await;
    let told: Value = login.assert_ok().json();
    assert_eq!(told["registry"], world.endpoint.as_str());
    client.run(&["whoami"]).await.assert_ok().assert_says("administrator");
    client.run(&["view", "@acme/widget", "version"]).await.assert_ok().assert_says("1.0.0");
    let text = fs_err::read_to_string(&file).expect("it is there");
    assert!(text.starts_with("# mine\nsave-exact=true\n"), "{text}");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs_err::metadata(&file).expect("it is there").permissions());
    assert_eq!(mode & 0o777, 0o600);

    fs_err::write(&file, "").expect("a temporary folder can be written");
    let scoped = world.weir.cli(&["login", "npm", "--npmrc", path, "--scope", "@acme", "--yarn1"]).await;
    scoped.assert_ok();
    let text = fs_err::read_to_string(&file).expect("it is there");
    assert!(text.contains(&format!("@acme:registry={}", world.endpoint)), "{text}");
    assert!(
        !text.lines().any(|line| line.starts_with("registry=")) && text.contains("always-auth=true"),
        "{text}"
    );
    let Some(yarn) = Client::yarn1() else { return };
    fs_err::copy(&file, yarn.home().join(".npmrc")).expect("it is there");
    yarn.write_manifest(&[("@acme/widget", "1.0.0")]);
    yarn.run(&["install", "--non-interactive"]).await.assert_ok();
    assert_eq!(yarn.installed("@acme/widget").as_deref(), Some("1.0.0"));
}
