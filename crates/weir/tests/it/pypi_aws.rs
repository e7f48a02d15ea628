//! Python packages as the AWS CLI asks for them: `login` for pip and twine, what is told of a version, and
//! what pip sees after copies, changes of status, and deletions.

use crate::aws_session::{AwsSession, names};
use crate::pypi_world::{JSON, World, file_names};
use serde_json::{Value, json};
use weir_testkit::{Distribution, PythonClient, PythonPackage};

const REPOSITORY: &str = "--domain local --repository main --format pypi";

fn demo() -> PythonPackage {
    PythonPackage::new("Weir_Demo", "1.0")
        .summary("Shows what Weir shows.")
        .license("Apache-2.0")
        .metadata_version("2.4")
        .readme("# Demo\n\nIt shows.\n")
        .requires("Leaf.Pkg>=1,<2")
        .requires("more[fast]~=3.0; python_version < \"3.9\" and extra == \"fancy\"")
        .field("Provides-Extra", "fancy")
        .field("Project-URL", "Homepage, https://demo.example.test/")
        .field("Project-URL", "Source, https://code.example.test/demo")
}

/// Where a file lies below its repository.
fn place(distribution: &Distribution) -> String {
    let package = &distribution.package;
    format!("simple/{}/{}/{}", package.normalized_name(), package.version(), distribution.file_name)
}

#[tokio::test]
async fn login_sets_pip_and_twine_up() {
    let world = World::start().await;
    world.upstream.publish_distribution(&PythonPackage::new("leaf-pkg", "1.2").wheel());
    if let Some(twine) = PythonClient::twine() {
        login(&world, &twine, "twine").await;
        let wheel = PythonPackage::new("weir-demo", "1.0").requires("leaf-pkg").wheel();
        twine.write(&format!("dist/{}", wheel.file_name), &wheel.bytes);
        let file = format!("dist/{}", wheel.file_name);
        twine.run(&["upload", "--non-interactive", "--repository", "codeartifact", &file]).await.assert_ok();
        assert_eq!(file_names(&world.page("weir-demo").await), [wheel.file_name]);
    }
    if let Some(pip) = PythonClient::pip() {
        login(&world, &pip, "pip").await;
        pip.install(&["leaf-pkg"]).await.assert_ok();
        assert_eq!(pip.installed("leaf-pkg").as_deref(), Some("1.2"));
    }
}

/// Runs `aws codeartifact login` in the client's home.
async fn login(world: &World, client: &PythonClient, tool: &str) {
    let Some(aws) = world.weir.aws_cli() else { return };
    let home = client.home();
    let config = home.join("config").display().to_string();
    let aws = aws.env("HOME", &home.display().to_string()).env("XDG_CONFIG_HOME", &config);
    let aws = aws.with_program(client.program());
    let arguments = ["codeartifact", "login", "--tool", tool, "--domain", "local", "--repository", "main"];
    let said = format!("Successfully configured {tool} to use AWS CodeArtifact repository");
    aws.run(&arguments).await.assert_ok().assert_says(&said);
}

