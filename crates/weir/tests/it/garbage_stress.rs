//! Publishes and deletions of few distinct bytes while collections without grace run one after another: whatever was
//! acknowledged and not deleted is there at the end.

use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use weir_testkit::sign::sign;
use weir_testkit::{Answer, Credentials, ObjectStore, Postgres, Weir};

const RUNS_FOR: Duration = Duration::from_secs(4);
/// Nobody waits long for who erases.
const PATIENCE: Duration = Duration::from_secs(40);
const CLIENTS: usize = 6;
/// Twice as many as can be there while nearly all are deleted at once, and few enough to be published again soon.
const CONTENTS: [&[u8]; 12] = [b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8", b"9", b"10", b"11"];

async fn publish(weir: &Weir, key: &Credentials, package: &str, version: &str, body: &[u8]) -> Answer {
    let url = format!(
        "{}/v1/package/version/publish?domain=local&repository=main&format=generic&namespace=team&package={package}\
         &version={version}&asset=a",
        weir.url()
    );
    let digest = hex::encode(Sha256::digest(body));
    let mut headers = vec![("x-amz-content-sha256", digest.as_str())];
    let signature = sign("POST", &url, &headers, body, key);
    headers.extend(signature.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    weir_testkit::http::send("POST", &url, &headers, body.to_vec()).await
}

fn query(package: &str) -> String {
    format!("domain=local&repository=main&format=generic&namespace=team&package={package}")
}

/// One client with a package of its own: what it was told is there at the end, and how often it was sent away.
async fn client(
    weir: &Weir,
    key: &Credentials,
    number: usize,
    start: Instant,
) -> (BTreeMap<String, usize>, [usize; 2]) {
    let package = format!("tool-{number}");
    let (mut there, mut published, mut refused) = (BTreeMap::new(), 0, 0);
    let mut dice = number * 7 + 1;
    for round in 0.. {
        if start.elapsed() > RUNS_FOR {
            break;
        }
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let content = (dice >> 33) % CONTENTS.len();
        let version = format!("1.{round}");
        let answer = publish(weir, key, &package, &version, CONTENTS[content]).await;
        match answer.status.as_u16() {
            200 => {
                there.insert(version, content);
                published += 1;
            }
            503 => {
                assert!(answer.text().contains("send it once more"), "{}", answer.text());
                refused += 1;
            }
            other => panic!("{other}: {}", answer.text()),
        }
        if start.elapsed() > RUNS_FOR * 3 / 4 {
            // What is there at the end was published while everything went on.
            continue;
        }
        // Nearly all go again at once, so that blobs are without name most of the time.
        if there.len() > 1 || !(dice >> 40).is_multiple_of(8) {
            let victims: Vec<String> = there.keys().cloned().collect();
            if victims.is_empty() {
                continue;
            }
            let body = json!({ "versions": victims }).to_string();
            let path = format!("/v1/package/versions/delete?{}", query(&package));
            let told = weir.api_as(key, "POST", &path, &body).await.assert_status(200).json();
            for victim in told["successfulVersions"].as_object().expect("versions").keys() {
                there.remove(victim);
            }
        }
    }
    (there, [published, refused])
}

/// Collects again and again; how many blobs were erased.
async fn collector(weir: &Weir, key: &Credentials, over: &AtomicBool) -> u64 {
    let mut erased = 0;
    while !over.load(Ordering::Relaxed) {
        let begun = weir.api_as(key, "POST", "/weir/v1/gc", r#"{"graceSeconds":0}"#).await;
        if begun.status == 503 {
            // The other node collects.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        let started = begun.assert_status(200).json()["startedTime"].clone();
        loop {
            let told = weir.api_as(key, "GET", "/weir/v1/gc", "").await.assert_status(200).json();
            if told["running"] == false || told["startedTime"] != started {
                assert!(told["failure"].is_null(), "{told}");
                if told["startedTime"] == started {
                    erased += told["report"]["total"]["erased"]["blobs"].as_u64().expect("a number");
                }
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    erased
}

async fn nothing_acknowledged_is_lost(nodes: &[Weir]) {
    let key = &nodes[0].credentials();
    // The first collection has something to erase, however busy the machine is.
    publish(&nodes[0], key, "before", "1", b"before").await.assert_status(200);
    let path = format!("/v1/package/versions/delete?{}", query("before"));
    nodes[0].api_as(key, "POST", &path, r#"{"versions":["1"]}"#).await.assert_status(200);
    let (start, over, erased) = (Instant::now(), AtomicBool::new(false), AtomicU64::new(0));
    let clients = async {
        let clients = (0..CLIENTS).map(|number| client(&nodes[number % nodes.len()], key, number, start));
        let told = futures_util::future::join_all(clients).await;
        over.store(true, Ordering::Relaxed);
        told
    };
    let collectors = futures_util::future::join_all(nodes.iter().map(|weir| async {
        erased.fetch_add(collector(weir, key, &over).await, Ordering::Relaxed);
    }));
    let (told, _) = tokio::join!(clients, collectors);
    assert!(start.elapsed() < PATIENCE, "somebody waited for {:?}", start.elapsed());
    let (mut files, mut published, mut refused) = (0, 0, 0);
    for (number, (there, [taken, sent_away])) in told.into_iter().enumerate() {
        (published, refused) = (published + taken, refused + sent_away);
        for (version, content) in there {
            files += 1;
            let query = query(&format!("tool-{number}"));
            let path = format!("/v1/package/version/asset?{query}&version={version}&asset=a");
            let answer = nodes[files % nodes.len()].api_as(key, "GET", &path, "").await;
            assert_eq!(answer.assert_status(200).body, CONTENTS[content], "tool-{number} {version}");
        }
    }
    let erased = erased.into_inner();
    eprintln!(
        "of {published} files {files} are there; {erased} blobs were erased, {refused} uploads sent away"
    );
    assert!(erased > 0, "nothing was collected");
    let verified = nodes[0].cli(&["verify", "--json"]).await;
    let report = verified.assert_ok().json()["report"].clone();
    let found = ["rotten", "missing", "lostCount", "rowsMade"].map(|name| report[name].clone());
    assert_eq!(found, [0, 0, 0, 0].map(|none| json!(none)), "{report}");
}

fn builder() -> weir_testkit::server::Builder {
    Weir::builder(env!("CARGO_BIN_EXE_weir")).npmjs("http://127.0.0.1:9/")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_collection_takes_what_an_upload_was_acknowledged_for() {
    nothing_acknowledged_is_lost(&[builder().start().await]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_one_of_several_nodes() {
    let (Some(database), Some(bucket)) = (Postgres::shared_database().await, ObjectStore::bucket().await)
    else {
        return;
    };
    let node = || builder().database(&database).objects(&bucket).start();
    let first = node().await;
    nothing_acknowledged_is_lost(&[first, node().await]).await;
}
