//! Bad days of the database: PostgreSQL restarted under load, gone, slow, hung, its connections used up. What
//! is warm is served on, writes end as 503, all heals without a restart, and nothing acknowledged is lost.

use crate::bad_world::{
    heals, is_whole, large, nothing_is_lost, passes, publish_during, publish_generic, writes_are_refused,
};
use crate::npm_world::World;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use weir_testkit::{NpmPackage, Postgres, Proxy, long};

/// How long a write may take that the database does not answer: a statement's 20 s after some waiting.
const PATIENCE: Duration = Duration::from_secs(32);

/// A server over a PostgreSQL of its own that it reaches directly.
async fn direct() -> Option<(Postgres, World)> {
    let postgres = Postgres::private().await?;
    let world = World::start_with(|builder| builder.database(&postgres)).await;
    Some((postgres, world))
}

/// The same behind a proxy.
struct Shaky {
    postgres: Postgres,
    proxy: Proxy,
    world: World,
}

async fn shaky(settings: &[&str]) -> Option<Shaky> {
    let postgres = Postgres::private_with(settings).await?;
    let proxy = Proxy::start(postgres.authority()).await;
    let url = postgres.url_through(&proxy);
    let world = World::start_with(|builder| builder.database_url(&url)).await;
    Some(Shaky { postgres, proxy, world })
}

/// A package that was published and read, so that nothing of it needs the database any more.
async fn warmed(world: &World) -> NpmPackage {
    let package = large("warm");
    world.publish(&package).await.assert_status(201);
    for _ in 0..2 {
        is_whole(world, &package).await;
    }
    package
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_database_under_load_loses_nothing() {
    let Some((postgres, world)) = direct().await else { return };
    let restarts = if long() { 10 } else { 2 };
    let ledger = publish_during(&world, "load", async {
        for _ in 0..restarts {
            tokio::time::sleep(Duration::from_millis(1200)).await;
            postgres.restart().await;
        }
        tokio::time::sleep(Duration::from_millis(1200)).await;
    })
    .await;
    let (acknowledged, refused) = (ledger.acknowledged.len(), ledger.refused.len());
    assert!(acknowledged > 20, "{acknowledged} acknowledged, {refused} refused");
    nothing_is_lost(&world, &ledger).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_gone_warm_reads_go_on_and_writes_are_refused() {
    let Some((postgres, world)) = direct().await else { return };
    let warm = warmed(&world).await;
    let cold = NpmPackage::new("cold", "1.0.0");
    world.publish(&cold).await.assert_status(201);
    postgres.stop().await;
    let gone = Instant::now();
    let reading = async {
        let outage = Duration::from_secs(if long() { 30 } else { 3 });
        while gone.elapsed() < outage {
            is_whole(&world, &warm).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let cold_read = async { passes(&world.get("cold", &[]).await) };
    tokio::join!(reading, cold_read, writes_are_refused(&world, "gone", PATIENCE));
    world.weir.send("GET", "/healthz", &[], b"").await.assert_status(200);
    world.weir.send("GET", "/readyz", &[], b"").await.assert_status(503);
    is_whole(&world, &warm).await;

    postgres.start().await;
    heals(&world, &NpmPackage::new("after", "1.0.0"), Duration::from_secs(5)).await;
    for package in [&warm, &cold] {
        is_whole(&world, package).await;
    }
    world.get("gone-npm", &[]).await.assert_status(404);
    world.weir.send("GET", "/readyz", &[], b"").await.assert_status(200);
    publish_generic(&world, "gone-generic", b"bytes").await.assert_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_database_slows_and_breaks_nothing() {
    let Some(Shaky { world, proxy, postgres: _postgres }) = shaky(&[]).await else { return };
    let warm = warmed(&world).await;
    proxy.delay(40);
    let ledger = publish_during(&world, "slow", async {
        let begun = Instant::now();
        is_whole(&world, &warm).await;
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "what is warm does not wait: {:?}",
            begun.elapsed()
        );
        tokio::time::sleep(Duration::from_secs(2)).await;
    })
    .await;
    assert!(ledger.refused.is_empty(), "{} were refused", ledger.refused.len());
    assert!(ledger.acknowledged.len() >= 8, "only {} were published", ledger.acknowledged.len());
    proxy.pass();
    nothing_is_lost(&world, &ledger).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_database_holds_nobody_for_ever() {
    let Some(Shaky { world, proxy, postgres: _postgres }) = shaky(&[]).await else { return };
    let warm = warmed(&world).await;
    let mut ledger = publish_during(&world, "before", tokio::time::sleep(Duration::from_millis(500))).await;
    // In the middle of statements, not between them.
    let hanging = publish_during(&world, "hung", async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        proxy.hang();
        let hung = Instant::now();
        tokio::join!(is_whole(&world, &warm), writes_are_refused(&world, "silent", PATIENCE));
        is_whole(&world, &warm).await;
        assert!(hung.elapsed() < PATIENCE, "{:?}", hung.elapsed());
    })
    .await;
    assert!(!hanging.refused.is_empty(), "nobody noticed");
    // A server that comes back on connections of its own: what hung is never answered.
    proxy.refuse();
    proxy.pass();
    heals(&world, &NpmPackage::new("after", "1.0.0"), Duration::from_secs(5)).await;
    ledger.acknowledged.extend(hanging.acknowledged);
    ledger.refused.extend(hanging.refused);
    nothing_is_lost(&world, &ledger).await;
    world.get("silent-npm", &[]).await.assert_status(404);
}

/// A connection of somebody else; `None` when the database has none left.
async fn another_connection(postgres: &Postgres) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(postgres.authority()).await.expect("PostgreSQL listens");
    let said = b"\0\x03\0\0user\0postgres\0database\0weir\0\0";
    let length = u32::try_from(said.len() + 4).expect("short").to_be_bytes();
    stream.write_all(&[&length[..], said].concat()).await.expect("it takes bytes");
    let mut answer = [0];
    stream.read_exact(&mut answer).await.expect("it answers");
    (answer == *b"R").then_some(stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn used_up_connections_refuse_writes_until_some_are_free() {
    let settings = ["max_connections=20", "superuser_reserved_connections=0"];
    let Some(Shaky { postgres, world, proxy }) = shaky(&settings).await else { return };
    let warm = warmed(&world).await;
    let mut others = Vec::new();
    proxy.refuse();
    // Until the server has seen that its own connections are gone, and others have them all.
    let begun = Instant::now();
    while others.len() < 20 {
        others.extend(another_connection(&postgres).await);
        assert!(begun.elapsed() < Duration::from_secs(20), "only {} connections are free", others.len());
    }
    proxy.pass();
    tokio::join!(is_whole(&world, &warm), writes_are_refused(&world, "full", PATIENCE));
    is_whole(&world, &warm).await;
    // A few are enough.
    others.truncate(15);
    heals(&world, &NpmPackage::new("after", "1.0.0"), Duration::from_secs(12)).await;
    drop(others);
    let ledger = publish_during(&world, "free", tokio::time::sleep(Duration::from_secs(1))).await;
    assert!(ledger.refused.is_empty(), "{} were refused", ledger.refused.len());
    nothing_is_lost(&world, &ledger).await;
}