#[tokio::test]
async fn a_published_version_is_described() {
    let world = World::start().await;
    let Some(aws) = AwsSession::start(&world.weir) else { return };
    world.publish(&demo()).await;
    let packages = aws.ok("list-packages --domain local --repository main --format pypi").await;
    assert_eq!(
        packages["packages"],
        json!([{ "format": "pypi", "package": "weir-demo",
                 "originConfiguration": { "restrictions": { "publish": "ALLOW", "upstream": "BLOCK" } } }])
    );
    for spelling in ["Weir_Demo", "weir-demo", "WEIR.demo"] {
        let versions = aws.ok(&format!("list-package-versions {REPOSITORY} --package {spelling}")).await;
        assert_eq!(versions["defaultDisplayVersion"], "1.0");
        assert_eq!((&versions["package"], &versions["format"]), (&json!("weir-demo"), &json!("pypi")));
        let version = &versions["versions"][0];
        assert_eq!((&version["version"], &version["status"]), (&json!("1.0"), &json!("Published")));
        assert_eq!(
            version["origin"],
            json!({ "domainEntryPoint": { "repositoryName": "main" }, "originType": "INTERNAL" })
        );
    }
    let of = format!("{REPOSITORY} --package Weir_Demo");
    for number in ["1.0", "1.0.0", "v1"] {
        let described = aws.ok(&format!("describe-package-version {of} --package-version {number}")).await;
        let version = &described["packageVersion"];
        assert_eq!((&version["version"], &version["displayName"]), (&json!("1.0"), &json!("weir-demo")));
        assert_eq!(version["packageName"], "weir-demo");
        assert_eq!(version["summary"], "Shows what Weir shows.");
        assert_eq!(version["homePage"], "https://demo.example.test/");
        assert_eq!(version["sourceCodeRepository"], "https://code.example.test/demo");
        assert_eq!(version["licenses"][0]["name"], "Apache-2.0");
    }
    let one = format!("{of} --package-version 1.0.0");
    let (wheel, sdist) = (demo().wheel(), demo().sdist());
    let assets = aws.ok(&format!("list-package-version-assets {one}")).await;
    assert_eq!(assets["version"], "1.0");
    assert_eq!(names(&assets["assets"], "name"), [&*wheel.file_name, &*sdist.file_name]);
    for (asset, distribution) in assets["assets"].as_array().expect("a list").iter().zip([&wheel, &sdist]) {
        assert_eq!(asset["size"], distribution.bytes.len());
        let digests = asset["hashes"].as_object().expect("a map");
        assert_eq!(digests.keys().collect::<Vec<_>>(), ["MD5", "SHA-1", "SHA-256", "SHA-512"]);
        assert_eq!(
            (&digests["SHA-256"], &digests["MD5"]),
            (&json!(distribution.sha256()), &json!(distribution.md5()))
        );
        let file = aws.folder().join("asset");
        let command =
            format!("get-package-version-asset {one} --asset {} {}", distribution.file_name, file.display());
        let got = aws.ok(&command).await;
        assert_eq!(
            (&got["assetName"], &got["packageVersion"]),
            (&json!(distribution.file_name), &json!("1.0"))
        );
        assert_eq!(fs_err::read(file).expect("the CLI wrote it"), distribution.bytes);
    }
    let dependencies = aws.ok(&format!("list-package-version-dependencies {one}")).await;
    assert_eq!(
        dependencies["dependencies"],
        json!([
            { "package": "leaf-pkg", "dependencyType": "Requires-Dist", "versionRequirement": ">=1,<2" },
            { "package": "more", "dependencyType": "Requires-Dist",
              "versionRequirement": "[fast]~=3.0; python_version < \"3.9\" and extra == \"fancy\"" },
        ])
    );
    let readme = aws.ok(&format!("get-package-version-readme {one}")).await;
    assert_eq!(readme["readme"], "# Demo\n\nIt shows.\n");
    aws.fails(&format!("describe-package-version {of} --package-version 1.0.1"), "ResourceNotFoundException")
        .await;
    aws.fails(&format!("describe-package-version {of} --package-version one"), "ValidationException").await;
    aws.fails(&format!("list-package-versions {of} --namespace x"), "ValidationException").await;
}

#[tokio::test]
async fn a_fetched_version_is_described() {
    let world = World::start().await;
    let Some(aws) = AwsSession::start(&world.weir) else { return };
    let wheel = demo().wheel();
    world.upstream.publish_distributions([&wheel, &demo().sdist()]);
    world.page("weir-demo").await;
    let of = format!("{REPOSITORY} --package Weir_Demo");
    // A page and metadata retain nothing.
    world.get(&format!("{}.metadata", place(&wheel)), &[]).await.assert_status(200);
    aws.fails(&format!("list-package-versions {of}"), "ResourceNotFoundException").await;
    world.get(&place(&wheel), &[]).await.assert_status(200);
    let versions = aws.ok(&format!("list-package-versions {of}")).await;
    assert_eq!(
        versions["versions"][0]["origin"],
        json!({ "domainEntryPoint": { "externalConnectionName": "public:pypi" }, "originType": "EXTERNAL" })
    );
    let one = format!("{of} --package-version 1.0.0");
    let described = aws.ok(&format!("describe-package-version {one}")).await["packageVersion"].clone();
    assert_eq!(
        (&described["version"], &described["licenses"][0]["name"]),
        (&json!("1.0"), &json!("Apache-2.0"))
    );
    assert_eq!(described["summary"], "Shows what Weir shows.");
    let assets = aws.ok(&format!("list-package-version-assets {one}")).await;
    // All files of the version are known; of the one that was not fetched no more than its name.
    assert_eq!(names(&assets["assets"], "name"), [&*wheel.file_name, "weir_demo-1.0.tar.gz"]);
    assert!(assets["assets"][0]["size"].is_u64() && assets["assets"][1].get("size").is_none(), "{assets}");
    let dependencies = aws.ok(&format!("list-package-version-dependencies {one}")).await;
    assert_eq!(names(&dependencies["dependencies"], "package"), ["leaf-pkg", "more"]);
    let readme = aws.ok(&format!("get-package-version-readme {one}")).await;
    assert_eq!(readme["readme"], "# Demo\n\nIt shows.\n");
}

