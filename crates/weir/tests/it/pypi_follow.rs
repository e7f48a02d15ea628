//! A retained version goes on following its public index: new files and yanks, until something stops it. What
//! is held stays; what is not held needs the index.

use crate::pypi_index::{AS_JSON, World, demo, entry, names, path_of};
use futures_util::future::join_all;
use serde_json::json;
use std::time::Duration;
use weir_testkit::{Distribution, Fault, PythonPackage, Upstream};

const LINUX: &str = "cp312-cp312-manylinux_2_17_x86_64";
const NO_CACHE: (&str, &str) = ("cache-control", "no-cache");

/// The wheel that is there first and the one that its registry adds later.
fn wheels() -> [Distribution; 2] {
    [demo("1.0").wheel(), demo("1.0").wheel_tagged(LINUX)]
}

/// A world whose `main` holds the first wheel.
async fn holding() -> (World, Distribution, Distribution) {
    let world = World::following().await;
    let [first, later] = wheels();
    world.upstream.publish_distribution(&first);
    world.fetch(&first).await;
    (world, first, later)
}

#[tokio::test]
async fn a_wheel_that_its_registry_adds_is_listed_fetched_and_kept() {
    let (world, first, later) = holding().await;
    assert_eq!(world.files("weir-demo").await, [&*first.file_name]);
    world.upstream.publish_distribution(&later);
    assert_eq!(world.files("weir-demo").await, [&*later.file_name, &*first.file_name]);
    assert!(world.html("weir-demo").await.contains(&later.file_name));
    world.fetch(&later).await;
    assert_eq!(world.keeps_its_promises("weir-demo").await, [2, 2, 0]);
    world.upstream.remove_project("weir-demo");
    assert_eq!(world.keeps_its_promises("weir-demo").await, [2, 2, 0], "gone upstream");
    world.upstream.stop().await;
    assert_eq!(world.keeps_its_promises("weir-demo").await, [2, 2, 0], "the registry is away");
    world.connection("DELETE", "pypi-store", "public:pypi").await;
    assert_eq!(world.keeps_its_promises("weir-demo").await, [2, 2, 0], "the connection is gone");
    assert_eq!(world.held("main", "weir-demo").await, ["1.0"]);
}

#[tokio::test]
async fn a_file_that_was_added_is_given_to_who_asks_before_the_page_grows_old() {
    let world = World::start().await;
    let [first, later] = wheels();
    world.upstream.publish_distribution(&first);
    world.fetch(&first).await;
    let unheld = PythonPackage::new("unheld", "1.0");
    world.upstream.publish_distribution(&unheld.wheel());
    world.get("simple/unheld/", &[]).await.assert_status(200);
    world.get("simple/late/", &[]).await.assert_status(404);

    // An index is asked again at most once in ten seconds, whoever insists.
    let late = PythonPackage::new("late", "1.0").wheel();
    let news = [later, demo("2.0").wheel(), unheld.sdist(), late];
    world.upstream.publish_distributions(&news);
    for file in &news[..2] {
        world.get(&path_of(file), &[]).await.assert_status(404);
    }
    world.get("simple/weir-demo/", &[NO_CACHE]).await.assert_status(200);
    assert_eq!(world.upstream.calls("/simple/weir-demo/"), 1);
    tokio::time::sleep(Duration::from_millis(10_100)).await;
    assert_eq!(world.files("weir-demo").await, [&*first.file_name], "five minutes");
    for file in &news {
        world.fetch(file).await;
    }
    assert_eq!(world.upstream.calls("/simple/weir-demo/"), 2, "one question brings all");
    assert_eq!(world.files("weir-demo").await.len(), 3);

    world.upstream.publish_distribution(&demo("3.0").wheel());
    tokio::time::sleep(Duration::from_millis(10_100)).await;
    assert_eq!(world.files("weir-demo").await.len(), 3);
    let forced = world.get("simple/weir-demo/", &[AS_JSON, NO_CACHE]).await.assert_status(200).json();
    assert_eq!(names(&forced).len(), 4);
    let requests = world.upstream.requests();
    let last = requests.iter().rfind(|seen| seen.path == "/simple/weir-demo/").expect("it was asked");
    assert!(!last.header("if-none-match").is_empty(), "{last:?}");
}

#[tokio::test]
async fn a_page_is_asked_for_again_when_it_is_no_longer_fresh() {
    let world = World::start_with(|builder| builder.flag("--freshness", "1s")).await;
    let [first, later] = wheels();
    world.upstream.publish_distribution(&first);
    for _ in 0..3 {
        assert_eq!(world.files("weir-demo").await.len(), 1);
    }
    assert_eq!(world.upstream.calls("/simple/weir-demo/"), 1);
    world.upstream.publish_distribution(&later);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(world.files("weir-demo").await.len(), 2);
    assert_eq!(world.upstream.calls("/simple/weir-demo/"), 2);
}

