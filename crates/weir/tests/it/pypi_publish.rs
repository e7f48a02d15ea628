//! Publishing Python packages with every client, and what is refused and how they print it; names that hide
//! public ones; and the ways in which a token is brought.

use crate::pypi_world::{JSON, PATH, USER, World, each_uploader, file_names};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::os::unix::fs::PermissionsExt as _;
use weir_testkit::http::send;
use weir_testkit::python::sha256;
use weir_testkit::{Distribution, Output, PythonClient, PythonPackage, Tool};

/// flit writes the time into what it builds unless it is told this one.
const SOURCE_DATE: (&str, &str) = ("SOURCE_DATE_EPOCH", "1700000000");

/// A package of one client's own.
fn package(client: &PythonClient, what: &str) -> PythonPackage {
    PythonPackage::new(&format!("{what}-{}", client.tool().name()), "1.0").requires_python(">=3.8")
}

/// The package with other bytes in it.
fn changed(package: &PythonPackage) -> PythonPackage {
    package.clone().file(&format!("{}/__init__.py", package.module()), "VERSION = 'changed'\n")
}

/// What a client printed of a refusal has these words. PDM tells the status alone; the reason is in its log.
async fn says(client: &PythonClient, refused: &Output, words: &[&str]) {
    let mut output = refused.clone();
    if client.tool() == Tool::Pdm {
        output = client.run(&["publish", "-r", "weir", "--no-build", "-vv"]).await;
    }
    // twine breaks its lines.
    let said = format!("{} {}", output.stdout, output.stderr);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in words {
        assert!(said.contains(word), "no {word:?}: {output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_publishes_what_pip_then_installs_and_the_same_again_is_no_change() {
    let world = &World::start().await;
    each_uploader(async |mut client| {
        let tool = client.tool();
        client.env(SOURCE_DATE.0, SOURCE_DATE.1);
        world.set_up_upload(&mut client);
        let package = package(&client, "by");
        let (wheel, sdist) = (package.wheel(), package.sdist());
        client.upload(&[&wheel, &sdist]).await.assert_ok();
        let page = world.page(package.name()).await;
        assert_eq!(file_names(&page), [&*wheel.file_name, &*sdist.file_name], "{tool:?}");
        assert_eq!(page["versions"], json!(["1.0"]), "{tool:?}");
        for file in page["files"].as_array().expect("a list") {
            let place = format!("simple/{}/{}", package.name(), file["url"].as_str().expect("it has one"));
            let bytes = world.get(&place, &[]).await.assert_status(200).body.clone();
            assert_eq!(file["hashes"]["sha256"], sha256(&bytes), "{tool:?}");
            assert_eq!(file["requires-python"], ">=3.8", "{tool:?}");
        }
        assert_eq!(world.held("main", package.name()).await, [("1.0".into(), "INTERNAL".into())], "{tool:?}");

        client.upload(&[&wheel, &sdist]).await.assert_ok();
        assert_eq!(world.page(package.name()).await, page, "{tool:?}: nothing changes");

        let Some(pip) = world.pip() else { return };
        // What flit builds needs flit to be built.
        let kinds =
            if tool == Tool::Flit { &["--only-binary"][..] } else { &["--only-binary", "--no-binary"] };
        for kind in kinds {
            pip.forget();
            pip.run(&["install", package.name(), kind, ":all:"]).await.assert_ok();
            assert_eq!(pip.installed(package.name()).as_deref(), Some("1.0"), "{tool:?} {kind}");
        }
    })
    .await;
    assert_eq!(world.upstream.calls_under("/files/"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bytes_are_refused_and_every_client_prints_why() {
    let world = &World::start().await;
    each_uploader(async |mut client| {
        client.env(SOURCE_DATE.0, SOURCE_DATE.1);
        world.set_up_upload(&mut client);
        let package = package(&client, "twice");
        client.upload(&[&package.wheel(), &package.sdist()]).await.assert_ok();
        let before = world.page(package.name()).await;
        let other = changed(&package);
        let refused = client.upload(&[&other.wheel(), &other.sdist()]).await;
        refused.assert_fails();
        says(&client, &refused, &["409", "already exists in repository 'main'", "with other bytes"]).await;
        assert_eq!(world.page(package.name()).await, before);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_may_only_read_is_refused_and_every_client_prints_why() {
    let world = &World::start().await;
    let reader = &world.token_of("reader", "read").await;
    each_uploader(async |mut client| {
        client.write_upload_config(&world.endpoint, Some((USER, reader)));
        let package = package(&client, "unread");
        let refused = client.upload(&[&package.wheel()]).await;
        refused.assert_fails();
        says(&client, &refused, &["403", "codeartifact:PublishPackageVersion"]).await;
        world.get(&format!("simple/{}/", package.name()), &[JSON]).await.assert_status(404);
    })
    .await;
}

#[tokio::test]
async fn what_is_there_is_passed_over_by_who_asks_for_that() {
    let world = World::start().await;
    let package = PythonPackage::new("weir-demo", "1.0");
    world.upload(&package.wheel()).await.assert_status(200);
    let other = changed(&package);
    // twine takes this option for the public registry alone, and says so.
    for client in [PythonClient::poetry(), PythonClient::pdm()] {
        let Some(mut client) = client else { continue };
        world.set_up_upload(&mut client);
        client.upload(&[&other.wheel(), &package.sdist()]).await.assert_fails().assert_says("409");
        let no_build: &[&str] = if client.tool() == Tool::Pdm { &["--no-build"] } else { &[] };
        let passed = client.run(&[&["publish", "-r", "weir", "--skip-existing"], no_build].concat()).await;
        passed.assert_ok();
    }
    if let Some(mut uv) = PythonClient::uv() {
        world.set_up_upload(&mut uv);
        uv.write(&format!("dist/{}", package.wheel().file_name), &package.wheel().bytes);
        let index = world.index();
        let host = index.replace("://", &format!("://{USER}:{}@", world.token));
        let command = ["publish", "--trusted-publishing=never", "--check-url", &host];
        let output = uv.run(&command).await;
        output.assert_ok().assert_says("already exists");
        uv.write(&format!("dist/{}", package.wheel().file_name), &other.wheel().bytes);
        let output = uv.run(&command).await;
        output.assert_fails();
    }
    let page = world.page("weir-demo").await;
    let hashes: Vec<_> =
        page["files"].as_array().into_iter().flatten().map(|f| &f["hashes"]["sha256"]).collect();
    assert_eq!(hashes, [&json!(package.wheel().sha256()), &json!(package.sdist().sha256())]);
}

#[tokio::test]
async fn a_published_name_hides_the_public_one() {
    let world = World::start().await;
    let Some(pip) = world.pip() else { return };
    world.upstream.publish_distributions(&[
        PythonPackage::new("Acme.Inner", "99.0").wheel(),
        PythonPackage::new("Acme.Inner", "0.9").wheel(),
    ]);
    world.publish(&PythonPackage::new("acme_inner", "1.0")).await;
    let outer = PythonPackage::new("acme-outer", "1.0").requires("Acme.Inner");
    world.publish(&outer).await;
    pip.install(&["acme-outer"]).await.assert_ok();
    assert_eq!(pip.installed("acme-inner").as_deref(), Some("1.0"));
    pip.install(&["acme-inner==99.0"]).await.assert_fails().assert_says("from versions: 1.0)");
    let listed = pip.run(&["index", "versions", "acme-inner"]).await;
    listed.assert_ok().assert_says("Available versions: 1.0\n");
    world.get("simple/acme-inner/99.0/acme_inner-99.0-py3-none-any.whl", &[]).await.assert_status(404);
    assert_eq!(world.fetched_files(), [] as [&str; 0]);
}

#[tokio::test]
async fn a_public_name_cannot_be_published_and_twine_prints_why() {
    let Some(mut twine) = PythonClient::twine() else { return };
    let world = World::start().await;
    let Some(pip) = world.pip() else { return };
    world.upstream.publish_distribution(&PythonPackage::new("left-pad", "1.0").wheel());
    pip.install(&["left-pad"]).await.assert_ok();
    world.set_up_upload(&mut twine);
    let refused = twine.upload(&[&PythonPackage::new("left-pad", "99.0").wheel()]).await;
    refused.assert_fails().assert_says("403").assert_says("publish=BLOCK");
}

#[tokio::test]
async fn a_bare_request_is_challenged_and_any_user_with_a_token_is_let_in() {
    let world = World::start().await;
    let wheel = PythonPackage::new("weir-demo", "1.0").wheel();
    world.upload(&wheel).await.assert_status(200);
    let (page, file) = ("simple/weir-demo/", format!("simple/weir-demo/1.0/{}", wheel.file_name));
    for place in ["", page, &file] {
        let url = format!("{}{place}", world.endpoint);
        let bare = send("GET", &url, &[], "").await;
        assert_eq!(bare.assert_status(401).header("www-authenticate"), "Basic realm=\"local/main\"");
        for user in [USER, "__token__", "anybody@example.test", ""] {
            let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{}", world.token)));
            send("GET", &url, &[("authorization", &basic)], "").await.assert_status(200);
        }
        let wrong = format!("Basic {}", STANDARD.encode("aws:weir_wrong"));
        send("GET", &url, &[("authorization", &wrong)], "").await.assert_status(401);
    }
    let (kind, body) = wheel.upload_form();
    let bare = send("POST", &world.endpoint, &[("content-type", &kind)], body).await;
    assert_eq!(bare.assert_status(401).header("www-authenticate"), "Basic realm=\"local/main\"");
    world.weir.get(&format!("{PATH}/main/{page}"), &world.token).await.assert_status(200);
}

#[tokio::test]
async fn pip_and_uv_find_the_token_in_a_netrc_or_ask_a_keyring() {
    let world = World::start().await;
    world.upload(&PythonPackage::new("weir-demo", "1.0").wheel()).await.assert_status(200);
    for client in [PythonClient::pip(), PythonClient::uv()] {
        let Some(mut client) = client else { continue };
        let install: &[&str] = if client.tool() == Tool::Pip {
            &["install", "weir-demo"]
        } else {
            &["pip", "install", "weir-demo"]
        };
        client.write_config(&world.index(), None);
        let refused = client.run(install).await;
        refused.assert_fails();
        let netrc = client.home().join(".netrc");
        fs_err::write(&netrc, format!("machine 127.0.0.1 login {USER} password {}\n", world.token))
            .expect("a temporary folder can be written");
        client.run(install).await.assert_ok();
        assert_eq!(client.installed("weir-demo").as_deref(), Some("1.0"), "{:?}", client.tool());
        fs_err::remove_file(netrc).expect("it is there");

        // A keyring that has one token: pip asks it for a user and a password, uv for the password.
        let keyring = client.home().join("bin/keyring");
        fs_err::create_dir_all(client.home().join("bin")).expect("a temporary folder can be written");
        let pair = json!({ "username": USER, "password": world.token });
        let script =
            format!("#!/bin/sh\ncase $1 in --mode=creds) echo '{pair}' ;; *) echo {} ;; esac\n", world.token);
        fs_err::write(&keyring, script).expect("a temporary folder can be written");
        fs_err::set_permissions(&keyring, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
        let path = format!("{}:/usr/bin:/bin", client.home().join("bin").display());
        client.env("PATH", &path).env("PIP_KEYRING_PROVIDER", "subprocess");
        client.env("UV_KEYRING_PROVIDER", "subprocess");
        client.write_config(&world.index().replace("://", &format!("://{USER}@")), None);
        client.forget();
        client.run(install).await.assert_ok();
        assert_eq!(client.installed("weir-demo").as_deref(), Some("1.0"), "{:?}", client.tool());
    }
}

#[tokio::test]
async fn files_of_one_version_may_come_one_by_one() {
    let world = World::start().await;
    let package = PythonPackage::new("weir-demo", "1.0");
    let tagged: Vec<Distribution> = ["cp311-cp311-win_amd64", "cp312-cp312-manylinux_2_17_x86_64"]
        .into_iter()
        .map(|tags| package.wheel_tagged(tags))
        .collect();
    for distribution in tagged.iter().chain([&package.sdist(), &package.wheel()]) {
        world.upload(distribution).await.assert_status(200);
    }
    let page = world.page("weir-demo").await;
    assert_eq!(file_names(&page).len(), 4, "{page:#}");
    assert_eq!(page["versions"], json!(["1.0"]));
    let refused = world.upload(&changed(&package).wheel()).await;
    let reason = refused.assert_status(409).text();
    assert!(reason.contains("already exists"), "{reason}");
    assert_eq!(world.page("weir-demo").await, page);
}
