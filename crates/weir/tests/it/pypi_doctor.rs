//! What `weir doctor` finds in a pip.conf.

use crate::pypi_world::World;
use serde_json::{Value, json};
use std::path::Path;

/// The finding about pip, which must be as good as this; the whole run is as good as all findings.
async fn pip_finding(world: &World, file: &Path, good: bool) -> String {
    let file = file.display().to_string();
    let output = world.weir.cli(&["doctor", "--pip-conf", &file, "--json"]).await;
    assert_eq!(output.success(), good, "{output}");
    let report = output.json();
    let checks: Vec<&Value> = report["checks"].as_array().expect("a list").iter().collect();
    let found = checks.iter().find(|check| check["check"] == "pip").unwrap_or_else(|| panic!("{report:#}"));
    assert_eq!(found["good"], json!(good), "{report:#}");
    assert!(!output.says("weir_"), "a report tells no token: {output}");
    found["text"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn doctor_tells_whether_the_token_in_pip_conf_works() {
    let world = World::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("pip.conf");
    let write = |text: &str| fs_err::write(&file, text).expect("the folder is ours");

    let absent = pip_finding(&world, &file, false).await;
    assert!(absent.contains("--pip-conf names another"), "{absent}");
    let path = file.display().to_string();
    world.weir.cli(&["login", "pip", "--file", &path]).await.assert_ok();
    let works = pip_finding(&world, &file, true).await;
    assert!(works.contains("works at") && works.contains(&world.index()), "{works}");

    let tokens = world.weir.cli(&["token", "list", "--json"]).await.assert_ok().json();
    for token in tokens["tokens"].as_array().expect("a list") {
        let id = token["id"].as_str().expect("it has one");
        world.weir.cli(&["token", "delete", id]).await.assert_ok();
    }
    let ended = pip_finding(&world, &file, false).await;
    assert!(ended.contains("has ended or was revoked") && ended.contains("weir login pip"), "{ended}");

    write(&format!("[global]\nindex-url = {}\n", world.index()));
    let bare = pip_finding(&world, &file, false).await;
    assert!(bare.contains("has no token"), "{bare}");
    write("[global]\nindex-url = http://index.example.test/simple/\n");
    let elsewhere = pip_finding(&world, &file, true).await;
    assert!(elsewhere.contains("does not point to this server"), "{elsewhere}");
}
