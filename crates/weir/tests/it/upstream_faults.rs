//! A public registry that fails in every way a registry can. Clients get the right status and a reason, held
//! versions go on being served, nothing wrong is kept, and all is well as soon as the registry is.

use crate::npm_world::World;
use crate::stored;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use weir_testkit::package::noise;
use weir_testkit::{Answer, Fault, NpmPackage, Upstream, Weir};

/// What a client should see of a fault.
#[derive(Clone, Copy)]
enum Seen {
    /// 503 with `Retry-After`: it may work later.
    Later,
    /// 503 with `Retry-After` of so many seconds.
    After(u64),
    /// 502: what came is wrong.
    Wrong,
    /// 200: it is no fault.
    Well,
}

/// A server that loses patience after a second.
async fn impatient() -> World {
    World::start_with(|builder| {
        let builder = builder.flag("--response-timeout", "1s").flag("--idle-timeout", "1s");
        builder.flag("--connect-timeout", "1s").flag("--max-index-bytes", "1MiB")
    })
    .await
}

/// Says nothing by which a file could be told from another: a transfer that is cut cannot be taken up again.
fn unresumable() -> Fault {
    Fault::Header("etag", "W/\"weak\"".to_owned())
}

/// Faults of any answer, and what a client sees of them; `short` is what it sees of a body that ends too early
/// although its length says otherwise.
fn faults(elsewhere: &Upstream, short: Seen) -> Vec<(&'static str, Vec<Fault>, Seen)> {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
    let closed_port = gone.local_addr().expect("a bound socket has an address");
    let port = elsewhere.address().port();
    let redirect = |to: String| vec![Fault::Redirect(to)];
    vec![
        ("500", vec![Fault::Status(500)], Seen::Later),
        ("502", vec![Fault::Status(502)], Seen::Later),
        ("503", vec![Fault::Status(503)], Seen::Later),
        ("503 with a time", vec![Fault::RetryAfter(503, 23)], Seen::After(23)),
        ("504", vec![Fault::Status(504)], Seen::Later),
        ("429", vec![Fault::Status(429)], Seen::Later),
        ("429 with a time", vec![Fault::RetryAfter(429, 17)], Seen::After(17)),
        ("401", vec![Fault::Status(401)], Seen::Wrong),
        ("403", vec![Fault::Status(403)], Seen::Wrong),
        ("400", vec![Fault::Status(400)], Seen::Wrong),
        ("204", vec![Fault::Status(204)], Seen::Wrong),
        ("304 to no condition", vec![Fault::Status(304)], Seen::Wrong),
        ("a page", vec![Fault::Html], Seen::Wrong),
        ("no answer", vec![Fault::Hang], Seen::Later),
        ("a broken connection", vec![Fault::Close], Seen::Later),
        ("a cut body", vec![unresumable(), Fault::Cut(100)], Seen::Later),
        ("a stalled body", vec![unresumable(), Fault::Stall(100)], Seen::Later),
        ("a length too long", vec![Fault::WrongLength(5)], Seen::Later),
        ("a length too short", vec![Fault::WrongLength(-5)], short),
        ("a redirect to this machine", vec![Fault::RedirectUnder(elsewhere.url())], Seen::Wrong),
        ("by name", redirect(format!("http://localhost:{port}/x")), Seen::Wrong),
        ("by number", redirect(format!("http://2130706433:{port}/x")), Seen::Wrong),
        ("by IPv6", redirect(format!("http://[::ffff:127.0.0.1]:{port}/x")), Seen::Wrong),
        (
            "a redirect to link-local",
            redirect("http://169.254.169.254/latest/meta-data/".to_owned()),
            Seen::Wrong,
        ),
        ("a redirect to a private network", redirect("http://10.0.0.1/x".to_owned()), Seen::Wrong),
        ("a redirect to a closed port", redirect(format!("http://{closed_port}/x")), Seen::Wrong),
        ("a redirect to a file", redirect("file:///etc/passwd".to_owned()), Seen::Wrong),
        ("a redirect to nothing", redirect("http://".to_owned()), Seen::Wrong),
        ("a slow answer", vec![Fault::Delay(Duration::from_millis(300))], Seen::Well),
        ("a slow drip", vec![Fault::Slow(2000)], Seen::Well),
        ("no length", vec![Fault::NoLength], Seen::Well),
        ("another type", vec![Fault::ContentType("application/x-unheard-of")], Seen::Well),
        ("a page's type", vec![Fault::ContentType("text/html; charset=utf-8")], Seen::Wrong),
        ("a cookie", vec![Fault::Header("set-cookie", "a=b".to_owned())], Seen::Well),
    ]
}

