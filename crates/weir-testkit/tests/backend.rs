//! Real servers for tests: databases and buckets are fresh, private servers stop and start on their place.

use weir_testkit::http::try_send;
use weir_testkit::{ObjectStore, Postgres};

#[tokio::test(flavor = "multi_thread")]
async fn each_test_has_a_database_of_its_own() {
    let Some(one) = Postgres::shared_database().await else { return };
    let Some(other) = Postgres::shared_database().await else { return };
    one.psql("create table t (a text); insert into t values ('x'), ('Y'), ('a')").await;
    assert_eq!(one.psql("select a, 1 from t order by a").await, "a|1\nx|1\nY|1", "sorted as people do");
    assert_eq!(other.psql("select count(*) from pg_class where relname = 't'").await, "0");
    let name = one.psql("select current_database()").await;
    drop(one);
    assert_eq!(other.psql(&format!("select count(*) from pg_database where datname = '{name}'")).await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_database_server_keeps_its_data_and_address() {
    let Some(mut postgres) = Postgres::private_with(&["max_connections=11"]).await else { return };
    assert_eq!(postgres.psql("show max_connections").await, "11");
    postgres.psql("create table t (a text); insert into t values ('kept')").await;
    let url = postgres.url().to_owned();
    postgres.stop().await;
    assert!(tokio::net::TcpStream::connect(postgres.authority()).await.is_err());
    postgres.set("max_connections=12");
    postgres.start().await;
    assert_eq!(postgres.url(), url);
    assert_eq!(postgres.psql("show max_connections").await, "12");
    postgres.restart().await;
    assert_eq!(postgres.psql("select a from t").await, "kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_store_has_fresh_buckets_and_can_be_away() {
    let Some(one) = ObjectStore::bucket().await else { return };
    let Some(other) = ObjectStore::bucket().await else { return };
    assert_ne!(one.folder(), other.folder());
    assert!(one.blob_url().starts_with("s3://") && one.blob_url().contains("?endpoint=http://127.0.0.1:"));
    fs_err::create_dir_all(one.folder().join("a")).expect("the bucket's folder can be written");
    fs_err::write(one.folder().join("a/b"), "x").expect("the bucket's folder can be written");
    assert_eq!(one.objects(), ["a/b"]);
    let folder = one.folder();
    drop(one);
    assert!(!folder.exists());

    let Some(store) = ObjectStore::private().await else { return };
    let bucket = store.new_bucket();
    let url = format!("http://{}/", bucket.authority());
    // Nobody who brings no signature is let in.
    try_send("GET", &url, &[], "").await.expect("it answers").assert_status(403);
    store.stop().await;
    assert!(try_send("GET", &url, &[], "").await.is_err());
    store.start().await;
    try_send("GET", &url, &[], "").await.expect("it answers again").assert_status(403);
}
