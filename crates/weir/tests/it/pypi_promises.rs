//! What a page says of its files is true: all that it advertises is served and is what it says, and all that
//! the public index says is passed on.

use crate::pypi_index::{AS_JSON, World, demo, entry, path_of};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use weir_testkit::{Distribution, PypiSettings, PypiSpeaks, PythonPackage};

const LINUX: &str = "cp312-cp312-manylinux_2_17_x86_64";

/// An attestation of a file in the shape of the specification; nobody signed it.
fn attestation(file: &Distribution) -> Value {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": file.file_name, "digest": { "sha256": file.sha256() } }],
        "predicateType": "https://example.test/attestation/publish/v1",
        "predicate": null,
    });
    json!({
        "version": 1,
        "verification_material": {
            "certificate": STANDARD.encode("certificate"),
            "transparency_entries": [{ "logIndex": "7" }],
        },
        "envelope": {
            "statement": STANDARD.encode(statement.to_string()),
            "signature": STANDARD.encode("signature"),
        },
    })
}

fn provenance(file: &Distribution) -> Value {
    let bundle = json!({ "publisher": { "kind": "example" }, "attestations": [attestation(file)] });
    json!({ "version": 1, "attestation_bundles": [bundle] })
}

/// Wheels and a source distribution of two versions.
fn public(name: &str) -> Vec<Distribution> {
    let package = |version: &str| PythonPackage::new(name, version).requires_python(">=3.8").readme("# Hi\n");
    vec![
        package("1.0").wheel(),
        package("1.0").wheel_tagged(LINUX),
        package("1.0").sdist(),
        package("2.0rc1").wheel(),
    ]
}

#[tokio::test]
async fn everything_on_a_page_is_served_and_is_what_the_page_says() {
    let full = PypiSettings::default;
    let settings = [
        ("everything", full()),
        ("html", PypiSettings { speaks: PypiSpeaks::Html, ..full() }),
        ("relative", PypiSettings { relative_urls: true, speaks: PypiSpeaks::Json, ..full() }),
        ("no-metadata", PypiSettings { core_metadata: false, ..full() }),
        (
            "least",
            PypiSettings {
                speaks: PypiSpeaks::Html,
                core_metadata: false,
                sizes_and_times: false,
                hashes: false,
                project_status: false,
                provenance: false,
                relative_urls: true,
            },
        ),
    ];
    let world = World::start().await;
    let team = world.repository("team", &["main"]).await;
    for (name, settings) in settings {
        let files = public(name);
        world.upstream.publish_distributions(&files);
        world.upstream.attest(&files[0].file_name, provenance(&files[0]));
        let (told, attested) = (settings.core_metadata, usize::from(settings.provenance));
        world.upstream.pypi_settings(|now| *now = settings);
        let before = world.keeps_its_promises(name).await;
        assert_eq!(before, [4, if told { 3 } else { 0 }, attested], "{name} before the first download");
        // Now all is held, and whatever the index does not tell was read from the files.
        let after = world.keeps_its_promises(name).await;
        assert_eq!(after, [4, 3, attested], "{name} when all is held");
        let page = world.page(name).await;
        for file in &files {
            let shown = entry(&page, &file.file_name);
            assert_eq!(
                (&shown["size"], &shown["requires-python"]),
                (&json!(file.bytes.len()), &json!(">=3.8"))
            );
            assert_eq!(shown["hashes"]["sha256"], file.sha256(), "{name}: {shown}");
        }
        let below = world.get(&format!("{team}simple/{name}/"), &[AS_JSON]).await.assert_status(200).json();
        let strip = |mut page: Value| {
            for file in page["files"].as_array_mut().into_iter().flatten() {
                file["provenance"].take();
            }
            page
        };
        assert_eq!(strip(below), strip(page), "{name}");
    }
    // Nothing but the index is needed for it: of what is held all is here.
    world.upstream.stop().await;
    for name in ["no-metadata", "least"] {
        assert_eq!(world.keeps_its_promises(name).await[..2], [4, 3], "{name}");
    }
}