#[tokio::test]
async fn an_archived_version_is_gone_and_an_unlisted_one_is_not_shown() {
    let world = World::start().await;
    let Some(aws) = AwsSession::start(&world.weir) else { return };
    let Some(pip) = world.pip() else { return };
    let next = PythonPackage::new("Weir_Demo", "1.1");
    world.publish(&PythonPackage::new("Weir_Demo", "1.0")).await;
    world.publish(&next).await;
    let wheel = next.wheel();
    let own = [place(&wheel), format!("{}.metadata", place(&wheel)), "pypi/weir-demo/1.1/json".to_owned()];
    let set = async |status: &str| {
        // A version is found by every spelling.
        let command = format!(
            "update-package-versions-status {REPOSITORY} --package Weir_Demo --versions 1.1.0 --target-status {status}"
        );
        let done = aws.ok(&command).await;
        assert_eq!(done["failedVersions"], json!({}), "{done}");
        assert_eq!(done["successfulVersions"].as_object().map(serde_json::Map::len), Some(1), "{done}");
    };
    let install = async |requirement: &str, expected: Option<&str>| {
        pip.forget();
        let output = pip.install(&[requirement]).await;
        assert_eq!(output.success(), expected.is_some(), "{output}");
        assert_eq!(pip.installed("weir-demo").as_deref(), expected, "{output}");
    };
    for (status, direct) in [("Archived", 404), ("Unlisted", 200)] {
        set(status).await;
        let page = world.page("weir-demo").await;
        assert_eq!(page["versions"], json!(["1.0"]), "{status}");
        assert!(file_names(&page).iter().all(|name| name.contains("-1.0")), "{status}: {page:#}");
        let newest = world.get("pypi/weir-demo/json", &[]).await.assert_status(200).json();
        assert_eq!(newest["info"]["version"], "1.0", "{status}");
        for path in &own {
            let answer = world.get(path, &[]).await;
            assert_eq!(answer.status, direct, "{status} {path}: {}", answer.text());
        }
        install("weir-demo", Some("1.0")).await;
        install("weir-demo==1.1", None).await;
    }
    // What it is downloaded by is a lock file.
    pip.forget();
    let url = format!(
        "weir-demo @ {}{}",
        world.endpoint.replace("://", &format!("://aws:{}@", world.token)),
        place(&wheel)
    );
    pip.install(&[&url]).await.assert_ok();
    set("Published").await;
    install("weir-demo", Some("1.1")).await;
}

