//! Domains, repositories, tokens and listings as the AWS CLI asks for them, and npm set up by its `login`.

use crate::aws_session::{AwsSession, names};
use serde_json::{Value, json};
use weir_testkit::{Client, NpmPackage, Upstream, Weir, fixture_project};

const ACCOUNT: &str = "000000000000";

async fn start(upstream: Option<&Upstream>) -> Weir {
    let builder = Weir::builder(env!("CARGO_BIN_EXE_weir"));
    let address = upstream.map_or_else(|| "http://127.0.0.1:9/".to_owned(), Upstream::url);
    builder.npmjs(&address).start().await
}

/// Five repositories in a row, the last of which has the connection: main, team, shared, company, npm-store.
async fn chain_of_five(aws: &AwsSession) {
    aws.ok("create-domain --domain orchard").await;
    aws.ok("create-repository --domain orchard --repository npm-store").await;
    aws.ok(
        "associate-external-connection --domain orchard --repository npm-store --external-connection public:npmjs",
    )
    .await;
    for (repository, upstream) in
        [("company", "npm-store"), ("shared", "company"), ("team", "shared"), ("main", "team")]
    {
        aws.ok(&format!(
            "create-repository --domain orchard --repository {repository} --upstreams repositoryName={upstream}"
        ))
        .await;
    }
}

#[tokio::test]
async fn a_domain_lives_as_in_the_guide() {
    let weir = start(None).await;
    let Some(aws) = AwsSession::start(&weir) else { return };
    let made = aws.ok("create-domain --domain my-domain --tags key=team,value=web").await;
    let domain = &made["domain"];
    let arn = format!("arn:aws:codeartifact:us-east-1:{ACCOUNT}:domain/my-domain");
    assert_eq!(domain["arn"], json!(arn));
    assert_eq!(domain["status"], "Active");
    assert_eq!((&domain["repositoryCount"], &domain["assetSizeBytes"]), (&json!(0), &json!(0)));
    let key = domain["encryptionKey"].as_str().expect("a key");
    assert!(key.starts_with(&format!("arn:aws:kms:us-east-1:{ACCOUNT}:key/")), "{key}");
    assert!(domain["s3BucketArn"].as_str().is_some_and(|arn| arn.starts_with("arn:aws:s3:::")), "{domain}");

    aws.ok("create-repository --domain my-domain --repository first").await;
    let described = aws.ok("describe-domain --domain my-domain").await;
    assert_eq!(described["domain"]["repositoryCount"], 1);
    assert_eq!(described["domain"]["encryptionKey"], domain["encryptionKey"]);
    let owned = aws.ok(&format!("describe-domain --domain my-domain --domain-owner {ACCOUNT}")).await;
    assert_eq!(owned, described);

    let all = aws.ok("list-domains").await;
    assert_eq!(names(&all["domains"], "name"), ["local", "my-domain"]);
    assert!(all["domains"][1].get("s3BucketArn").is_none(), "ListDomains has no bucket: {all}");

    let text = aws.fails("delete-domain --domain my-domain", "ConflictException").await;
    assert!(text.contains("Domain must contain 0 repositories before deletion"), "{text}");
    aws.ok("delete-repository --domain my-domain --repository first").await;
    let deleted = aws.ok("delete-domain --domain my-domain").await;
    assert_eq!(deleted["domain"]["status"], "Deleted");
    let text = aws.fails("describe-domain --domain my-domain", "ResourceNotFoundException").await;
    let expected =
        format!("Domain not found. Domain 'my-domain' owned by account '{ACCOUNT}' does not exist");
    assert!(text.contains(&expected), "{text}");
    // An absent domain is deleted with success (the model declares no ResourceNotFoundException).
    aws.ok("delete-domain --domain my-domain").await;
}

