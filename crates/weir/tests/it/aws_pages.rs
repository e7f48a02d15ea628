//! Listings in pages: the documented sizes, `max-results`, tokens, prefixes and filters.

use crate::aws_session::{AwsSession, names};
use serde_json::{Value, json};
use weir_testkit::sign::sign;
use weir_testkit::{Answer, Weir};

async fn start() -> Weir {
    Weir::builder(env!("CARGO_BIN_EXE_weir")).npmjs("http://127.0.0.1:9/").start().await
}

/// Follows the tokens of a listing of which every page has `size` items; gives all of them.
async fn all(weir: &Weir, method: &str, path: &str, list: &str, field: &str, size: usize) -> Vec<String> {
    let (mut found, mut token) = (Vec::new(), None::<String>);
    loop {
        let next = token.map(|token| format!("&next-token={token}")).unwrap_or_default();
        let answer = weir.api(method, &format!("{path}{next}"), "").await;
        let page = answer.assert_status(200).json();
        let part = names(&page[list], field);
        token = page["nextToken"].as_str().map(str::to_owned);
        let full = part.len() == size || (token.is_none() && part.len() < size);
        assert!(full, "{path}: {} of {size} with {token:?}", part.len());
        found.extend(part);
        if token.is_none() {
            return found;
        }
    }
}