#[tokio::test]
async fn a_version_is_yanked_and_taken_back_with_its_registry() {
    let (world, first, later) = holding().await;
    world.upstream.publish_distributions([&later, &demo("2.0").wheel()]);
    let yanked =
        async |file: &Distribution| entry(&world.page("weir-demo").await, &file.file_name)["yanked"].clone();
    let described = async || {
        let path =
            "/v1/package/version?domain=local&repository=main&format=pypi&package=weir-demo&version=1.0";
        world.weir.api("GET", path, "").await.assert_status(200).json()["packageVersion"]["status"].clone()
    };
    assert_eq!((yanked(&first).await, yanked(&later).await), (json!(false), json!(false)));
    world.upstream.yank("weir-demo", "1.0", "breaks");
    for file in [&first, &later] {
        assert_eq!(yanked(file).await, "breaks", "held or not");
    }
    assert!(world.html("weir-demo").await.contains("data-yanked=\"breaks\""));
    assert_eq!(yanked(&demo("2.0").wheel()).await, false);
    let told = world.get("pypi/weir-demo/1.0/json", &[]).await.assert_status(200).json();
    assert_eq!((&told["info"]["yanked"], &told["info"]["yanked_reason"]), (&json!(true), &json!("breaks")));
    assert_eq!(world.get("pypi/weir-demo/json", &[]).await.json()["info"]["version"], "2.0");
    // Whoever has it in a lock file gets it.
    world.fetch(&later).await;
    assert_eq!(described().await, "Published");
    // One file alone.
    world.upstream.edit_project("weir-demo", |page| page["files"][0]["yanked"] = json!(false));
    assert_eq!((yanked(&first).await, yanked(&later).await), (json!(false), json!("breaks")));
    world.upstream.edit_project("weir-demo", |page| page["files"][1]["yanked"] = json!(false));
    assert_eq!((yanked(&first).await, yanked(&later).await), (json!(false), json!(false)));
    // Gone upstream, it is as it was last.
    world.upstream.yank("weir-demo", "1.0", "");
    assert_eq!(yanked(&first).await, true);
}

#[tokio::test]
async fn following_stops_where_the_way_to_the_index_is_cut() {
    for what in ["connection", "upstream", "control"] {
        let (world, first, promised) = holding().await;
        world.upstream.publish_distribution(&promised);
        // From now on the version is known to have a file that was never fetched.
        world.put_status("main", "weir-demo", "1.0", "Deleted").await;
        world.put_status("pypi-store", "weir-demo", "1.0", "Deleted").await;
        world.fetch(&first).await;
        assert_eq!(world.files("weir-demo").await.len(), 2, "{what}");
        let cut = async |method: &str| match what {
            "connection" => world.connection(method, "pypi-store", "public:pypi").await,
            "upstream" => {
                let upstreams: &[&str] = if method == "DELETE" { &[] } else { &["pypi-store"] };
                world.put_upstreams("PUT", "main", upstreams).await;
            }
            _ => {
                let upstream = if method == "DELETE" { "BLOCK" } else { "ALLOW" };
                world.put_controls("main", "weir-demo", "BLOCK", upstream).await;
            }
        };
        cut("DELETE").await;
        world.upstream.reset_calls();
        let news = [demo("1.0").sdist(), demo("2.0").wheel()];
        world.upstream.publish_distributions(&news);
        world.upstream.yank("weir-demo", "1.0", "late");
        assert_eq!(
            world.files("weir-demo").await,
            [&*first.file_name],
            "{what}: what was never fetched is not listed"
        );
        assert_eq!(world.keeps_its_promises("weir-demo").await, [1, 1, 0], "{what}");
        assert_eq!(entry(&world.page("weir-demo").await, &first.file_name)["yanked"], false, "{what}");
        for file in news.iter().chain([&promised]) {
            let answer = world.get(&path_of(file), &[]).await;
            assert!(
                [404, 503].contains(&answer.status.as_u16()),
                "{what}: {}: {}",
                file.file_name,
                answer.text()
            );
        }
        assert_eq!(world.upstream.total_calls(), 0, "{what}: {:?}", world.upstream.requests());
        cut("POST").await;
        assert_eq!(world.files("weir-demo").await.len(), 4, "{what}: listed again");
        assert_eq!(entry(&world.page("weir-demo").await, &first.file_name)["yanked"], "late", "{what}");
        assert_eq!(world.keeps_its_promises("weir-demo").await, [4, 3, 0], "{what}");
    }
}