#[tokio::test]
async fn repositories_live_as_in_the_guide() {
    let weir = start(None).await;
    let Some(aws) = AwsSession::start(&weir) else { return };
    chain_of_five(&aws).await;

    let store = aws.ok("describe-repository --domain orchard --repository npm-store").await;
    let connections = &store["repository"]["externalConnections"];
    assert_eq!(
        connections,
        &json!([{ "externalConnectionName": "public:npmjs", "packageFormat": "npm", "status": "AVAILABLE" }])
    );
    let main = aws.ok("describe-repository --domain orchard --repository main").await;
    let main = &main["repository"];
    assert_eq!(main["upstreams"], json!([{ "repositoryName": "team" }]));
    assert_eq!(
        main["arn"],
        json!(format!("arn:aws:codeartifact:us-east-1:{ACCOUNT}:repository/orchard/main"))
    );
    assert_eq!((&main["domainOwner"], &main["administratorAccount"]), (&json!(ACCOUNT), &json!(ACCOUNT)));
    assert!(main["createdTime"].is_string() || main["createdTime"].is_number(), "{main}");

    // The list replaces the old one, its order is the priority, an empty one removes all.
    let update = "update-repository --domain orchard --repository main";
    aws.ok(&format!("{update} --description 'what teams use'")).await;
    let both = format!("{update} --upstreams repositoryName=company repositoryName=team");
    let changed = aws.ok(&both).await;
    assert_eq!(names(&changed["repository"]["upstreams"], "repositoryName"), ["company", "team"]);
    assert_eq!(changed["repository"]["description"], "what teams use");
    let none = aws.ok(&format!("{update} --upstreams []")).await;
    assert_eq!(none["repository"].get("upstreams").unwrap_or(&json!([])), &json!([]));

    let gone = aws.ok(
        "disassociate-external-connection --domain orchard --repository npm-store --external-connection public:npmjs",
    );
    assert_eq!(gone.await["repository"]["externalConnections"], json!([]));

    // A repository that is an upstream can be deleted.
    aws.ok("delete-repository --domain orchard --repository company").await;
    let shared = aws.ok("describe-repository --domain orchard --repository shared").await;
    assert_eq!(shared["repository"]["upstreams"], json!([]));
}

#[tokio::test]
async fn every_format_has_an_endpoint_that_ends_in_a_slash() {
    let weir = start(None).await;
    let Some(aws) = AwsSession::start(&weir) else { return };
    for format in ["npm", "pypi", "maven", "nuget", "generic", "ruby", "swift", "cargo"] {
        for kind in ["", "--endpoint-type ipv4", "--endpoint-type dualstack"] {
            let command =
                format!("get-repository-endpoint --domain local --repository main --format {format} {kind}");
            let expected = format!("{}/{format}/d/local-{ACCOUNT}/main/", weir.url());
            assert_eq!(aws.ok(&command).await["repositoryEndpoint"], json!(expected));
        }
    }
    let asked = "get-repository-endpoint --domain local --repository main --format";
    aws.fails(&format!("{asked} conda"), "ValidationException").await;
    aws.fails(&format!("{asked} npm --endpoint-type ipv6"), "ValidationException").await;
    let absent = "get-repository-endpoint --domain local --repository absent --format npm";
    aws.fails(absent, "ResourceNotFoundException").await;
}

#[tokio::test]
async fn a_token_lives_as_long_as_asked_and_opens_its_domain_alone() {
    let weir = start(None).await;
    let Some(aws) = AwsSession::start(&weir) else { return };
    aws.ok("create-domain --domain other").await;
    aws.ok("create-repository --domain other --repository main").await;
    for (asked, lives) in [
        ("", 43_200),
        ("--duration-seconds 0", 43_200),
        ("--duration-seconds 900", 900),
        ("--duration-seconds 43200", 43_200),
    ] {
        let answer = weir
            .api("POST", &format!("/v1/authorization-token?domain=local{}", asked_query(asked)), "")
            .await;
        let left = answer.json()["expiration"].as_f64().expect("epoch seconds") - now();
        assert!((left - f64::from(lives)).abs() < 60.0, "{asked}: {left}");
        let issued = aws.ok(&format!("get-authorization-token --domain local {asked}")).await;
        let token = issued["authorizationToken"].as_str().expect("a token");
        assert!(token.starts_with("weir_"), "{token}");
        assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~-".contains(&b)), "{token}");
        let ping = format!("/npm/d/local-{ACCOUNT}/main/-/ping");
        weir.get(&ping, token).await.assert_status(200);
        let elsewhere = weir.get(&format!("/npm/d/other-{ACCOUNT}/main/-/ping"), token).await;
        elsewhere.assert_status(401);
        assert_eq!(elsewhere.header("www-authenticate"), "Basic realm=\"other/main\"");
    }
    for refused in ["1", "899", "43201", "-1"] {
        let command = format!("get-authorization-token --domain local --duration-seconds {refused}");
        aws.fails(&command, "ValidationException").await;
    }
    aws.fails("get-authorization-token --domain absent", "ResourceNotFoundException").await;
}

