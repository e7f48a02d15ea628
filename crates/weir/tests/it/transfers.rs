//! How files come from a public registry: over one HTTP/2 connection where it speaks that, and without a client's
//! noticing when a transfer is cut and the registry vouches that the file is still the same.

use crate::npm_world::World;
use futures_util::future::join_all;
use serde_json::Value;
use std::time::Duration;
use weir_testkit::package::noise;
use weir_testkit::proxy::Proxy;
use weir_testkit::{Fault, NpmPackage, Upstream, Weir};

/// A registry that speaks HTTP/2 over TLS: another server, behind a proxy that counts connections.
#[tokio::test]
async fn many_requests_to_a_registry_that_speaks_http2_share_one_connection() {
    const PACKAGES: usize = 40;
    let upstream = Upstream::start().await;
    let packages: Vec<NpmPackage> = (0..PACKAGES)
        .map(|n| NpmPackage::new(&format!("package-{n}"), "1.0.0").file("noise", noise(40_000 + n)))
        .collect();
    upstream.publish_all(&packages);
    // So that all of them are in flight at one time.
    upstream.fail("/package-", Fault::Delay(Duration::from_millis(300)));
    let builder = Weir::builder(env!("CARGO_BIN_EXE_weir")).npmjs(&upstream.url());
    let registry = builder.argument("--tls-self-signed").start().await;
    let authority = registry.data().join("tls/ca.pem").display().to_string();
    let create = ["token", "create", "--domain", "local", "--description", "mirror", "--ca-file", &authority];
    let token = registry.cli(&create).await.assert_ok().stdout.trim().to_owned();
    let proxy = Proxy::start(registry.authority()).await;

    let folder = tempfile::tempdir().expect("a folder");
    let token_file = folder.path().join("token");
    fs_err::write(&token_file, token).expect("it can be written");
    let token_file = token_file.display().to_string();
    let weir = Weir::builder(env!("CARGO_BIN_EXE_weir")).start().await;
    let url = format!("https://{}/npm/d/local-000000000000/main/", proxy.authority());
    let set = ["connections", "set", "public:npmjs", &url, "--token-file", &token_file];
    weir.cli(&[&set[..], &["--registry-ca-file", &authority]].concat()).await.assert_ok();
    let token = weir.token("local").await;
    let (weir, token) = (&weir, &token);
    let main = "/npm/d/local-000000000000/main";
    // The first makes the connection.
    weir.get(&format!("{main}/package-0"), token).await.assert_status(200);
    join_all(packages.iter().map(|package| async move {
        weir.get(&format!("{main}/{}", package.full_name()), token).await.assert_status(200);
        let file = weir.get(&format!("{main}/{}", package.tarball_path()), token).await;
        assert!(file.assert_status(200).body == package.tarball(), "{}", package.full_name());
    }))
    .await;
    assert_eq!(proxy.connections(), 1);
}

fn file_requests(world: &World) -> Vec<(String, String)> {
    let requests = world.upstream.requests();
    let files = requests.iter().filter(|seen| seen.path.ends_with(".tgz"));
    files.map(|seen| (seen.header("range").to_owned(), seen.header("if-range").to_owned())).collect()
}

#[tokio::test]
async fn a_cut_transfer_is_taken_up_again_unseen_by_the_client() {
    let world = World::start().await;
    for (name, size, cut) in [
        ("early", 100_000, 1000),
        ("small", 100_000, 30_000),
        ("large", 4 << 20, 2_500_000),
        ("begun", 4 << 20, 1),
    ] {
        world.upstream.reset_calls();
        let package = NpmPackage::new(name, "1.0.0").file("noise", noise(size));
        world.upstream.publish(&package);
        world.upstream.fail_times(&format!("/{name}/-/"), Fault::Cut(cut), 1);
        let file = world.get(&package.tarball_path(), &[]).await;
        assert!(file.assert_status(200).body == package.tarball(), "{name}");
        let asked = file_requests(&world);
        assert_eq!(asked.len(), 2, "{name}: {asked:?}");
        assert_eq!(asked[1].0, format!("bytes={cut}-"), "{name}");
        assert!(asked[1].1.starts_with('"'), "{name}: {asked:?}");
        assert_eq!(world.held("main", &package).await, ["1.0.0"]);
    }
}

/// Whatever the registry says of its files: what came is compared with the digest, or nobody had it yet.
#[tokio::test]
async fn a_transfer_that_is_cut_at_its_beginning_or_has_no_tag_is_begun_again_unseen_by_the_client() {
    let world = World::start().await;
    let untagged = || vec![Fault::NoHeader("etag")];
    let weak = || vec![Fault::Header("etag", "W/\"1\"".to_owned())];
    for (name, size, cut, faults) in [
        ("nothing-small", 100_000, 0, vec![]),
        ("nothing-large", 4 << 20, 0, vec![]),
        ("untagged-small", 100_000, 30_000, untagged()),
        ("untagged-large", 4 << 20, 2_500_000, untagged()),
        ("weak-small", 100_000, 1000, weak()),
        ("weak-large", 4 << 20, 1000, weak()),
        ("undigested", 100_000, 30_000, vec![]),
    ] {
        world.upstream.reset_calls();
        let package = NpmPackage::new(name, "1.0.0").file("noise", noise(size));
        world.upstream.publish(&package);
        if name == "undigested" {
            world.upstream.edit(name, without_digests);
        }
        let path = format!("/{name}/-/");
        for fault in faults {
            world.upstream.fail(&path, fault);
        }
        world.upstream.fail_times(&path, Fault::Cut(cut), 1);
        let file = world.get(&package.tarball_path(), &[]).await;
        assert!(file.assert_status(200).body == package.tarball(), "{name}");
        assert_eq!(file_requests(&world), [(), ()].map(|()| (String::new(), String::new())), "{name}");
        assert_eq!(world.held("main", &package).await, ["1.0.0"]);
    }
}