#[tokio::test]
async fn following_stops_with_a_status_that_ends_a_version() {
    for (repository, status) in
        [("main", "Archived"), ("pypi-store", "Archived"), ("main", "Unlisted"), ("pypi-store", "Unlisted")]
    {
        let what = format!("{status} in {repository}");
        let (world, first, later) = holding().await;
        world.put_status(repository, "weir-demo", "1.0", status).await;
        world.upstream.publish_distributions([&later, &demo("2.0").wheel()]);
        world.upstream.yank("weir-demo", "1.0", "late");
        let page = world.page("weir-demo").await;
        let told = names(&page);
        let get = async |file: &Distribution| world.get(&path_of(file), &[]).await.status.as_u16();
        let gives = (get(&first).await, get(&later).await);
        match (repository, status) {
            // The nearest record decides: it has none to give.
            ("main", "Archived") => {
                assert_eq!((told.len(), gives), (1, (404, 404)), "{what}: {told:?}");
                for path in [format!("{}.metadata", path_of(&first)), "pypi/weir-demo/1.0/json".to_owned()] {
                    world.get(&path, &[]).await.assert_status(404);
                    world.send("HEAD", &path, &[], "").await.assert_status(404);
                }
            }
            ("main", _) => assert_eq!((told.len(), gives), (1, (200, 200)), "{what}: {told:?}"),
            // It is as it was retained.
            (_, "Archived") => {
                assert_eq!((told.len(), gives), (2, (200, 404)), "{what}: {told:?}");
                assert_eq!(entry(&page, &first.file_name)["yanked"], false, "{what}");
            }
            _ => {
                assert_eq!((told.len(), gives), (3, (200, 200)), "{what}: {told:?}");
                assert_eq!(entry(&page, &first.file_name)["yanked"], "late", "{what}");
            }
        }
        if status == "Archived" {
            world.put_status(repository, "weir-demo", "1.0", "Published").await;
            assert_eq!(world.keeps_its_promises("weir-demo").await, [3, 3, 0], "{what} no more");
        }
    }
}

#[tokio::test]
async fn following_stops_where_the_version_was_published_by_hand() {
    let (world, first, later) = holding().await;
    let private = world.repository("private", &[]).await;
    world.put_upstreams("PUT", "main", &["pypi-store", "private"]).await;
    let own = demo("1.0").summary("Another one.").sdist();
    world.upload_to(&private, &own.form()).await.assert_status(200);
    world.upstream.publish_distributions([&later, &demo("2.0").wheel()]);
    world.upstream.yank("weir-demo", "1.0", "late");
    let page = world.page("weir-demo").await;
    let told: Vec<_> = names(&page).into_iter().filter(|name| name.contains("-1.0")).collect();
    assert_eq!(told, [&*first.file_name], "the nearest record decides, and is frozen");
    assert_eq!(entry(&page, &first.file_name)["yanked"], false);
    world.get(&path_of(&later), &[]).await.assert_status(404);
    world.get(&path_of(&own), &[]).await.assert_status(404);
    world.fetch(&first).await;
}

#[tokio::test]
async fn a_file_that_its_registry_removes_stays_if_it_is_held() {
    let (world, first, later) = holding().await;
    let gone = demo("1.0").sdist();
    world.upstream.publish_distributions([&later, &gone]);
    world.fetch(&later).await;
    for file in [&first, &gone] {
        world.upstream.unpublish_file(&file.file_name);
    }
    assert_eq!(
        world.files("weir-demo").await,
        [&*later.file_name, &*first.file_name],
        "what nobody has is not listed"
    );
    assert_eq!(world.keeps_its_promises("weir-demo").await, [2, 2, 0]);
    let answer = world.get(&path_of(&gone), &[]).await;
    assert!([404, 502].contains(&answer.status.as_u16()), "{}", answer.text());
}

#[tokio::test]
async fn bytes_that_no_index_promises_are_those_that_were_seen_first() {
    let world = World::following().await;
    world.upstream.pypi_settings(|settings| settings.hashes = false);
    let first = demo("1.0").wheel();
    world.upstream.publish_distribution(&first);
    world.fetch(&first).await;
    let other = demo("1.0").summary("Swapped.").wheel();
    world.upstream.pypi_settings(|settings| settings.sizes_and_times = false);
    world.upstream.set_file(&first.file_name, other.bytes.clone());
    world.fetch(&first).await;
    for repository in ["main", "pypi-store"] {
        world.put_status(repository, "weir-demo", "1.0", "Deleted").await;
    }
    let refused = world.get(&path_of(&first), &[]).await;
    let reason = refused.assert_status(502).text();
    assert!(reason.contains("weir connections unpin public:pypi weir-demo"), "{reason}");
    assert_eq!(world.held("main", "weir-demo").await, [""; 0]);
    world.weir.cli(&["connections", "unpin", "public:pypi", "weir-demo"]).await.assert_ok();
    let answer = world.get(&path_of(&first), &[]).await;
    assert_eq!(answer.assert_status(200).body, other.bytes);
}