fn asked_query(flag: &str) -> String {
    flag.split_whitespace().nth(1).map(|seconds| format!("&duration={seconds}")).unwrap_or_default()
}

fn now() -> f64 {
    use weir_core::Clock as _;
    weir_core::SystemClock.now().as_millisecond() as f64 / 1000.0
}

#[tokio::test]
async fn npm_is_logged_in_and_installs_through_five_repositories_with_and_without_npmjs() {
    let upstream = Upstream::start().await;
    let weir = start(Some(&upstream)).await;
    let (Some(npm), Some(aws), Some(cli)) = (Client::npm11(), AwsSession::start(&weir), weir.aws_cli())
    else {
        return;
    };
    chain_of_five(&aws).await;
    let project = fixture_project(&upstream, &npm).await;
    upstream.reset_calls();

    let cli = cli.env("HOME", &npm.home().display().to_string()).with_program(npm.program());
    cli.run(&["codeartifact", "login", "--tool", "npm", "--domain", "orchard", "--repository", "main"])
        .await
        .assert_ok()
        .assert_says("Successfully configured npm to use AWS CodeArtifact repository");
    let npmrc = fs_err::read_to_string(npm.home().join(".npmrc")).expect("login wrote it");
    let endpoint = weir.endpoint("orchard", "main", "npm").await;
    assert!(npmrc.contains(&format!("registry={endpoint}")), "{npmrc}");

    project.write(&npm, &project.lock());
    npm.run(&["ci", "--no-audit"]).await.assert_ok();
    for (place, version) in project.installed().iter().filter(|(place, _)| !place.ends_with("other-sky")) {
        let name = place.strip_prefix("node_modules/").expect("below the project");
        assert_eq!(npm.installed(name).as_deref(), Some(version.as_str()), "{place}");
    }

    // What was fetched is held by the repository asked and by the one with the connection, not between.
    let held = aws.ok("list-packages --domain orchard --repository main --format npm").await;
    let held = names(&held["packages"], "package");
    assert!(held.len() > 50, "{held:?}");
    let stored = aws.ok("list-packages --domain orchard --repository npm-store").await;
    assert_eq!(names(&stored["packages"], "package"), held);
    for between in ["team", "shared", "company"] {
        let none = aws.ok(&format!("list-packages --domain orchard --repository {between}")).await;
        assert_eq!(none["packages"], json!([]), "{between}");
    }
    let scoped = aws
        .ok("list-packages --domain orchard --repository main --format npm --namespace orchard --package-prefix p")
        .await;
    assert_eq!(
        scoped["packages"],
        json!([{ "format": "npm", "namespace": "orchard", "package": "press",
                 "originConfiguration": { "restrictions": { "publish": "BLOCK", "upstream": "ALLOW" } } }])
    );

    upstream.stop().await;
    npm.forget();
    npm.run(&["ci", "--no-audit"]).await.assert_ok();
    assert_eq!(npm.installed("apple-pie").as_deref(), Some("2.1.0"));
}