#[tokio::test]
async fn a_hosted_project_and_one_of_both_keep_their_promises() {
    let world = World::start().await;
    for file in public("hosted") {
        let form = file.form().add("attestations", &json!([attestation(&file)]).to_string());
        world.upload(&form).await.assert_status(200);
    }
    assert_eq!(world.keeps_its_promises("hosted").await, [4, 3, 4]);
    // A name of which public versions were held first: both are offered.
    let files = public("mixed");
    world.upstream.publish_distributions(&files);
    world.fetch(&files[0]).await;
    let own = PythonPackage::new("mixed", "3.0").wheel();
    world.put_controls("main", "mixed", "ALLOW", "ALLOW").await;
    world.publish(&own).await.assert_status(200);
    assert_eq!(world.keeps_its_promises("mixed").await, [5, 4, 0]);
    assert_eq!(world.keeps_its_promises("mixed").await, [5, 4, 0]);
    assert_eq!(world.page("mixed").await["versions"], json!(["1.0", "2.0rc1", "3.0"]));
}

#[tokio::test]
async fn metadata_that_the_index_has_not_is_advertised_from_the_first_download_on() {
    let world = World::start().await;
    let (first, second) = (demo("1.0").wheel(), demo("1.0").wheel_tagged(LINUX));
    world.upstream.pypi_settings(|settings| settings.core_metadata = false);
    world.upstream.publish_distributions([&first, &second]);
    let path = format!("{}.metadata", path_of(&first));
    let told = async || {
        let page = world.page("weir-demo").await;
        [&first, &second].map(|file| entry(&page, &file.file_name)["core-metadata"].is_object())
    };
    assert_eq!(told().await, [false, false]);
    world.get(&path, &[]).await.assert_status(404);
    // A head and metadata that are asked for bring nothing.
    world.send("HEAD", &path_of(&first), &[], "").await.assert_status(200);
    assert_eq!(told().await, [false, false]);
    world.fetch(&first).await;
    assert_eq!(told().await, [true, false]);
    assert_eq!(world.get(&path, &[]).await.assert_status(200).text(), first.metadata);
    world.fetch(&second).await;
    assert_eq!(told().await, [true, true]);
    assert_eq!(world.upstream.calls(&format!("/files/weir-demo/{}.metadata", first.file_name)), 0);
}

#[tokio::test]
async fn what_the_index_says_of_a_file_is_passed_on() {
    let world = World::start().await;
    let time = "2023-06-07T08:09:10.123456Z";
    let files = [
        demo("1.10").published(time).requires_python(">=3.8,<4").wheel(),
        demo("1.9").published("2022-01-01T00:00:00.000001Z").yanked("\"broken\" & <b>sad</b>").wheel(),
        demo("1.8").yanked("").sdist(),
    ];
    world.upstream.publish_distributions(&files);
    world.upstream.edit_project("weir-demo", |page| {
        page["project-status"] = json!({ "status": "archived", "reason": "it <is> done" });
        page["files"][0]["hashes"]["blake2b_256"] = json!("ab".repeat(32));
        page["files"][0]["weir:metadata-sha256"] = json!("cd".repeat(32));
        page["files"][0]["weir:provenance"] = json!(true);
        page["files"][0]["gpg-sig"] = json!(true);
    });
    for round in ["unseen", "held"] {
        let page = world.page("weir-demo").await;
        assert_eq!(page["versions"], json!(["1.8", "1.9", "1.10"]), "{round}");
        assert_eq!(page["project-status"], json!({ "status": "archived", "reason": "it <is> done" }));
        let [first, second, third] = files.each_ref().map(|file| entry(&page, &file.file_name));
        assert_eq!((&first["upload-time"], &first["size"]), (&json!(time), &json!(files[0].bytes.len())));
        assert_eq!(first["requires-python"], ">=3.8,<4");
        assert_eq!(first["hashes"], json!({ "sha256": files[0].sha256() }));
        assert_eq!(first["x-unheard-of"].to_string(), "[1,2.5,\"three\"]", "{round}: {first}");
        assert_eq!(
            first["core-metadata"]["sha256"],
            weir_testkit::python::sha256(files[0].metadata.as_bytes())
        );
        assert_eq!(first["url"], format!("1.10/{}", files[0].file_name));
        for member in ["gpg-sig", "weir:metadata-sha256", "weir:provenance", "provenance"] {
            assert!(first.get(member).is_none(), "{round}: {first}");
        }
        let reason = "\"broken\" & <b>sad</b>";
        assert_eq!(
            [&first["yanked"], &second["yanked"], &third["yanked"]],
            [&json!(false), &json!(reason), &json!(true)],
            "{round}"
        );
        assert_eq!(second["upload-time"], "2022-01-01T00:00:00.000001Z");
        let html = world.html("weir-demo").await;
        for words in [
            "<meta name=\"pypi:repository-version\" content=\"1.4\">",
            "<meta name=\"pypi:project-status\" content=\"archived\">",
            "<meta name=\"pypi:project-status-reason\" content=\"it &lt;is&gt; done\">",
            "data-requires-python=\"&gt;=3.8,&lt;4\"",
            "data-upload-time=\"2023-06-07T08:09:10.123456Z\"",
            "data-yanked=\"&quot;broken&quot; &amp; &lt;b&gt;sad&lt;/b&gt;\"",
            "data-yanked=\"\"",
        ] {
            assert!(html.contains(words), "{round}: {words} is not in {html}");
        }
        let upstream = world.upstream.address().to_string();
        assert!(!html.contains(&upstream) && !page.to_string().contains(&upstream), "{round}: {html}");
        for file in &files {
            world.fetch(file).await;
        }
    }
    let asked = "/v1/package/version?domain=local&repository=main&format=pypi&package=weir-demo&version=1.10";
    let described = world.weir.api("GET", asked, "").await.assert_status(200).json();
    assert_eq!(described["packageVersion"]["origin"]["originType"], "EXTERNAL", "{described}");
}