#[tokio::test]
async fn of_two_indexes_each_version_follows_its_own() {
    let second = Upstream::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("weir.toml");
    let text = format!("[external-connections.mine]\nurl = '{}'\nformat = 'pypi'\n", second.pypi_url());
    fs_err::write(&file, text).expect("a temporary folder can be written");
    let config = file.display().to_string();
    let world =
        World::start_with(|builder| builder.flag("--config", &config).flag("--freshness", "0s")).await;
    world.repository("second-store", &[]).await;
    world.connection("POST", "second-store", "mine").await;
    world.put_upstreams("PUT", "main", &["pypi-store", "second-store"]).await;
    let here = [demo("1.0").wheel(), demo("3.0").wheel()];
    let there =
        [demo("1.0").summary("Another.").wheel(), demo("1.0").wheel_tagged(LINUX), demo("2.0").wheel()];
    world.upstream.publish_distributions(&here);
    second.publish_distributions(&there);
    assert_eq!(world.page("weir-demo").await["versions"], json!(["1.0", "2.0", "3.0"]));
    for file in [&here[0], &there[2], &here[1]] {
        world.fetch(file).await;
    }
    world.get(&path_of(&there[1]), &[]).await.assert_status(404);
    assert_eq!(world.held("pypi-store", "weir-demo").await, ["1.0", "3.0"]);
    assert_eq!(world.held("second-store", "weir-demo").await, ["2.0"]);
    // Each follows the index that it came from, and no other.
    second.publish_distributions([&demo("2.0").sdist(), &demo("3.0").sdist()]);
    world.upstream.publish_distribution(&demo("2.0").wheel_tagged(LINUX));
    second.yank("weir-demo", "1.0", "not mine");
    second.yank("weir-demo", "2.0", "mine");
    let page = world.page("weir-demo").await;
    let expected = [
        "weir_demo-1.0-py3-none-any.whl",
        "weir_demo-2.0-py3-none-any.whl",
        "weir_demo-2.0.tar.gz",
        "weir_demo-3.0-py3-none-any.whl",
    ];
    let told: Vec<_> =
        page["files"].as_array().into_iter().flatten().map(|file| file["filename"].clone()).collect();
    if told != expected {
        panic!("{told:?}");
    }
    assert_eq!(entry(&page, &here[0].file_name)["yanked"], false);
    assert_eq!(entry(&page, &there[2].file_name)["yanked"], "mine");
    // One of them away: of what it has the last known is told.
    second.stop().await;
    let answer = world.get("simple/weir-demo/", &[AS_JSON]).await;
    assert_eq!(names(&answer.assert_status(200).json()), expected);
    assert!(answer.header("warning").starts_with("110 "), "{:?}", answer.headers);
}

#[tokio::test]
async fn two_clients_that_want_several_files_ask_for_each_once() {
    let world = World::start().await;
    let files: Vec<_> =
        (8..16).map(|minor| demo("1.0").wheel_tagged(&format!("cp3{minor}-abi3-any"))).collect();
    world.upstream.publish_distributions(&files);
    world.upstream.fail("/files/", Fault::Delay(Duration::from_millis(200)));
    let client = async || {
        world.page("weir-demo").await;
        let metadata = files.iter().map(|file| async {
            let answer = world.get(&format!("{}.metadata", path_of(file)), &[]).await;
            assert_eq!(answer.assert_status(200).text(), file.metadata);
        });
        join_all(metadata).await;
        join_all(files.iter().map(|file| world.fetch(file))).await;
    };
    join_all([client(), client()]).await;
    let requests = world.upstream.requests();
    for seen in &requests {
        assert_eq!(world.upstream.calls(&seen.path), 1, "{}", seen.path);
    }
    assert_eq!(requests.len(), 1 + 2 * files.len());
    assert_eq!(world.held("main", "weir-demo").await, ["1.0"]);
    assert_eq!(world.files("weir-demo").await.len(), files.len());
}

#[tokio::test]
async fn a_file_is_kept_by_who_asked_for_it_when_the_store_has_dropped_the_version() {
    let world = World::start().await;
    let files = [demo("1.0").wheel(), demo("1.0").sdist()];
    world.upstream.publish_distributions(&files);
    world.fetch(&files[0]).await;
    let place =
        "/v1/package/versions/delete?domain=local&repository=pypi-store&format=pypi&package=weir-demo";
    world.weir.api("POST", place, r#"{"versions": ["1.0"]}"#).await.assert_status(200);
    world.fetch(&files[1]).await;
    world.upstream.stop().await;
    for file in &files {
        world.fetch(file).await;
    }
}