#[tokio::test]
async fn a_fetched_version_is_described() {
    let upstream = Upstream::start().await;
    let package = NpmPackage::new("press", "1.4.2")
        .scope("orchard")
        .dependency("crust", "^2.0.0")
        .dependency("@forge/bolt", "~5.0.0")
        .dev_dependency("shears", "1")
        .peer_dependency("juice", ">=1")
        .optional_dependency("hail-net", "*")
        .field("readme", json!("# Press\n\nIt presses."))
        .field("homepage", json!("https://press.example.test/"))
        .published("2024-05-06T07:08:09.000Z");
    upstream.publish(&package);
    upstream.publish(&NpmPackage::new("press", "1.5.0-rc.1").scope("orchard").tag("next"));
    let weir = start(Some(&upstream)).await;
    let Some(aws) = AwsSession::start(&weir) else { return };
    let token = weir.token("local").await;
    let endpoint = weir.endpoint("local", "main", "npm").await;
    let tarball = package.tarball();

    let of = "--domain local --repository main --format npm --namespace orchard --package press";
    let one = format!("{of} --package-version 1.4.2");
    // The index, HEAD and the API retain nothing: there is no such package yet.
    weir.get(&format!("{endpoint}@orchard%2fpress"), &token).await.assert_status(200);
    let absent = aws.fails(&format!("list-package-versions {of}"), "ResourceNotFoundException").await;
    assert!(absent.contains("Package = PackageCoordinate{packageType=npm, "), "{absent}");
    assert!(absent.contains("packageName=press},"), "{absent}");
    weir.get(&format!("{endpoint}{}", package.tarball_path()), &token).await.assert_status(200);

    let versions = aws.ok(&format!("list-package-versions {of}")).await;
    assert_eq!(versions["defaultDisplayVersion"], "1.4.2");
    assert_eq!((&versions["format"], &versions["namespace"]), (&json!("npm"), &json!("orchard")));
    assert_eq!(names(&versions["versions"], "version"), ["1.4.2"]);
    let summary = &versions["versions"][0];
    assert_eq!(summary["status"], "Published");
    assert_eq!(
        summary["origin"],
        json!({ "domainEntryPoint": { "externalConnectionName": "public:npmjs" }, "originType": "EXTERNAL" })
    );

    let described = aws.ok(&format!("describe-package-version {one}")).await;
    let version = &described["packageVersion"];
    assert_eq!(version["displayName"], "@orchard/press");
    assert_eq!((&version["packageName"], &version["namespace"]), (&json!("press"), &json!("orchard")));
    assert_eq!(version["summary"], "The package @orchard/press.");
    assert_eq!(version["homePage"], "https://press.example.test/");
    assert_eq!(version["licenses"][0]["name"], "MIT");
    assert_eq!(version["revision"], summary["revision"]);

    let assets = aws.ok(&format!("list-package-version-assets {one}")).await;
    assert_eq!(assets["versionRevision"], summary["revision"]);
    let asset = &assets["assets"][0];
    assert_eq!((&asset["name"], &asset["size"]), (&json!("package.tgz"), &json!(tarball.len())));
    let digests = asset["hashes"].as_object().expect("a map");
    assert_eq!(digests.keys().collect::<Vec<_>>(), ["MD5", "SHA-1", "SHA-256", "SHA-512"]);
    assert_eq!(digests["SHA-256"], json!(sha256(&tarball)));

    let dependencies = aws.ok(&format!("list-package-version-dependencies {one}")).await;
    let mut list: Vec<Value> = dependencies["dependencies"].as_array().expect("a list").clone();
    list.sort_by_key(|entry| entry["package"].to_string());
    assert_eq!(
        json!(list),
        json!([
            { "namespace": "forge", "package": "bolt", "dependencyType": "regular", "versionRequirement": "~5.0.0" },
            { "package": "crust", "dependencyType": "regular", "versionRequirement": "^2.0.0" },
            { "package": "hail-net", "dependencyType": "optional", "versionRequirement": "*" },
            { "package": "juice", "dependencyType": "peer", "versionRequirement": ">=1" },
            { "package": "shears", "dependencyType": "dev", "versionRequirement": "1" },
        ])
    );

    let readme = aws.ok(&format!("get-package-version-readme {one}")).await;
    assert_eq!(readme["readme"], "# Press\n\nIt presses.");
    assert_eq!(readme["versionRevision"], summary["revision"]);

    let file = aws.folder().join("asset.tgz");
    let got =
        aws.ok(&format!("get-package-version-asset {one} --asset package.tgz {}", file.display())).await;
    assert_eq!(got["assetName"], "package.tgz");
    assert_eq!(got["packageVersion"], "1.4.2");
    assert_eq!(got["packageVersionRevision"], summary["revision"]);
    assert_eq!(fs_err::read(file).expect("the CLI wrote it"), tarball);

    for command in [
        "describe-package-version",
        "list-package-version-assets",
        "list-package-version-dependencies",
        "get-package-version-readme",
    ] {
        aws.fails(&format!("{command} {of} --package-version 9.9.9"), "ResourceNotFoundException").await;
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(bytes))
}

