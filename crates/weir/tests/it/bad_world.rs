//! What the tests of bad days have in common: publishers who keep a ledger of what was acknowledged and what
//! refused, and what a refusal must look like in each format.

use crate::npm_world::World;
use sha2::{Digest as _, Sha256};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use weir_testkit::package::noise;
use weir_testkit::sign::sign;
use weir_testkit::{Answer, Distribution, NpmPackage, PythonPackage, Weir};

/// Publishers that are at work at once.
const PUBLISHERS: usize = 8;

/// What was published, and what the server said of it.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) acknowledged: Vec<NpmPackage>,
    pub(crate) refused: Vec<NpmPackage>,
}

/// A package whose tarball is larger than what is read in one piece.
pub(crate) fn large(name: &str) -> NpmPackage {
    NpmPackage::new(name, "1.0.0").file("noise", noise(300_000))
}

/// Publishes packages of a new name one after another, as several clients, until `work` is done.
pub(crate) async fn publish_during(world: &World, name: &str, work: impl Future<Output = ()>) -> Ledger {
    let ledger = Mutex::new(Ledger::default());
    let done = tokio::sync::watch::Sender::new(false);
    let publishers = (0..PUBLISHERS).map(|publisher| {
        let (ledger, done) = (&ledger, done.subscribe());
        async move {
            for count in 0.. {
                if *done.borrow() {
                    break;
                }
                let package = NpmPackage::new(&format!("{name}-{publisher}-{count}"), "1.0.0");
                let package = package.file("noise", noise(10_000 + count));
                let answer = world.publish(&package).await;
                let mut ledger = ledger.lock().expect("no publisher panics with it");
                match answer.status.as_u16() {
                    200 | 201 => ledger.acknowledged.push(package),
                    _ => {
                        npm_refusal(&answer);
                        ledger.refused.push(package);
                    }
                }
            }
        }
    });
    let working = async {
        work.await;
        done.send_replace(true);
    };
    tokio::join!(working, futures_util::future::join_all(publishers));
    ledger.into_inner().expect("no publisher panics with it")
}

/// Panics unless everything acknowledged is there byte for byte, and what was refused is there whole or not at
/// all and can be published.
pub(crate) async fn nothing_is_lost(world: &World, ledger: &Ledger) {
    let (acknowledged, refused) = (ledger.acknowledged.len(), ledger.refused.len());
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    eprintln!("{test}: {acknowledged} acknowledged, {refused} refused; looking for each");
    for package in &ledger.acknowledged {
        is_whole(world, package).await;
    }
    for package in &ledger.refused {
        let shown = world.get(&package.full_name(), &[]).await;
        match shown.status.as_u16() {
            200 => is_whole(world, package).await,
            _ => {
                shown.assert_status(404);
                world.get(&package.tarball_path(), &[]).await.assert_status(404);
            }
        }
        let again = world.publish(package).await;
        assert!(matches!(again.status.as_u16(), 200 | 201), "{} {}", again.status, again.text());
        is_whole(world, package).await;
    }
}

/// Panics unless a package is listed with its version and its file has the bytes that were published.
pub(crate) async fn is_whole(world: &World, package: &NpmPackage) {
    let document = world.document(&package.full_name()).await;
    assert!(document["versions"][package.version()].is_object(), "{document}");
    let file = world.get(&package.tarball_path(), &[]).await;
    assert!(file.assert_status(200).body == package.tarball(), "{}: other bytes", package.full_name());
}

/// A refusal that passes by itself: 503, and when to come again.
#[track_caller]
pub(crate) fn passes(answer: &Answer) {
    answer.assert_status(503);
    let seconds: u64 = answer.header("retry-after").parse().expect("Retry-After is a number of seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
}

/// Such a refusal in npm's words.
#[track_caller]
pub(crate) fn npm_refusal(answer: &Answer) {
    passes(answer);
    let said = answer.json()["error"].as_str().unwrap_or_default().to_owned();
    assert!(said.contains("does not answer now") || said.contains("takes no bytes now"), "{said}");
}

/// Such a refusal as AWS gives it.
#[track_caller]
pub(crate) fn aws_refusal(answer: &Answer) {
    passes(answer);
    assert_eq!(answer.header("x-amzn-errortype"), "ServiceUnavailable");
    assert!(answer.json()["message"].as_str().is_some_and(|text| !text.is_empty()), "{}", answer.text());
}

/// Panics unless all three ways to publish are refused for now, in each client's words and within `limit`.
pub(crate) async fn writes_are_refused(world: &World, name: &str, limit: Duration) {
    let begun = Instant::now();
    let npm = NpmPackage::new(&format!("{name}-npm"), "1.0.0");
    let python = PythonPackage::new(&format!("{name}-python"), "1.0.0").wheel();
    let generic = format!("{name}-generic");
    let (npm, aws, python) = tokio::join!(
        world.publish(&npm),
        publish_generic(world, &generic, b"bytes"),
        upload_python(world, &python),
    );
    npm_refusal(&npm);
    aws_refusal(&aws);
    passes(&python);
    assert!(python.text().contains("does not answer now"), "{}", python.text());
    assert!(begun.elapsed() < limit, "{:?}", begun.elapsed());
}

/// PublishPackageVersion of a generic package.
pub(crate) async fn publish_generic(world: &World, name: &str, body: &[u8]) -> Answer {
    let url = format!(
        "{}/v1/package/version/publish?domain=local&repository=main&format=generic&namespace=team\
         &package={name}&version=1.0&asset=a.bin",
        world.weir.url()
    );
    let digest = hex(&Sha256::digest(body));
    let mut headers = vec![("x-amz-content-sha256", digest.as_str())];
    let signature = sign("POST", &url, &headers, body, &world.weir.credentials());
    headers.extend(signature.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    weir_testkit::http::send("POST", &url, &headers, body.to_vec()).await
}

/// An upload by twine's form.
pub(crate) async fn upload_python(world: &World, distribution: &Distribution) -> Answer {
    let (kind, body) = distribution.upload_form();
    let endpoint = world.endpoint.replacen("/npm/", "/pypi/", 1);
    let bearer = format!("Bearer {}", world.token);
    let headers = [("authorization", bearer.as_str()), ("content-type", kind.as_str())];
    weir_testkit::http::send("POST", &endpoint, &headers, body).await
}

/// Waits until a publish works again, which must not take longer than `limit`.
pub(crate) async fn heals(world: &World, package: &NpmPackage, limit: Duration) -> Duration {
    let begun = Instant::now();
    loop {
        let answer = world.publish(package).await;
        if matches!(answer.status.as_u16(), 200 | 201) {
            is_whole(world, package).await;
            return begun.elapsed();
        }
        npm_refusal(&answer);
        assert!(begun.elapsed() < limit, "it does not heal: {}", answer.text());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until `/readyz` answers so; what it finds of the blob store counts for a second.
pub(crate) async fn tells_ready(weir: &Weir, status: u16) -> Answer {
    let begun = Instant::now();
    loop {
        let answer = weir.send("GET", "/readyz", &[], b"").await;
        if answer.status.as_u16() == status {
            return answer;
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{}: {}", answer.status, answer.text());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
