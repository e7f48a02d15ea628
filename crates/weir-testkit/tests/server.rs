//! The handling of a server process, with a script in the server's place: start, stop, restart, refusal.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use weir_testkit::Weir;

const SERVER: &str = r#"#!/bin/sh
[ "$1 $2 $4" = "serve --data --listen" ] || { echo "not serving: $*" >&2; exit 2; }
[ -z "$REFUSE" ] || { echo "refused" >&2; exit 3; }
mkdir -p "$3"
printf '[default]\naws_access_key_id = AKIA\naws_secret_access_key=secret\nregion = eu-test-1\n' > "$3/credentials"
trap 'exit 0' TERM
echo "started" >&2
echo "listening on http://127.0.0.1:1234"
while :; do sleep 0.05; done
"#;

fn script() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path: PathBuf = Path::new(folder.path()).join("weir");
    fs_err::write(&path, SERVER).expect("it can be written");
    fs_err::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("it is ours");
    (folder, path)
}

#[tokio::test]
async fn a_server_starts_restarts_and_stops() {
    let (_folder, path) = script();
    let weir = Weir::builder(&path).with_path().flag("--region", "eu-test-1").start().await;
    assert_eq!((weir.url(), weir.authority()), ("http://127.0.0.1:1234", "127.0.0.1:1234"));
    let key = weir.credentials();
    assert_eq!((key.access_key_id.as_str(), key.region.as_str()), ("AKIA", "eu-test-1"));
    assert!(weir.aws_env().contains(&("AWS_REGION".into(), "eu-test-1".into())));

    let weir = weir.restart().await;
    assert_eq!(weir.log(), "started\nstarted\n");
    assert!(weir.further_output().is_empty());
    assert_eq!(weir.stop().await, Some(0));
}

#[tokio::test]
async fn a_server_that_refuses_to_start_says_why() {
    let (_folder, path) = script();
    let output = Weir::builder(&path).with_path().env("REFUSE", "1").start_refused().await;
    assert_eq!(output.assert_says("refused").code, Some(3));
}