#[track_caller]
fn check(what: &str, answer: &Answer, seen: Seen) {
    let text = answer.text();
    let expected = match seen {
        Seen::Later | Seen::After(_) => 503,
        Seen::Wrong => 502,
        Seen::Well => 200,
    };
    assert_eq!(answer.status, expected, "{what}: {text}");
    assert!(answer.headers.get("set-cookie").is_none(), "{what}: {:?}", answer.headers);
    if matches!(seen, Seen::Well) {
        return;
    }
    let retry_after: Option<u64> = answer.header("retry-after").parse().ok();
    match seen {
        Seen::Later => {
            assert!(retry_after.is_some_and(|seconds| (1..=60).contains(&seconds)), "{what}: {text}")
        }
        Seen::After(seconds) => assert_eq!(retry_after, Some(seconds), "{what}: {text}"),
        Seen::Wrong | Seen::Well => {}
    }
    let json: Value =
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{what}: not npm's format: {text}"));
    let reason = json["error"].as_str().unwrap_or_default();
    assert!(reason.contains("public:npmjs") && reason.len() < 600, "{what}: {reason}");
    assert!(!reason.chars().any(char::is_control), "{what}: {reason:?}");
}

#[tokio::test]
async fn an_index_that_fails_is_told_and_never_kept() {
    let world = impatient().await;
    let elsewhere = Upstream::start().await;
    // An index comes compressed, so that it breaks off.
    let mut cases = faults(&elsewhere, Seen::Later);
    let document = |text: &str| Fault::Body(text.to_owned().into());
    let mut bomb = GzEncoder::new(Vec::new(), Compression::default());
    bomb.write_all(&vec![b' '; 100 << 20]).expect("memory can be written");
    let bomb = bomb.finish().expect("memory can be written");
    let gzip = Fault::Header("content-encoding", "gzip".to_owned());
    cases.extend([
        ("no document", vec![document("")], Seen::Wrong),
        ("half a document", vec![document("{\"name\": \"x\", \"versions\": {")], Seen::Wrong),
        ("a list", vec![document("[]")], Seen::Wrong),
        ("null", vec![document("null")], Seen::Wrong),
        ("an error with 200", vec![document("{\"error\": \"not found\"}")], Seen::Wrong),
        ("another package", vec![document("{\"name\": \"other\", \"versions\": {}}")], Seen::Wrong),
        ("a large document", vec![Fault::Body(vec![b' '; 2 << 20].into())], Seen::Wrong),
        ("a bomb", vec![Fault::Body(bomb.into()), gzip.clone()], Seen::Wrong),
        ("a compression that is none", vec![document("{}"), gzip], Seen::Later),
        ("a redirect to itself", vec![Fault::RedirectUnder(world.upstream.url())], Seen::Wrong),
    ]);
    for (at, (what, faults, seen)) in cases.into_iter().enumerate() {
        let package = NpmPackage::new(&format!("package-{at}"), "1.0.0");
        world.upstream.publish(&package);
        let path = format!("/{}", package.full_name());
        faults.into_iter().for_each(|fault| world.upstream.fail(&path, fault));
        for path in [package.full_name(), format!("{}/1.0.0", package.full_name())] {
            check(what, &world.get(&path, &[]).await, seen);
        }
        world.upstream.heal();
        let healed = world.document(&package.full_name()).await;
        assert_eq!(healed["dist-tags"]["latest"], "1.0.0", "{what}: {healed}");
        let file = world.get(&package.tarball_path(), &[]).await;
        assert_eq!(file.assert_status(200).body, package.tarball(), "{what}");
    }
    assert_eq!(elsewhere.total_calls(), 0, "a private address was asked");
}