#[tokio::test]
async fn tags_are_kept_with_domains_and_repositories() {
    let weir = start(None).await;
    let Some(aws) = AwsSession::start(&weir) else { return };
    aws.ok("create-repository --domain local --repository team --tags key=cost,value=7").await;
    for arn in [
        format!("arn:aws:codeartifact:us-east-1:{ACCOUNT}:domain/local"),
        format!("arn:aws:codeartifact:us-east-1:{ACCOUNT}:repository/local/team"),
    ] {
        let of = format!("--resource-arn {arn}");
        aws.ok(&format!("tag-resource {of} --tags key=env,value=prod key=empty,value=")).await;
        aws.ok(&format!("tag-resource {of} --tags key=env,value=test")).await;
        aws.ok(&format!("untag-resource {of} --tag-keys empty absent cost")).await;
        let tags = aws.ok(&format!("list-tags-for-resource {of}")).await;
        assert_eq!(tags["tags"], json!([{ "key": "env", "value": "test" }]));
        let many: Vec<String> = (0..50).map(|index| format!("key=k{index},value=v")).collect();
        let text = aws
            .fails(&format!("tag-resource {of} --tags {}", many.join(" ")), "ServiceQuotaExceededException")
            .await;
        assert!(text.contains("at most 50 tags"), "{text}");
        aws.fails(&format!("tag-resource {of} --tags key=aws:x,value=v"), "ValidationException").await;
    }
    let absent = format!("--resource-arn arn:aws:codeartifact:us-east-1:{ACCOUNT}:repository/local/absent");
    for command in
        ["list-tags-for-resource", "tag-resource --tags key=a,value=b", "untag-resource --tag-keys a"]
    {
        aws.fails(&format!("{command} {absent}"), "ResourceNotFoundException").await;
        aws.fails(&format!("{command} --resource-arn arn:aws:s3:::bucket"), "ValidationException").await;
    }
}

#[tokio::test]
async fn what_exists_or_would_be_too_much_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let config = folder.path().join("weir.toml");
    let table = "[external-connections.\"acme:npm\"]\nurl = \"http://127.0.0.1:9/\"\nformat = \"npm\"\n";
    fs_err::write(&config, table).expect("the folder is ours");
    let builder = Weir::builder(env!("CARGO_BIN_EXE_weir")).npmjs("http://127.0.0.1:9/");
    let weir = builder.flag("--config", &config.display().to_string()).start().await;
    let Some(aws) = AwsSession::start(&weir) else { return };
    let text = aws.fails("create-domain --domain local", "ConflictException").await;
    assert!(text.contains("'local'"), "{text}");
    let conflict = weir.api("POST", "/v1/domain?domain=local", "{}").await;
    conflict.assert_status(409);
    assert_eq!(
        (&conflict.json()["resourceId"], &conflict.json()["resourceType"]),
        (&json!("local"), &json!("domain"))
    );
    aws.fails("create-repository --domain local --repository main", "ConflictException").await;
    let conflict = weir.api("POST", "/v1/repository?domain=local&repository=main", "{}").await;
    conflict.assert_status(409);
    assert_eq!(conflict.json()["resourceType"], "repository");

    // An account has at most ten domains, and `local` is one of them.
    for index in 2..=10 {
        aws.ok(&format!("create-domain --domain domain-{index}")).await;
    }
    aws.fails("create-domain --domain domain-11", "ServiceQuotaExceededException").await;
    weir.api("POST", "/v1/domain?domain=domain-11", "{}").await.assert_status(402);

    let create = "create-repository --domain local --repository";
    let mut upstreams = Vec::new();
    for index in 1..=11 {
        aws.ok(&format!("{create} up{index}")).await;
        upstreams.push(format!("repositoryName=up{index}"));
    }
    aws.ok(&format!("{create} ten --upstreams {}", upstreams[..10].join(" "))).await;
    let eleven = format!("{create} eleven --upstreams {}", upstreams.join(" "));
    aws.fails(&eleven, "ServiceQuotaExceededException").await;
    let update = "update-repository --domain local --repository ten --upstreams";
    aws.fails(&format!("{update} {}", upstreams.join(" ")), "ServiceQuotaExceededException").await;

    let circle = "update-repository --domain local --repository up1 --upstreams repositoryName=ten";
    let text = aws.fails(circle, "ValidationException").await;
    assert!(text.contains("up1 -> ten -> up1"), "{text}");
    let own = "update-repository --domain local --repository up1 --upstreams repositoryName=up1";
    aws.fails(own, "ValidationException").await;
    aws.fails(&format!("{update} repositoryName=up1 repositoryName=up1"), "ValidationException").await;
    aws.fails(&format!("{update} repositoryName=absent"), "ResourceNotFoundException").await;

    let connect = "associate-external-connection --domain local --repository up1 --external-connection";
    aws.ok(&format!("{connect} public:npmjs")).await;
    aws.fails(&format!("{connect} public:npmjs"), "ConflictException").await;
    aws.fails(&format!("{connect} acme:npm"), "ServiceQuotaExceededException").await;
    let unknown = format!("{} public:conda", connect.replace("up1", "up2"));
    aws.fails(&unknown, "ValidationException").await;
    let other = "disassociate-external-connection --domain local --repository up2 --external-connection";
    aws.fails(&format!("{other} public:npmjs"), "ResourceNotFoundException").await;
}