#[tokio::test]
async fn times_and_sizes_of_hosted_files_are_their_own() {
    let world = World::start().await;
    world.publish(&demo("1.0").wheel()).await.assert_status(200);
    world.publish(&demo("1.0").sdist()).await.assert_status(200);
    let page = world.page("weir-demo").await;
    for file in [demo("1.0").wheel(), demo("1.0").sdist()] {
        let shown = entry(&page, &file.file_name);
        let time = shown["upload-time"].as_str().unwrap_or_default();
        assert!(time.len() == "2026-01-01T00:00:00.000000Z".len() && time.ends_with('Z'), "{shown}");
        assert_eq!((&shown["size"], &shown["yanked"]), (&json!(file.bytes.len()), &json!(false)));
        assert_eq!(shown["hashes"], json!({ "sha256": file.sha256() }));
    }
}

#[tokio::test]
async fn provenance_is_served_as_it_came() {
    let world = World::start().await;
    let (public, own) = (demo("1.0").wheel(), PythonPackage::new("own-demo", "1.0").sdist());
    world.upstream.publish_distribution(&public);
    world.upstream.attest(&public.file_name, provenance(&public));
    let list = json!([attestation(&own), attestation(&own)]);
    world.upload(&own.form().add("attestations", &list.to_string())).await.assert_status(200);
    for round in ["unseen", "held"] {
        let path = format!("{}.provenance", path_of(&public));
        let served = world.get(&path, &[]).await;
        assert_eq!(served.assert_status(200).json(), provenance(&public), "{round}");
        assert_eq!(served.header("content-type"), "application/json");
        assert_eq!(served.header("cache-control"), "private, no-cache");
        assert_eq!(served.header("x-content-type-options"), "nosniff");
        assert_eq!(
            entry(&world.page("weir-demo").await, &public.file_name)["provenance"],
            format!("{}{path}", world.endpoint)
        );
        world.fetch(&public).await;
    }
    let served = world.get(&format!("{}.provenance", path_of(&own)), &[]).await.assert_status(200).json();
    let expected = json!({
        "version": 1,
        "attestation_bundles": [{ "publisher": { "kind": "none", "claims": null }, "attestations": list }],
    });
    assert_eq!(served, expected);
    assert_eq!(world.keeps_its_promises("own-demo").await, [1, 0, 1]);
    assert_eq!(world.keeps_its_promises("weir-demo").await, [1, 1, 1]);
}