#[tokio::test]
async fn a_small_file_that_fails_is_told_before_its_first_byte_and_never_kept() {
    let world = impatient().await;
    let elsewhere = Upstream::start().await;
    let mut cases = faults(&elsewhere, Seen::Wrong);
    cases.extend([
        ("404 of a listed file", vec![Fault::Status(404)], Seen::Wrong),
        ("410 of a listed file", vec![Fault::Status(410)], Seen::Wrong),
        ("other bytes", vec![Fault::Corrupt], Seen::Wrong),
        ("an empty file", vec![Fault::Body("".into())], Seen::Wrong),
        ("another file", vec![Fault::Body(NpmPackage::new("evil", "6.6.6").tarball())], Seen::Wrong),
        ("other bytes without length", vec![Fault::Corrupt, Fault::NoLength], Seen::Wrong),
        (
            "a compression that is none",
            vec![Fault::Header("content-encoding", "gzip".to_owned())],
            Seen::Well,
        ),
        ("a redirect to itself", vec![Fault::RedirectUnder(world.upstream.url())], Seen::Wrong),
    ]);
    for (at, (what, faults, seen)) in cases.into_iter().enumerate() {
        let package = NpmPackage::new(&format!("package-{at}"), "1.0.0");
        world.upstream.publish(&package);
        world.document(&package.full_name()).await;
        let path = format!("/{}/-/", package.full_name());
        faults.into_iter().for_each(|fault| world.upstream.fail(&path, fault));
        let answer = world.get(&package.tarball_path(), &[]).await;
        check(what, &answer, seen);
        if what.ends_with("of a listed file") {
            assert!(answer.text().contains(&what[..3]), "{what}: {}", answer.text());
        }
        assert_eq!(answer.header("content-encoding"), "", "{what}");
        let held = world.held("main", &package).await;
        assert_eq!(held.is_empty(), !matches!(seen, Seen::Well), "{what}: {held:?}");
        stored::spool_is_empty(world.weir.data()).await;
        world.upstream.heal();
        let file = world.get(&package.tarball_path(), &[]).await;
        assert_eq!(file.assert_status(200).body, package.tarball(), "{what}");
        assert_eq!(world.held("npm-store", &package).await, ["1.0.0"], "{what}");
    }
    assert_eq!(elsewhere.total_calls(), 0, "a private address was asked");
}

#[tokio::test]
async fn a_large_file_that_fails_is_cut_before_its_end_and_never_kept() {
    let world = impatient().await;
    for (at, (what, faults)) in [
        ("other bytes", vec![Fault::Corrupt]),
        ("a cut body", vec![unresumable(), Fault::Cut(2 << 20)]),
        ("a cut body without length", vec![unresumable(), Fault::NoLength, Fault::Cut(2 << 20)]),
        ("a stalled body", vec![unresumable(), Fault::Stall(2 << 20)]),
        ("a length too short", vec![Fault::WrongLength(-100)]),
        ("a length too long", vec![Fault::WrongLength(100)]),
        ("more bytes", vec![Fault::Body(noise(4 << 20).into())]),
    ]
    .into_iter()
    .enumerate()
    {
        let package = NpmPackage::new(&format!("large-{at}"), "1.0.0").file("noise", noise(3 << 20));
        world.upstream.publish(&package);
        faults
            .into_iter()
            .for_each(|fault| world.upstream.fail(&format!("/{}/-/", package.full_name()), fault));
        let (bytes, kept) = (package.tarball(), stored::kept(world.weir.data()));
        let got = download(&world, &package, &bytes).await;
        assert_eq!(got.status, 200, "{what}");
        assert!(!got.complete, "{what}: {} bytes came, and an end", got.received);
        assert!(!(got.right && got.received == bytes.len()), "{what}");
        assert!(world.held("main", &package).await.is_empty(), "{what}");
        assert!(world.held("npm-store", &package).await.is_empty(), "{what}");
        stored::spool_is_empty(world.weir.data()).await;
        assert_eq!(stored::kept(world.weir.data()), kept, "{what}");
        world.upstream.heal();
        let file = world.get(&package.tarball_path(), &[]).await;
        assert!(file.assert_status(200).body == bytes, "{what}");
        assert_eq!(world.held("main", &package).await, ["1.0.0"], "{what}");
    }
    let package = NpmPackage::new("unsized", "1.0.0").file("noise", noise(3 << 20));
    world.upstream.publish(&package);
    world.upstream.fail("/unsized/-/", Fault::NoLength);
    assert!(world.get(&package.tarball_path(), &[]).await.assert_status(200).body == package.tarball());
}

