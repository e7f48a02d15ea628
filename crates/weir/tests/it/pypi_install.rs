//! Installing Python packages through a chain (`main`, `pypi-store`, a public index) with every client: what
//! is chosen, what is fetched how often and kept where, and what happens while the public index is away.

use crate::pypi_world::{USER, World, each_installer, file_names, start_over};
use weir_testkit::{Distribution, PypiSpeaks, PythonClient, PythonPackage, Tool};

/// What the requirements of [`REQUIRED`] lead to.
const TAKEN: &[(&str, &str)] =
    &[("weir-demo", "1.1"), ("leaf-pkg", "1.2"), ("more", "3.0"), ("local-ver", "1.0+x.1")];

/// Names as people write them, one with an extra.
const REQUIRED: &[&str] = &["Weir.Demo[Fancy]", "local_ver"];

fn demo(version: &str) -> PythonPackage {
    PythonPackage::new("Weir_Demo", version)
        .requires("leaf.pkg>=1,<2")
        .requires("MORE>=1; extra == \"fancy\"")
        .field("Provides-Extra", "fancy")
}

/// Versions to be taken and to be passed over; `leaf-pkg` is there as a source distribution alone.
fn catalogue() -> Vec<Distribution> {
    let leaf = |version: &str| PythonPackage::new("leaf-pkg", version);
    vec![
        demo("1.0").wheel(),
        demo("1.0").sdist(),
        demo("1.1").wheel(),
        demo("1.1").sdist(),
        demo("1.2").yanked("it leaks").wheel(),
        demo("1.3").requires_python(">=4").wheel(),
        demo("2.0rc1").wheel(),
        leaf("1.1").sdist(),
        leaf("1.2").sdist(),
        leaf("2.0").sdist(),
        PythonPackage::new("more", "3.0").wheel(),
        PythonPackage::new("local-ver", "1.0").wheel(),
        PythonPackage::new("local-ver", "1.0+x.1").wheel(),
        PythonPackage::new("unasked", "1.0").wheel(),
    ]
}

