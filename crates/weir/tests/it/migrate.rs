//! `weir migrate`: says what it would do and did, changes nothing when it is only asked, and shows no password.

use crate::running::weir;
use serde_json::json;
use weir_testkit::Postgres;

const FIRST: &str = "0001_init";
const KEY: (&str, &str) =
    ("WEIR_MASTER_KEY", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");

#[tokio::test]
async fn a_dry_run_lists_what_migrate_would_do_and_changes_nothing() {
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let data = home.path().join("data");
    let run = async |arguments: &[&str]| {
        let arguments = [&["migrate", "--data", data.to_str().expect("a plain path")], arguments].concat();
        weir(home.path(), &[], &arguments).await
    };
    run(&["--dry-run"]).await.assert_fails().assert_says("does not exist");
    fs_err::create_dir(&data).expect("a temporary folder can be written");
    let listed = run(&["--dry-run"]).await;
    listed.assert_ok().assert_says("would be changed by").assert_says(FIRST);
    let shown = run(&["--dry-run", "--json"]).await.assert_ok().json();
    let database = data.join("weir.db").display().to_string();
    assert_eq!((&shown["database"], &shown["pending"][0]), (&json!(database), &json!(FIRST)));
    assert_eq!(fs_err::read_dir(&data).expect("it is there").count(), 0, "nothing was made");

    let done = run(&["--json"]).await.assert_ok().json();
    assert_eq!((&done["applied"], &done["state"]), (&shown["pending"], &json!("up to date")));
    assert_eq!(run(&["--dry-run", "--json"]).await.json()["pending"], json!([]));
    run(&[]).await.assert_ok().assert_says("is up to date");
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_of_postgresql_are_told_without_its_password() {
    let Some(postgres) = Postgres::shared_database().await else { return };
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let url = postgres.url().replace("postgres@", "postgres:hunter2@");
    let run = async |url: &str, arguments: &[&str]| {
        let variables = [KEY, ("WEIR_DATABASE_URL", url)];
        let output = weir(home.path(), &variables, &[&["migrate"], arguments].concat()).await;
        assert!(!output.says("hunter2"), "{output}");
        output
    };
    let tables = async || postgres.psql("select count(*) from pg_tables where schemaname = 'public'").await;
    run(&url, &["--dry-run"]).await.assert_ok().assert_says(FIRST).assert_says(postgres.authority());
    assert_eq!(tables().await, "0");
    run(&url, &[]).await.assert_ok().assert_says("was changed by").assert_says(FIRST);
    assert_ne!(tables().await, "0");
    run(&url, &[]).await.assert_ok().assert_says("is up to date");
    let away = run("postgres://u:hunter2@127.0.0.1:9/weir", &["--dry-run"]).await;
    away.assert_fails().assert_says("127.0.0.1:9");
}