/// What came of a download.
struct Got {
    status: u16,
    received: usize,
    /// Whether the body ended as HTTP says it ends.
    complete: bool,
    /// Whether what came is what was expected, so far.
    right: bool,
    began: Option<Instant>,
}

/// Downloads a file without holding it.
async fn download(world: &World, package: &NpmPackage, expected: &[u8]) -> Got {
    let bearer = format!("Bearer {}", world.token);
    let url = format!("{}{}", world.endpoint, package.tarball_path());
    let answer = weir_testkit::http::open("GET", &url, &[("authorization", &bearer)], "").await;
    let mut answer = answer.unwrap_or_else(|error| panic!("{url}: {error}"));
    let mut got =
        Got { status: answer.status.as_u16(), received: 0, complete: false, right: true, began: None };
    loop {
        match answer.chunk().await {
            Ok(Some(bytes)) => {
                got.began.get_or_insert_with(Instant::now);
                got.right &= expected.get(got.received..).is_some_and(|rest| rest.starts_with(&bytes));
                got.received += bytes.len();
            }
            Ok(None) => {
                got.complete = true;
                return got;
            }
            Err(_) => return got,
        }
    }
}

#[tokio::test]
async fn while_the_registry_fails_the_last_index_and_held_files_are_served() {
    let world = World::start_with(|builder| {
        builder.flag("--response-timeout", "1s").flag("--idle-timeout", "1s").flag("--freshness", "1s")
    })
    .await;
    for (at, (what, fault)) in [
        ("500", Fault::Status(500)),
        ("429", Fault::RetryAfter(429, 30)),
        ("401", Fault::Status(401)),
        ("403", Fault::Status(403)),
        ("a page", Fault::Html),
        ("no document", Fault::Body("{}".into())),
        ("half a document", Fault::Body("{\"name\":".into())),
        ("a cut body", Fault::Cut(20)),
        ("no answer", Fault::Hang),
        ("a broken connection", Fault::Close),
        ("a private redirect", Fault::Redirect("http://10.0.0.1/".to_owned())),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("package-{at}");
        let held = NpmPackage::new(&name, "1.0.0");
        world.upstream.publish_all([&held, &NpmPackage::new(&name, "1.1.0")]);
        world.get(&held.tarball_path(), &[]).await.assert_status(200);
        let before = world.get(&name, &[]).await;
        assert_eq!((before.header("warning"), before.header("x-weir-stale")), ("", ""), "{what}");
        // Were it unchanged, the registry would have no body to cut.
        world.upstream.publish(&NpmPackage::new(&name, "1.3.0"));
        world.upstream.fail("/", fault);
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let during = world.get(&name, &[]).await;
        assert_eq!(during.assert_status(200).json(), before.json(), "{what}");
        assert!(during.header("warning").starts_with("110 "), "{what}: {:?}", during.headers);
        assert!(during.header("x-weir-stale").parse::<u64>().is_ok_and(|age| age >= 1), "{what}");
        assert_eq!(
            world.get(&held.tarball_path(), &[]).await.assert_status(200).body,
            held.tarball(),
            "{what}"
        );
        // Whether there is such a version, nobody knows now.
        let unknown = world.get(&format!("{name}/-/{name}-1.2.0.tgz"), &[]).await;
        assert!(
            [502, 503].contains(&unknown.status.as_u16()),
            "{what}: {} {}",
            unknown.status,
            unknown.text()
        );
        world.upstream.heal();
        // What was stale is asked for again after five seconds; other packages at once.
        let next = NpmPackage::new(&format!("next-{at}"), "1.0.0");
        world.upstream.publish(&next);
        world.get(&next.full_name(), &[]).await.assert_status(200);
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let healed = world.get("package-10", &[]).await;
    assert_eq!((healed.header("warning"), healed.header("x-weir-stale")), ("", ""));
}

/// What `weir connections` tells of the one connection.
async fn connection(world: &World) -> Value {
    let told = world.weir.cli(&["connections", "--json"]).await.assert_ok().json();
    let connections = told["connections"].as_array().cloned().unwrap_or_default();
    let found = connections.into_iter().find(|connection| connection["name"] == "public:npmjs");
    found.unwrap_or_else(|| panic!("no public:npmjs in {told}"))
}

#[tokio::test]
async fn a_breaker_spares_a_registry_that_fails_and_closes_again() {
    let world = impatient().await;
    let held = NpmPackage::new("held", "1.0.0");
    world.upstream.publish(&held);
    world.get(&held.tarball_path(), &[]).await.assert_status(200);
    assert_eq!(connection(&world).await["health"], "up");
    world.upstream.fail("/", Fault::Status(500));
    for at in 0..5 {
        world.get(&format!("absent-{at}"), &[]).await.assert_status(503);
    }
    let calls = world.upstream.total_calls();
    for at in 5..20 {
        let answer = world.get(&format!("absent-{at}"), &[]).await;
        check("an open breaker", &answer, Seen::Later);
    }
    assert_eq!(world.upstream.total_calls(), calls, "a registry that fails is spared");
    let told = connection(&world).await;
    assert_eq!(told["health"], "down", "{told}");
    assert!(told["lastFailure"].as_str().is_some_and(|why| why.contains("500")), "{told}");
    let text = world.weir.cli(&["connections"]).await;
    text.assert_ok().assert_says("down").assert_says("500");
    world.get(&held.tarball_path(), &[]).await.assert_status(200);

    // The first probe fails as well and opens it again; the second closes it.
    tokio::time::sleep(Duration::from_secs(11)).await;
    join_all((20..30).map(|at| {
        let world = &world;
        async move { world.get(&format!("absent-{at}"), &[]).await.assert_status(503).status }
    }))
    .await;
    assert_eq!(world.upstream.total_calls(), calls + 1, "one probe at a time");
    world.upstream.heal();
    tokio::time::sleep(Duration::from_secs(11)).await;
    let fresh = NpmPackage::new("fresh", "1.0.0");
    world.upstream.publish(&fresh);
    let file = world.get(&fresh.tarball_path(), &[]).await;
    assert_eq!(file.assert_status(200).body, fresh.tarball());
    assert_eq!(connection(&world).await["health"], "up");
}

#[tokio::test]
async fn absence_is_remembered_and_a_question_for_a_file_asks_again() {
    let world = World::start().await;
    for _ in 0..3 {
        world.get("late", &[]).await.assert_status(404);
    }
    assert_eq!(world.upstream.calls("/late"), 1, "absence is remembered");
    let late = NpmPackage::new("late", "1.0.0");
    world.upstream.publish(&late);
    world.get("late", &[]).await.assert_status(404);
    // A document is asked for at most once in ten seconds, whoever insists.
    tokio::time::sleep(Duration::from_millis(10_100)).await;
    world.get("late", &[]).await.assert_status(404);
    assert_eq!(world.upstream.calls("/late"), 1);
    let file = world.get(&late.tarball_path(), &[]).await;
    assert_eq!(file.assert_status(200).body, late.tarball());
    world.get("late", &[]).await.assert_status(200);

    let world = World::start_with(|builder| builder.flag("--negative-freshness", "1s")).await;
    world.get("late", &[]).await.assert_status(404);
    world.upstream.publish(&late);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.get("late", &[]).await.assert_status(200);
}

#[tokio::test]
async fn many_who_wait_for_a_failing_index_ask_once() {
    let world = World::start().await;
    world.upstream.fail("/", Fault::Status(500));
    world.upstream.fail("/", Fault::Delay(Duration::from_millis(500)));
    let asking = (0..30).map(|_| world.get("left-pad", &[]));
    for answer in join_all(asking).await {
        answer.assert_status(503);
    }
    assert!(world.upstream.calls("/left-pad") <= 2, "{} calls", world.upstream.calls("/left-pad"));
}

#[tokio::test]
async fn a_client_that_leaves_does_not_stop_the_download() {
    let world = World::start().await;
    let package = NpmPackage::new("large", "1.0.0").file("noise", noise(4 << 20));
    world.upstream.publish(&package);
    world.upstream.fail("/large/-/", Fault::Slow(4 << 20));
    let mut client = TcpStream::connect(world.weir.authority()).await.expect("it listens");
    let path = format!("/npm/d/local-000000000000/main/{}", package.tarball_path());
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
        world.weir.authority(),
        world.token
    );
    client.write_all(request.as_bytes()).await.expect("it reads");
    let mut some = vec![0; 100_000];
    client.read_exact(&mut some).await.expect("it answers");
    drop(client);
    assert!(world.held("main", &package).await.is_empty(), "it is still on its way");
    until("the version is retained", async || world.held("main", &package).await == ["1.0.0"]).await;
    world.upstream.heal();
    assert!(world.get(&package.tarball_path(), &[]).await.assert_status(200).body == package.tarball());
    assert_eq!(world.upstream.calls_under("/large/-/"), 1);

    // One that leaves before the registry has answered.
    let second = NpmPackage::new("second", "1.0.0");
    world.upstream.publish(&second);
    world.document("second").await;
    world.upstream.fail("/second/-/", Fault::Delay(Duration::from_millis(600)));
    let leaving = tokio::time::timeout(Duration::from_millis(200), download(&world, &second, b"")).await;
    assert!(leaving.is_err());
    until("the version is retained", async || world.held("main", &second).await == ["1.0.0"]).await;
}