#[tokio::test]
async fn what_is_not_there_is_a_404_that_says_what() {
    let weir = start(None).await;
    let Some(aws) = AwsSession::start(&weir) else { return };
    let domain = format!("Domain not found. Domain 'absent' owned by account '{ACCOUNT}' does not exist");
    for command in [
        "describe-domain --domain absent",
        "list-repositories-in-domain --domain absent",
        "create-repository --domain absent --repository main",
        "describe-repository --domain absent --repository main",
        "list-packages --domain absent --repository main",
    ] {
        let text = aws.fails(command, "ResourceNotFoundException").await;
        assert!(text.contains(&domain), "{command}: {text}");
    }
    for command in ["describe-repository", "delete-repository", "update-repository", "list-packages"] {
        let command = format!("{command} --domain local --repository absent");
        let text = aws.fails(&command, "ResourceNotFoundException").await;
        assert!(text.contains("'absent'"), "{command}: {text}");
    }
    let answer = weir.api("GET", "/v1/repository?domain=local&repository=absent", "").await;
    answer.assert_status(404);
    assert_eq!(answer.header("x-amzn-errortype"), "ResourceNotFoundException");
    assert!(!answer.header("x-amzn-requestid").is_empty());
    assert_eq!(
        (&answer.json()["resourceId"], &answer.json()["resourceType"]),
        (&json!("absent"), &json!("repository"))
    );
    // A foreign account's domain of the same name is another domain.
    let foreign = "describe-domain --domain local --domain-owner 111111111111";
    let text = aws.fails(foreign, "ResourceNotFoundException").await;
    assert!(text.contains("owned by account '111111111111' does not exist"), "{text}");
}

#[tokio::test]
async fn names_are_those_of_the_service_model() {
    let weir = start(None).await;
    let Some(aws) = AwsSession::start(&weir) else { return };
    let (a50, a51) = ("a".repeat(50), "a".repeat(51));
    for good in ["ab", "a-1", &a50] {
        aws.ok(&format!("create-domain --domain {good}")).await;
    }
    for bad in ["a", "A1", "1a", "a-", "-a", "a_b", "a.b", "ä1", &a51] {
        let text = aws.fails(&format!("create-domain --domain={bad}"), "ValidationException").await;
        assert!(text.contains("domain:"), "{bad}: {text}");
    }
    let (r100, r101) = ("R".repeat(100), "R".repeat(101));
    for good in ["Ab", "0.", "a_b.c-d", &r100] {
        aws.ok(&format!("create-repository --domain ab --repository {good}")).await;
    }
    for bad in ["a", ".a", "-a", "_a", "a/b", "'a b'", "ä1", &r101] {
        aws.fails(&format!("create-repository --domain ab --repository={bad}"), "ValidationException").await;
    }
    for bad in ["12345678901", "1234567890123", "12345678901x"] {
        aws.fails(&format!("describe-domain --domain ab --domain-owner {bad}"), "ValidationException").await;
    }
    let described = "create-repository --domain ab --repository described --description";
    aws.ok(&format!("{described} {}", "d".repeat(1000))).await;
    let update = "update-repository --domain ab --repository described --description";
    aws.fails(&format!("{update} {}", "d".repeat(1001)), "ValidationException").await;
    let of = "describe-package-version --domain ab --repository Ab";
    for bad in [
        "--format npm --package a/b --package-version 1",
        "--format npm --package 'a b' --package-version 1",
        "--format npm --package a#b --package-version 1",
        "--format npm --namespace a/b --package a --package-version 1",
        "--format npm --package a --package-version 1/2",
        "--format conda --package a --package-version 1",
        "--format generic --package a --package-version 1",
    ] {
        aws.fails(&format!("{of} {bad}"), "ValidationException").await;
    }
    let missing = weir.api("GET", "/v1/domain", "").await;
    missing.assert_status(400);
    assert_eq!(missing.json()["reason"], "FIELD_VALIDATION_FAILED");
    let garbage = weir.api("POST", "/v1/domain?domain=garbage", "{\"tags\": 1").await;
    garbage.assert_status(400);
    assert_eq!(garbage.json()["reason"], "CANNOT_PARSE");
    aws.fails("create-domain --domain keyed --encryption-key nonsense", "ValidationException").await;
}