/// PublishPackageVersion of a generic asset.
async fn publish(weir: &Weir, version: &str, asset: &str, unfinished: bool) -> Answer {
    use sha2::Digest as _;
    let key = weir.credentials();
    let url = format!(
        "{}/v1/package/version/publish?domain=local&repository=main&format=generic&namespace=team&package=tool\
         &version={version}&asset={asset}&unfinished={unfinished}",
        weir.url()
    );
    let body = asset.as_bytes();
    let digest = hex::encode(sha2::Sha256::digest(body));
    let mut headers = vec![("x-amz-content-sha256", digest.as_str())];
    let signature = sign("POST", &url, &headers, body, &key);
    headers.extend(signature.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    weir_testkit::http::send("POST", &url, &headers, body.to_vec()).await
}

#[tokio::test]
async fn repositories_come_in_pages_of_fifty_and_by_prefix() {
    let weir = start().await;
    let Some(aws) = AwsSession::start(&weir) else { return };
    aws.ok("create-domain --domain other").await;
    weir.api("POST", "/v1/repository?domain=other&repository=r-00", "").await.assert_status(200);
    for index in 0..60 {
        let path = format!("/v1/repository?domain=local&repository=r-{index:02}");
        weir.api("POST", &path, "").await.assert_status(200);
    }
    let mut expected: Vec<String> = (0..60).map(|index| format!("r-{index:02}")).collect();
    let found = all(
        &weir,
        "POST",
        "/v1/domain/repositories?domain=local&repository-prefix=r-",
        "repositories",
        "name",
        50,
    )
    .await;
    assert_eq!(found, expected);
    let found = all(
        &weir,
        "POST",
        "/v1/domain/repositories?domain=local&repository-prefix=r-&max-results=7",
        "repositories",
        "name",
        7,
    )
    .await;
    assert_eq!(found, expected);
    expected.insert(0, "r-00".to_owned());
    let found = all(&weir, "POST", "/v1/repositories?repository-prefix=r-", "repositories", "name", 50).await;
    assert_eq!(found, expected);

    let paged = aws.ok("list-repositories --repository-prefix r- --page-size 9").await;
    assert_eq!(names(&paged["repositories"], "name"), expected);
    let cut = aws.ok("list-repositories-in-domain --domain local --repository-prefix r- --max-items 5").await;
    assert_eq!(names(&cut["repositories"], "name"), expected[1..6]);
    let rest = aws
        .ok(&format!(
            "list-repositories-in-domain --domain local --repository-prefix r- --starting-token {}",
            cut["NextToken"].as_str().expect("more")
        ))
        .await;
    assert_eq!(names(&rest["repositories"], "name"), expected[6..]);
    let own = "list-repositories-in-domain --domain local --administrator-account";
    assert_eq!(aws.ok(&format!("{own} 111111111111")).await["repositories"], json!([]));
    assert_eq!(
        aws.ok(&format!("{own} 000000000000")).await["repositories"].as_array().map(Vec::len),
        Some(63)
    );

    let two = weir.api("POST", "/v1/domains", "{\"maxResults\":1}").await.json();
    assert_eq!(names(&two["domains"], "name"), ["local"]);
    let token = two["nextToken"].as_str().expect("more");
    let rest = weir.api("POST", "/v1/domains", &json!({ "nextToken": token }).to_string()).await.json();
    assert_eq!(names(&rest["domains"], "name"), ["other"]);
    assert!(rest.get("nextToken").is_none(), "{rest}");
}

#[tokio::test]
async fn packages_come_in_pages_of_a_hundred_and_by_filter() {
    let weir = start().await;
    let Some(aws) = AwsSession::start(&weir) else { return };
    let put = |name: String, namespace: &str, publish: &str| {
        let path = format!("/v1/package?domain=local&repository=main&format=npm{namespace}&package={name}");
        let body = json!({ "restrictions": { "publish": publish, "upstream": "BLOCK" } }).to_string();
        let weir = &weir;
        async move { weir.api("POST", &path, &body).await.assert_status(200).json() }
    };
    for index in 0..105 {
        put(format!("p-{index:03}"), "", "ALLOW").await;
    }
    put("blocked".to_owned(), "&namespace=acme", "BLOCK").await;
    let path = "/v1/packages?domain=local&repository=main";
    assert_eq!(all(&weir, "POST", path, "packages", "package", 100).await.len(), 106);
    let some = all(&weir, "POST", &format!("{path}&max-results=25"), "packages", "package", 25).await;
    assert_eq!(some.len(), 106);
    let list = "list-packages --domain local --repository main";
    for (filter, expected) in [
        ("--package-prefix p-01 --format npm", 10),
        ("--package-prefix p-01", 10),
        ("--publish BLOCK", 1),
        ("--publish ALLOW", 105),
        ("--upstream ALLOW", 0),
        ("--upstream BLOCK --publish BLOCK", 1),
        ("--format npm --namespace ac", 1),
        ("--format npm --namespace x", 0),
        ("--format pypi", 0),
        ("--page-size 10", 106),
    ] {
        let found = aws.ok(&format!("{list} {filter}")).await;
        assert_eq!(found["packages"].as_array().map(Vec::len), Some(expected), "{filter}");
    }
    for refused in ["--namespace acme", "--format conda", "--publish MAYBE"] {
        aws.fails(&format!("{list} {refused}"), "ValidationException").await;
    }
}

#[tokio::test]
async fn versions_come_in_pages_of_fifty_and_assets_of_a_hundred() {
    let weir = start().await;
    let Some(aws) = AwsSession::start(&weir) else { return };
    for index in 0..55 {
        publish(&weir, &format!("1.{index:02}"), "a", index % 2 == 0).await.assert_status(200);
    }
    let of = "domain=local&repository=main&format=generic&namespace=team&package=tool";
    let path = format!("/v1/package/versions?{of}");
    assert_eq!(all(&weir, "POST", &path, "versions", "version", 50).await.len(), 55);
    let path = format!("{path}&max-results=10");
    assert_eq!(all(&weir, "POST", &path, "versions", "version", 10).await.len(), 55);
    let newest =
        all(&weir, "POST", &format!("{path}&sortBy=PUBLISHED_TIME"), "versions", "version", 10).await;
    let expected: Vec<String> = (0..55).rev().map(|index| format!("1.{index:02}")).collect();
    assert_eq!(newest, expected);
    let list = "list-package-versions --domain local --repository main --format generic --namespace team --package tool";
    for (filter, expected) in [
        ("--status Unfinished", 28),
        ("--status Published", 27),
        ("--status Archived", 0),
        ("--origin-type INTERNAL", 55),
        ("--origin-type EXTERNAL", 0),
        ("--origin-type UNKNOWN", 0),
    ] {
        let found = aws.ok(&format!("{list} {filter}")).await;
        assert_eq!(found["versions"].as_array().map(Vec::len), Some(expected), "{filter}");
        assert_eq!(found["defaultDisplayVersion"], "1.53", "the last that was published");
    }
    for refused in ["--status published", "--sort-by NAME", "--origin-type OTHER"] {
        aws.fails(&format!("{list} {refused}"), "ValidationException").await;
    }

    for index in 0..104 {
        publish(&weir, "2.0", &format!("asset-{index:03}"), true).await.assert_status(200);
    }
    let path = format!("/v1/package/version/assets?{of}&version=2.0");
    assert_eq!(all(&weir, "POST", &path, "assets", "name", 100).await.len(), 104);
    assert_eq!(all(&weir, "POST", &format!("{path}&max-results=30"), "assets", "name", 30).await.len(), 104);
}

#[tokio::test]
async fn a_page_has_1_to_1000_items_and_a_token_of_its_own_listing() {
    let weir = start().await;
    publish(&weir, "1", "a", false).await.assert_status(200);
    let of = "domain=local&repository=main&format=generic&namespace=team&package=tool";
    let lists = [
        "/v1/repositories?x=y".to_owned(),
        "/v1/domain/repositories?domain=local".to_owned(),
        "/v1/packages?domain=local&repository=main".to_owned(),
        format!("/v1/package/versions?{of}"),
        format!("/v1/package/version/assets?{of}&version=1"),
    ];
    let refused = |answer: &Answer, what: &str| {
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
        let body: Value = answer.json();
        assert_eq!(answer.header("x-amzn-errortype"), "ValidationException", "{what}");
        assert_eq!(body["reason"], "FIELD_VALIDATION_FAILED", "{what}");
    };
    for list in &lists {
        for good in ["1", "1000"] {
            weir.api("POST", &format!("{list}&max-results={good}"), "").await.assert_status(200);
        }
        for bad in ["0", "1001", "-1", "x", ""] {
            refused(
                &weir.api("POST", &format!("{list}&max-results={bad}"), "").await,
                &format!("{list} {bad}"),
            );
        }
        refused(&weir.api("POST", &format!("{list}&next-token=nonsense"), "").await, list);
    }
    for bad in [json!({ "maxResults": 0 }), json!({ "maxResults": 1001 }), json!({ "nextToken": "nonsense" })]
    {
        refused(&weir.api("POST", "/v1/domains", &bad.to_string()).await, "ListDomains");
    }
}