#[tokio::test]
async fn copied_versions_bring_all_of_their_files() {
    let world = World::start().await;
    let Some(aws) = AwsSession::start(&world.weir) else { return };
    let Some(mut pip) = PythonClient::pip() else { return };
    let package = PythonPackage::new("Weir_Demo", "1.0").requires("leaf-pkg");
    world.publish(&package).await;
    world.upload(&package.wheel_tagged("cp27-cp27m-win32")).await.assert_status(200);
    // A fetched one: what was not fetched yet does not come along.
    let leaf = PythonPackage::new("leaf-pkg", "1.2");
    world.upstream.publish_distributions([&leaf.wheel(), &leaf.sdist()]);
    world.get(&place(&leaf.wheel()), &[]).await.assert_status(200);
    let endpoint = world.repository("release", &[]).await;
    let copy = "copy-package-versions --domain local --source-repository main --destination-repository release \
                --format pypi";
    for (package, version) in [("Weir.Demo", "1.0.0"), ("leaf_pkg", "1.2")] {
        let done = aws.ok(&format!("{copy} --package {package} --versions {version}")).await;
        assert_eq!(done["failedVersions"], json!({}), "{done}");
        assert_eq!(done["successfulVersions"].as_object().map(serde_json::Map::len), Some(1), "{done}");
    }
    let get = async |path: &str| world.weir.get(&format!("{endpoint}{path}"), &world.token).await;
    let main = world.page("weir-demo").await;
    let bearer = format!("Bearer {}", world.token);
    let page = async |project: &str| {
        let url = format!("{endpoint}simple/{project}/");
        weir_testkit::http::send("GET", &url, &[JSON, ("authorization", &bearer)], "")
            .await
            .assert_status(200)
            .json()
    };
    assert_eq!(page("weir-demo").await["files"], main["files"]);
    assert_eq!(file_names(&page("weir-demo").await).len(), 3);
    assert_eq!(file_names(&page("leaf-pkg").await), [leaf.wheel().file_name]);
    for wheel in [package.wheel(), leaf.wheel()] {
        let metadata = get(&format!("{}.metadata", place(&wheel))).await;
        assert_eq!(metadata.assert_status(200).text(), wheel.metadata);
        assert_eq!(get(&place(&wheel)).await.assert_status(200).body, wheel.bytes);
    }
    pip.write_config(&format!("{endpoint}simple/"), Some(("aws", &world.token)));
    pip.install(&["weir-demo"]).await.assert_ok();
    assert_eq!(pip.installed("leaf-pkg").as_deref(), Some("1.2"));
}

#[tokio::test]
async fn a_deleted_version_can_be_published_again() {
    let world = World::start().await;
    let Some(aws) = AwsSession::start(&world.weir) else { return };
    let package = PythonPackage::new("weir-demo", "1.0");
    let other = package.clone().file("weir_demo/more.py", "");
    world.publish(&package).await;
    world.upload(&other.wheel()).await.assert_status(409);
    let of = format!("{REPOSITORY} --package Weir_Demo");
    let deleted = aws.ok(&format!("delete-package-versions {of} --versions 1.0.0")).await;
    assert_eq!(deleted["failedVersions"], json!({}), "{deleted}");
    world.get("simple/weir-demo/", &[JSON]).await.assert_status(404);
    world.get(&place(&package.wheel()), &[]).await.assert_status(404);
    world.publish(&other).await;
    let page = world.page("weir-demo").await;
    assert_eq!(page["files"][0]["hashes"]["sha256"], other.wheel().sha256());
    aws.ok(&format!("delete-package {of}")).await;
    world.get("simple/weir-demo/", &[JSON]).await.assert_status(404);
    world.upload(&package.wheel()).await.assert_status(200);
}

#[tokio::test]
async fn origin_controls_open_and_close_a_name() {
    let world = World::start().await;
    let Some(aws) = AwsSession::start(&world.weir) else { return };
    let public = PythonPackage::new("left-pad", "1.0").wheel();
    world.upstream.publish_distributions([&public, &PythonPackage::new("own", "99.0").wheel()]);
    world.get(&place(&public), &[]).await.assert_status(200);
    let next = PythonPackage::new("Left_Pad", "2.0").wheel();
    let restrict = async |package: &str, publish: &str, upstream: &str| {
        let command = format!(
            "put-package-origin-configuration {REPOSITORY} --package {package} --restrictions publish={publish},upstream={upstream}"
        );
        let put = aws.ok(&command).await;
        assert_eq!(
            put["originConfiguration"]["restrictions"],
            json!({ "publish": publish, "upstream": upstream })
        );
    };
    world.upload(&next).await.assert_status(403);
    restrict("Left_Pad", "ALLOW", "ALLOW").await;
    world.upload(&next).await.assert_status(200);
    assert_eq!(world.page("left-pad").await["versions"], json!(["1.0", "2.0"]));

    world.upload(&PythonPackage::new("own", "1.0").wheel()).await.assert_status(200);
    assert_eq!(world.page("own").await["versions"], json!(["1.0"]));
    restrict("OWN", "ALLOW", "ALLOW").await;
    assert_eq!(world.page("own").await["versions"], json!(["1.0", "99.0"]));
    restrict("own", "BLOCK", "BLOCK").await;
    assert_eq!(world.page("own").await["versions"], json!(["1.0"]));
    world.upload(&PythonPackage::new("own", "1.1").wheel()).await.assert_status(403);
    let described: Value = aws.ok(&format!("describe-package {REPOSITORY} --package Own")).await;
    assert_eq!(described["package"]["name"], "own");
}