/// Asks again and again for at most ten seconds.
async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    for _ in 0..100 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not within ten seconds: {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_clients_share_one_download_and_all_stream_while_it_runs() {
    let world = World::start().await;
    let package = NpmPackage::new("huge", "1.0.0").file("noise", noise(20 << 20));
    world.upstream.publish(&package);
    world.document("huge").await;
    // Two and a half seconds at this rate, if the machine has the time.
    world.upstream.fail("/huge/-/", Fault::Slow(8 << 20));
    let (bytes, begun) = (package.tarball(), AtomicUsize::new(0));
    let clients = (0..64).map(|_| async {
        let got = download(&world, &package, &bytes).await;
        assert!(got.status == 200 && got.complete && got.right && got.received == bytes.len());
        let ended = Instant::now();
        let began = got.began.expect("bytes came");
        if ended - began > Duration::from_millis(500) {
            begun.fetch_add(1, Ordering::Relaxed);
        }
    });
    join_all(clients).await;
    assert_eq!(world.upstream.calls_under("/huge/-/"), 1);
    assert_eq!(begun.load(Ordering::Relaxed), 64, "all got bytes long before the end");
    assert_eq!(world.held("main", &package).await, ["1.0.0"]);
    stored::spool_is_empty(world.weir.data()).await;
}

#[tokio::test]
async fn a_power_cut_in_a_download_leaves_nothing_half_visible() {
    let world = World::start().await;
    let package = NpmPackage::new("large", "1.0.0").file("noise", noise(4 << 20));
    world.upstream.publish(&package);
    world.upstream.fail("/large/-/", Fault::Slow(1 << 20));
    let bytes = package.tarball();
    let cut = async {
        until("the spool grows", async || {
            let spooled = stored::spooled(world.weir.data());
            spooled.iter().any(|path| fs_err::metadata(path).is_ok_and(|file| file.len() > 3 << 19))
        })
        .await;
        let process = world.weir.process_id().to_string();
        let kill = std::process::Command::new("kill").args(["-KILL", &process]).status();
        assert!(kill.expect("kill is on every machine").success());
    };
    let (got, ()) = tokio::join!(download(&world, &package, &bytes), cut);
    assert!(!got.complete && got.right && got.received < bytes.len());
    world.upstream.heal();
    let world = World { weir: world.weir.kill().await.start().await, ..world };
    assert!(stored::spooled(world.weir.data()).is_empty() && stored::kept(world.weir.data()).is_empty());
    for repository in ["main", "npm-store"] {
        assert!(world.held(repository, &package).await.is_empty(), "{repository}");
    }
    assert!(world.get(&package.tarball_path(), &[]).await.assert_status(200).body == bytes);
    assert_eq!(world.held("main", &package).await, ["1.0.0"]);
}

#[tokio::test]
async fn a_fetched_file_that_a_power_cut_damaged_is_fetched_again() {
    let mut world = World::start().await;
    // The mark is cleared within a second, so one round of some may come too late.
    for round in 0..10 {
        let package = NpmPackage::new(&format!("package-{round}"), "1.0.0");
        world.upstream.publish(&package);
        let before = stored::kept(world.weir.data());
        world.get(&package.tarball_path(), &[]).await.assert_status(200);
        let data = world.weir.data().to_owned();
        let builder = world.weir.kill().await;
        let new = stored::kept(&data).into_iter().find(|path| !before.contains(path));
        let new = new.expect("the file is kept");
        let mut bytes = fs_err::read(&new).expect("the file can be read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        fs_err::write(&new, &bytes).expect("the file can be written");
        world = World { weir: builder.start().await, ..world };
        if world.weir.log().contains("an unclean stop damaged") {
            let file = world.get(&package.tarball_path(), &[]).await;
            assert_eq!(file.assert_status(200).body, package.tarball());
            assert_eq!(world.upstream.calls(&format!("/{}", package.tarball_path())), 2);
            assert_eq!(world.held("main", &package).await, ["1.0.0"]);
            return;
        }
    }
    panic!("no damaged file was found in ten rounds");
}

#[tokio::test]
async fn an_index_document_that_was_damaged_is_asked_for_again() {
    let world = World::start().await;
    world.upstream.publish(&NpmPackage::new("left-pad", "1.3.0"));
    let before = world.document("left-pad").await;
    let documents = stored::documents(world.weir.data(), 1).await;
    let builder = world.weir.kill().await;
    for path in documents {
        fs_err::write(path, "damaged").expect("the file can be written");
    }
    let world = World { weir: builder.start().await, ..world };
    assert_eq!(world.document("left-pad").await, before);
    assert_eq!(world.upstream.calls("/left-pad"), 2);
}

#[tokio::test]
async fn addresses_inside_an_index_lead_nowhere_private() {
    let world = World::start().await;
    let elsewhere = Upstream::start().await;
    let port = elsewhere.address().port();
    let addresses = [
        format!("http://127.0.0.1:{port}/x-1.0.0.tgz"),
        format!("http://localhost:{port}/x-1.0.0.tgz"),
        format!("http://[::1]:{port}/x-1.0.0.tgz"),
        format!("http://0.0.0.0:{port}/x-1.0.0.tgz"),
        "http://169.254.169.254/latest/meta-data/x-1.0.0.tgz".to_owned(),
        "http://100.64.0.1/x-1.0.0.tgz".to_owned(),
        format!("{}x-1.0.0.tgz", world.weir.url().replace("127.0.0.1", "127.0.0.2") + "/"),
        format!("http://user:password@{}/x-1.0.0.tgz", world.upstream.address()),
    ];
    for (at, address) in addresses.into_iter().enumerate() {
        let name = format!("package-{at}");
        let package = NpmPackage::new(&name, "1.0.0").dist_field("tarball", json!(address));
        world.upstream.publish(&package);
        let document = world.document(&name).await;
        let shown = document["versions"]["1.0.0"]["dist"]["tarball"].as_str().unwrap_or_default();
        assert!(shown.starts_with(&world.endpoint), "{address} is shown as {shown}");
        check(&address, &world.get(&package.tarball_path(), &[]).await, Seen::Wrong);
        assert!(world.held("main", &package).await.is_empty());
    }
    // Not even an address: the version cannot be offered.
    for address in ["file:///etc/passwd", "gopher://127.0.0.1/x", "/x-1.0.0.tgz", ""] {
        let package = NpmPackage::new("odd", "1.0.0").dist_field("tarball", json!(address));
        world.upstream.publish(&package);
        let answer = world.get(&package.tarball_path(), &[]).await;
        assert!(answer.status.is_client_error() || answer.status == 502, "{address}: {}", answer.text());
        world.upstream.remove("odd");
    }
    assert_eq!(elsewhere.total_calls(), 0, "a private address was asked");
}

#[tokio::test]
async fn an_allowed_host_is_followed_and_gets_no_credentials() {
    let world = World::start().await;
    let elsewhere = Upstream::start().await;
    let package = NpmPackage::new("left-pad", "1.3.0");
    world.upstream.publish(&package);
    elsewhere.publish(&package);
    world.upstream.require_token("upstream-token");
    check("no token", &world.get("left-pad", &[]).await, Seen::Wrong);
    let file = world.weir.data().join("token");
    fs_err::write(&file, "upstream-token\n").expect("the folder can be written");
    let file = file.to_str().expect("a temporary folder has a plain name");
    let weir = Weir::builder(env!("CARGO_BIN_EXE_weir")).start().await;
    let endpoint = weir.endpoint("local", "main", "npm").await;
    let allowed = elsewhere.url();
    let set = ["connections", "set", "public:npmjs", &world.upstream.url(), "--token-file", file];
    weir.cli(&[&set[..], &["--allowed-host", allowed.trim_end_matches('/')]].concat()).await.assert_ok();
    let token = weir.token("local").await;
    weir.get(&format!("{endpoint}left-pad"), &token).await.assert_status(200);
    world.upstream.fail("/left-pad/-/", Fault::RedirectUnder(elsewhere.url()));
    let file = weir.get(&format!("{endpoint}{}", package.tarball_path()), &token).await;
    assert_eq!(file.assert_status(200).body, package.tarball());
    let seen = elsewhere.requests();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("authorization"), "", "the token went to another host");
    let own = world.upstream.requests();
    assert_eq!(own.last().map(|request| request.header("authorization")), Some("Bearer upstream-token"));
    assert!(!weir.log().contains("upstream-token"));
    let shown = weir.cli(&["connections", "--json"]).await;
    assert!(!shown.assert_ok().says("upstream-token"), "{shown}");
}

#[tokio::test]
async fn a_redirect_within_the_registry_is_followed() {
    let world = World::start().await;
    let package = NpmPackage::new("left-pad", "1.3.0");
    world.upstream.publish(&package);
    let document = json!({ "name": "left-pad", "dist-tags": { "latest": "1.3.0" },
        "versions": { "1.3.0": package.index_entry(world.upstream.url().trim_end_matches('/')) } });
    world.upstream.set_document("moved", document.to_string());
    world.upstream.set_tarball("moved", "file.tgz", package.tarball());
    world.upstream.fail("/left-pad/-/", Fault::Redirect("/moved/-/file.tgz".to_owned()));
    world.upstream.fail_times("/left-pad", Fault::Redirect(format!("{}moved", world.upstream.url())), 1);
    world.get("left-pad", &[]).await.assert_status(200);
    let file = world.get(&package.tarball_path(), &[]).await;
    assert_eq!(file.assert_status(200).body, package.tarball());
    assert_eq!((world.upstream.calls("/moved"), world.upstream.calls("/moved/-/file.tgz")), (1, 1));
}

#[tokio::test]
async fn without_a_promised_digest_the_first_one_is_pinned_until_it_is_unpinned() {
    let world = World::start().await;
    let package = NpmPackage::new("old", "1.0.0");
    world.upstream.publish(&package);
    world.upstream.edit("old", |document| {
        let dist = document["versions"]["1.0.0"]["dist"].as_object_mut().expect("it is an object");
        dist.remove("integrity");
        dist.remove("shasum");
    });
    let path = package.tarball_path();
    assert_eq!(world.get(&path, &[]).await.assert_status(200).body, package.tarball());
    // Both copies go, so that the file has to be fetched again.
    for repository in ["main", "npm-store"] {
        let query = format!("domain=local&repository={repository}&format=npm&package=old");
        let delete = format!("/v1/package/versions/delete?{query}");
        let deleted = world.weir.api("POST", &delete, r#"{"versions":["1.0.0"]}"#).await;
        assert_eq!(deleted.assert_status(200).json()["failedVersions"], json!({}));
    }
    let changed = package.clone().file("changed", "1").tarball();
    world.upstream.set_tarball("old", "old-1.0.0.tgz", changed.clone());
    let refused = world.get(&path, &[]).await;
    check("other bytes", &refused, Seen::Wrong);
    assert!(refused.text().contains("weir connections unpin public:npmjs old"), "{}", refused.text());
    world.weir.cli(&["connections", "unpin", "public:npmjs", "old"]).await.assert_ok().assert_says("1 ");
    assert_eq!(world.get(&path, &[]).await.assert_status(200).body, changed);
}