#[track_caller]
fn installed(client: &PythonClient, expected: &[(&str, &str)]) {
    for (name, version) in expected {
        assert_eq!(client.installed(name).as_deref(), Some(*version), "{}: {name}", client.tool().name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_installs_again_without_the_public_index() {
    each_installer(async |mut client| {
        let tool = client.tool().name();
        let world = World::start_with(|builder| builder.flag("--freshness", "1s")).await;
        world.upstream.publish_distributions(&catalogue());
        world.set_up(&mut client);

        client.install(REQUIRED).await.assert_ok();
        installed(&client, TAKEN);
        let ran = client.run_python("import weir_demo, leaf_pkg; print(weir_demo.VERSION)").await;
        assert_eq!(ran.assert_ok().stdout, "1.1\n", "{tool}");
        let fetched = world.fetched_files();
        assert!(fetched.windows(2).all(|pair| pair[0] != pair[1]), "{tool} fetched twice: {fetched:?}");
        for (name, version) in TAKEN {
            let kept = [((*version).to_owned(), "EXTERNAL".to_owned())];
            for repository in ["main", "pypi-store"] {
                assert_eq!(world.held(repository, name).await, kept, "{tool}: {name} in {repository}");
            }
        }
        assert_eq!(world.projects("main").await, ["leaf-pkg", "local-ver", "more", "weir-demo"], "{tool}");

        // With the lock file, where there is one, and without.
        world.upstream.reset_calls();
        client.forget();
        client.install(REQUIRED).await.assert_ok();
        installed(&client, TAKEN);
        assert_eq!(world.fetched_files(), [] as [&str; 0], "{tool}: all files are held");

        world.upstream.stop().await;
        start_over(&client);
        client.install(REQUIRED).await.assert_ok();
        installed(&client, TAKEN);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yanked_version_or_a_pre_release_is_installed_by_its_number_alone() {
    let world = &World::start().await;
    world.upstream.publish_distributions(&catalogue());
    each_installer(async |mut client| {
        world.set_up(&mut client);
        for (requirement, version) in [("WEIR--demo==1.2", "1.2"), ("weir_demo==2.0rc1", "2.0rc1")] {
            start_over(&client);
            client.install(&[requirement]).await.assert_ok();
            installed(&client, &[("weir-demo", version), ("leaf-pkg", "1.2")]);
        }
        if matches!(client.tool(), Tool::Pip | Tool::Uv) {
            let refused = client.install(&["weir-demo==1.3"]).await;
            refused.assert_fails().assert_says(">=4");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_asked_for_and_the_wheel_of_a_losing_candidate_is_not() {
    each_installer(async |mut client| {
        let tool = client.tool().name();
        let world = World::start().await;
        let version = |version: &str, leaf: &str| PythonPackage::new("root", version).requires(leaf).wheel();
        let (loses, wins) = (version("2.0", "leaf>=5"), version("1.0", "leaf>=1"));
        let leaf = PythonPackage::new("leaf", "1.0").wheel();
        world.upstream.publish_distributions([&loses, &wins, &leaf]);
        world.set_up(&mut client);
        client.install(&["root"]).await.assert_ok();
        installed(&client, &[("root", "1.0"), ("leaf", "1.0")]);
        for wheel in [&loses, &wins] {
            let metadata = format!("/files/root/{}.metadata", wheel.file_name);
            assert_eq!(world.upstream.calls(&metadata), 1, "{tool}: {metadata}");
        }
        assert_eq!(world.fetched_files(), [leaf.file_name, wins.file_name], "{tool}");
        for repository in ["main", "pypi-store"] {
            assert_eq!(world.held(repository, "root").await, [("1.0".into(), "EXTERNAL".into())], "{tool}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_installs_from_an_old_index_that_speaks_html_alone() {
    each_installer(async |mut client| {
        let world = World::start().await;
        world.upstream.publish_distributions(&catalogue());
        world.upstream.pypi_settings(|settings| {
            settings.speaks = PypiSpeaks::Html;
            settings.core_metadata = false;
            settings.relative_urls = true;
        });
        world.set_up(&mut client);
        client.install(REQUIRED).await.assert_ok();
        installed(&client, TAKEN);
    })
    .await;
}

#[tokio::test]
async fn pip_lists_downloads_and_checks_hashes() {
    let world = World::start().await;
    let Some(pip) = world.pip() else { return };
    world.upstream.publish_distributions(&catalogue());
    let listed = pip.run(&["index", "versions", "weir.demo"]).await;
    listed.assert_ok().assert_says("Available versions: 1.1, 1.0\n");
    let all = pip.run(&["index", "versions", "weir-demo", "--pre", "--json"]).await.assert_ok().json();
    assert_eq!(all["versions"], serde_json::json!(["2.0rc1", "1.1", "1.0"]));
    assert_eq!(world.fetched_files(), [] as [&str; 0], "a list fetches no file");

    pip.run(&["download", "--dest", "here", "weir-demo", "--no-deps"]).await.assert_ok();
    pip.run(&["download", "--dest", "here", "weir-demo", "--no-deps", "--no-binary", ":all:"])
        .await
        .assert_ok();
    for distribution in [demo("1.1").wheel(), demo("1.1").sdist()] {
        let path = pip.project().join("here").join(&distribution.file_name);
        assert_eq!(fs_err::read(path).expect("pip wrote it"), distribution.bytes);
    }

    let (wheel, leaf) = (demo("1.1").wheel(), PythonPackage::new("leaf-pkg", "1.2").sdist());
    let pinned = |demo: &str| {
        format!("weir-demo==1.1 --hash=sha256:{demo}\nleaf-pkg==1.2 --hash=sha256:{}\n", leaf.sha256())
    };
    pip.write("good.txt", pinned(&wheel.sha256()));
    pip.write("bad.txt", pinned(&leaf.sha256()));
    pip.run(&["install", "--require-hashes", "-r", "bad.txt"]).await.assert_fails();
    pip.run(&["install", "--require-hashes", "-r", "good.txt"]).await.assert_ok();
    installed(&pip, &[("weir-demo", "1.1"), ("leaf-pkg", "1.2")]);
}

#[tokio::test]
async fn the_lock_file_of_uv_names_weir_and_no_token_and_is_enough_to_install() {
    let Some(mut uv) = PythonClient::uv() else { return };
    let world = World::start().await;
    world.upstream.publish_distributions(&catalogue());
    world.set_up(&mut uv);
    uv.write_manifest(REQUIRED);
    uv.run(&["lock"]).await.assert_ok();
    let lock = uv.read("uv.lock").expect("uv wrote it");
    assert!(!lock.contains(&world.token) && !lock.contains(USER), "{lock}");
    let addresses: Vec<&str> = lock.match_indices("http").map(|(at, _)| &lock[at..]).collect();
    let foreign = addresses.iter().find(|address| !address.starts_with(&world.endpoint));
    assert!(addresses.len() > 5 && foreign.is_none(), "{lock}");
    let leaf = PythonPackage::new("leaf-pkg", "1.2").sdist();
    for distribution in [demo("1.1").wheel(), demo("1.1").sdist(), leaf] {
        assert!(lock.contains(&format!("sha256:{}", distribution.sha256())), "{lock}");
        assert!(lock.contains(&format!("size = {}", distribution.bytes.len())), "{lock}");
    }

    uv.run(&["sync", "--locked"]).await.assert_ok();
    installed(&uv, TAKEN);
    world.upstream.reset_calls();
    uv.forget();
    uv.run(&["sync", "--locked"]).await.assert_ok();
    installed(&uv, TAKEN);
    assert_eq!(world.fetched_files(), [] as [&str; 0]);
    world.upstream.stop().await;
    uv.forget();
    uv.run(&["sync", "--frozen"]).await.assert_ok();
    installed(&uv, TAKEN);
    assert_eq!(uv.read("uv.lock").as_deref(), Some(lock.as_str()));
}

#[tokio::test]
async fn uv_leaves_out_what_the_public_index_got_too_late() {
    let Some(mut uv) = PythonClient::uv() else { return };
    let world = World::start().await;
    let version = |version: &str, time: &str| PythonPackage::new("aged", version).published(time).wheel();
    let versions = [version("1.0", "2023-03-01T00:00:00Z"), version("2.0", "2024-03-01T00:00:00.123456Z")];
    world.upstream.publish_distributions(&versions);
    world.set_up(&mut uv);
    for (limit, expected) in [("2023-06-01T00:00:00Z", "1.0"), ("2024-06-01T00:00:00Z", "2.0")] {
        uv.run(&["pip", "install", "aged", "--exclude-newer", limit, "--upgrade"]).await.assert_ok();
        installed(&uv, &[("aged", expected)]);
    }
    let page = world.page("aged").await;
    assert_eq!(page["files"][1]["upload-time"], "2024-03-01T00:00:00.123456Z");
}

#[tokio::test]
async fn a_chain_keeps_what_was_fetched_at_both_of_its_ends() {
    let Some(mut pip) = PythonClient::pip() else { return };
    let world = World::start().await;
    world.upstream.publish_distributions(&catalogue());
    world.repository("shared", &["pypi-store"]).await;
    let app = world.repository("app", &["shared"]).await;
    pip.write_config(&format!("{app}simple/"), Some((USER, &world.token)));
    pip.install(&["weir-demo"]).await.assert_ok();
    let names = ["leaf-pkg", "weir-demo"];
    for (repository, expected) in
        [("app", &names[..]), ("shared", &[]), ("pypi-store", &names[..]), ("main", &[])]
    {
        assert_eq!(world.projects(repository).await, expected, "{repository}");
    }
    // The page shows what the public index offers, held or not.
    let page = world.page("weir-demo").await;
    assert_eq!(file_names(&page).len(), 7, "{page:#}");
}