#[tokio::test]
async fn a_registry_that_stalls_within_a_file_is_asked_again() {
    let world = World::start_with(|builder| builder.flag("--idle-timeout", "1s")).await;
    for (name, size, stall, range) in
        [("small", 100_000, 30_000, "bytes=30000-"), ("large", 4 << 20, 2_500_000, "bytes=2500000-")]
    {
        world.upstream.reset_calls();
        let package = NpmPackage::new(name, "1.0.0").file("noise", noise(size));
        world.upstream.publish(&package);
        world.upstream.fail_times(&format!("/{name}/-/"), Fault::Stall(stall), 1);
        let file = world.get(&package.tarball_path(), &[]).await;
        assert!(file.assert_status(200).body == package.tarball(), "{name}");
        let asked = file_requests(&world);
        assert_eq!((asked.len(), &*asked[1].0), (2, range), "{name}");
    }
}

#[tokio::test]
async fn a_transfer_that_is_cut_again_and_again_is_given_up() {
    let world = World::start().await;
    for (name, cut, requests) in [("stuck", 1000, 2), ("untagged", 20_000, 4)] {
        world.upstream.reset_calls();
        let package = NpmPackage::new(name, "1.0.0").file("noise", noise(200_000));
        world.upstream.publish(&package);
        let path = format!("/{name}/-/");
        if name == "untagged" {
            world.upstream.fail(&path, Fault::NoHeader("etag"));
        } else {
            world.upstream.fail(&path, Fault::Header("etag", "\"1\"".to_owned()));
        }
        world.upstream.fail(&path, Fault::Cut(cut));
        world.get(&package.tarball_path(), &[]).await.assert_status(503);
        assert_eq!(file_requests(&world).len(), requests, "{name}");
    }
}

fn without_digests(document: &mut Value) {
    let dist = document["versions"]["1.0.0"]["dist"].as_object_mut().expect("an object");
    dist.remove("integrity");
    dist.remove("shasum");
}

#[tokio::test]
async fn a_cut_transfer_is_given_up_when_the_rest_may_be_of_another_file() {
    let world = World::start().await;
    let place = |place: &str| vec![Fault::Header("content-range", place.to_owned())];
    let whole = || noise(100_000).into();
    let cases = [
        ("tagless", vec![Fault::Cut(30_000)], vec![Fault::NoHeader("etag")], 503, 2),
        ("elsewhere", vec![Fault::Cut(30_000)], place("bytes 29999-100000/100001"), 503, 2),
        ("shorter", vec![Fault::Cut(30_000)], place("bytes 30000-40000/40001"), 503, 2),
        ("placeless", vec![Fault::Cut(30_000)], vec![Fault::NoHeader("content-range")], 503, 2),
        ("restarted", vec![Fault::Cut(30_000)], vec![Fault::Body(whole())], 503, 2),
        ("changed", vec![Fault::Cut(30_000)], vec![Fault::Header("etag", "\"2\"".to_owned())], 503, 2),
        ("gone", vec![Fault::Cut(30_000)], vec![Fault::Status(404)], 503, 2),
        ("wrong", vec![Fault::Cut(30_000)], vec![Fault::Corrupt], 502, 2),
    ];
    for (name, first, second, status, requests) in cases {
        world.upstream.reset_calls();
        let package = NpmPackage::new(name, "1.0.0").file("noise", noise(100_000));
        world.upstream.publish(&package);
        world.get(name, &[]).await.assert_status(200);
        let path = format!("/{name}/-/");
        for fault in first {
            world.upstream.fail_times(&path, fault, 1);
        }
        let tarball = package.tarball_path();
        let later = async {
            while file_requests(&world).is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            for fault in second {
                world.upstream.fail_times(&path, fault, 1);
            }
        };
        let (answer, ()) = tokio::join!(world.get(&tarball, &[]), later);
        answer.assert_status(status);
        assert_eq!(file_requests(&world).len(), requests, "{name}");
        assert!(world.held("main", &package).await.is_empty(), "{name}");
        world.upstream.heal();
        let file = world.get(&package.tarball_path(), &[]).await;
        assert!(file.assert_status(200).body == package.tarball(), "{name}");
    }
}

/// Clients have some of it, and nothing would show that the rest is of another file.
#[tokio::test]
async fn a_cut_transfer_of_which_the_index_gives_no_digest_is_given_up() {
    let world = World::start().await;
    let package = NpmPackage::new("undigested", "1.0.0").file("noise", noise(4 << 20));
    world.upstream.publish(&package);
    world.upstream.edit("undigested", without_digests);
    world.upstream.fail_times("/undigested/-/", Fault::Cut(2_500_000), 1);
    let bearer = format!("Bearer {}", world.token);
    let url = format!("{}{}", world.endpoint, package.tarball_path());
    let opened = weir_testkit::http::open("GET", &url, &[("authorization", &bearer)], "").await;
    let mut answer = opened.unwrap_or_else(|error| panic!("{error}"));
    let is_whole = loop {
        match answer.chunk().await {
            Ok(Some(_)) => {}
            end => break end.is_ok(),
        }
    };
    assert!(!is_whole);
    assert_eq!(file_requests(&world).len(), 1);
    let file = world.get(&package.tarball_path(), &[]).await;
    assert!(file.assert_status(200).body == package.tarball());
}
