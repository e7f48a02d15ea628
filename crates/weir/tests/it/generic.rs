//! Generic packages: published, read, copied and disposed of by boto3 and the AWS CLI.

use crate::aws_session::{AwsSession, names};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use weir_testkit::sign::sign;
use weir_testkit::{Answer, Weir};

/// What every script begins with: a client, the coordinate, and the call that all of them make.
const PRELUDE: &str = r#"
import boto3, hashlib, io, json, sys
from botocore.exceptions import ClientError

api = boto3.client("codeartifact")
tool = dict(domain="local", repository="main", format="generic", namespace="team", package="tool")

def sha(data):
    return hashlib.sha256(data).hexdigest()

def publish(version, asset, data, digest=None, **more):
    return api.publish_package_version(**tool, packageVersion=version, assetName=asset, assetContent=data,
                                       assetSHA256=digest or sha(data), **more)

def refused(code, call, *arguments, **named):
    try:
        answer = call(*arguments, **named)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        return error.response
    raise AssertionError(f"this should have been a {code}: {answer}")

def same(left, right):
    assert left == right, f"{left!r} is not {right!r}"
"#;

async fn start() -> Weir {
    Weir::builder(env!("CARGO_BIN_EXE_weir")).npmjs("http://127.0.0.1:9/").start().await
}

async fn boto3(weir: &Weir, script: &str) {
    let Some(python) = weir.python() else { return };
    python.run(&format!("{PRELUDE}{script}"), &[]).await.assert_ok();
}

/// A signed PublishPackageVersion whose query says how it ends, such as `&unfinished=true`.
async fn publish_raw(weir: &Weir, version: &str, more: &str, body: &[u8]) -> Answer {
    let url = format!(
        "{}/v1/package/version/publish?domain=local&repository=main&format=generic&namespace=team&package=tool\
         &version={version}&asset=a{more}",
        weir.url()
    );
    let digest = hex::encode(Sha256::digest(body));
    let key = weir.credentials();
    let mut headers = vec![("x-amz-content-sha256", digest.as_str())];
    let signature = sign("POST", &url, &headers, body, &key);
    headers.extend(signature.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    weir_testkit::http::send("POST", &url, &headers, body.to_vec()).await
}

#[tokio::test]
async fn a_version_grows_while_it_is_unfinished_and_is_closed_by_the_last_asset() {
    let weir = start().await;
    let script = r#"
first = publish("1.0", "a.bin", b"first", unfinished=True)
same(first["status"], "Unfinished")
same({key: first[key] for key in ("format", "namespace", "package", "version")},
     dict(format="generic", namespace="team", package="tool", version="1.0"))
same(first["asset"], dict(name="a.bin", size=5, hashes={
    "MD5": hashlib.md5(b"first").hexdigest(), "SHA-1": hashlib.sha1(b"first").hexdigest(),
    "SHA-256": sha(b"first"), "SHA-512": hashlib.sha512(b"first").hexdigest()}))

again = publish("1.0", "a.bin", b"first", unfinished=True)
same((again["versionRevision"], again["status"]), (first["versionRevision"], "Unfinished"))
refused("ConflictException", publish, "1.0", "a.bin", b"other", unfinished=True)
second = publish("1.0", "b.bin", b"second", unfinished=True)
assert second["versionRevision"] != first["versionRevision"]
last = publish("1.0", "c.bin", b"third")
same(last["status"], "Published")
same(publish("1.0", "c.bin", b"third")["versionRevision"], last["versionRevision"])
same(publish("1.0", "c.bin", b"third", unfinished=True)["status"], "Published")
refused("ConflictException", publish, "1.0", "d.bin", b"too late")
refused("ConflictException", publish, "1.0", "d.bin", b"too late", unfinished=True)

assets = api.list_package_version_assets(**tool, packageVersion="1.0")
same([asset["name"] for asset in assets["assets"]], ["a.bin", "b.bin", "c.bin"])
same(assets["versionRevision"], last["versionRevision"])
described = api.describe_package_version(**tool, packageVersion="1.0")["packageVersion"]
same((described["status"], described["origin"]["originType"]), ("Published", "INTERNAL"))
same(described["origin"]["domainEntryPoint"], dict(repositoryName="main"))
refused("ResourceNotFoundException", api.get_package_version_readme, **tool, packageVersion="1.0")
same(api.list_package_version_dependencies(**tool, packageVersion="1.0")["dependencies"], [])

# Finished by a status as well, or by the same asset without the flag.
publish("1.1", "a.bin", b"x", unfinished=True)
done = api.update_package_versions_status(**tool, versions=["1.1"], targetStatus="Published")
same(done["successfulVersions"]["1.1"]["status"], "Published")
publish("1.2", "a.bin", b"x", unfinished=True)
same(publish("1.2", "a.bin", b"x")["status"], "Published")
same(api.list_package_versions(**tool)["defaultDisplayVersion"], "1.2")
record = api.describe_package(**tool)["package"]
same(record["originConfiguration"]["restrictions"], dict(publish="ALLOW", upstream="BLOCK"))
"#;
    boto3(&weir, script).await;
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_nothing_is_stored() {
    let weir = start().await;
    let script = r##"
wrong = refused("ValidationException", publish, "1.0", "a.bin", b"bytes", digest=sha(b"others"))
same(wrong["ResponseMetadata"]["HTTPStatusCode"], 400)
refused("ResourceNotFoundException", api.list_package_versions, **tool)
for name in ["a/b", "a\\b", "a:b", "a*", "a?", 'a"', "<", ">", "|", "#", "%", "$", "=", "'", ".", "..", " a", "a ",
             "a  b", "a\tb", "x" * 256]:
    refused("ValidationException", publish, "1.0", name, b"x")
good = ["~!@^&()-_+[]{};,.`", "report v1 (final).tar.gz", "Ünïcode-日本", "...", "x" * 255]
for name in good:
    publish("1.0", name, b"x", unfinished=True)
# What is not finished is not downloaded.
refused("ConflictException", api.get_package_version_asset, **tool, packageVersion="1.0", asset=good[0])
api.update_package_versions_status(**tool, versions=["1.0"], targetStatus="Published")
for name in good:
    got = api.get_package_version_asset(**tool, packageVersion="1.0", asset=name)
    same(got["asset"].read(), b"x")
for version in ["1/2", "a#b", "a b", "x" * 256]:
    refused("ValidationException", publish, version, "a", b"x")
for change in [dict(namespace=None), dict(format="npm", namespace=None), dict(namespace="a/b"), dict(package="a b")]:
    other = {key: value for key, value in {**tool, **change}.items() if value is not None}
    refused("ValidationException", api.publish_package_version, **other, packageVersion="1", assetName="a",
            assetContent=b"x", assetSHA256=sha(b"x"))
refused("ResourceNotFoundException", api.publish_package_version, **{**tool, "repository": "absent"},
        packageVersion="1", assetName="a", assetContent=b"x", assetSHA256=sha(b"x"))
api.put_package_origin_configuration(**{**tool, "package": "closed"}, restrictions=dict(publish="BLOCK", upstream="ALLOW"))
refused("AccessDeniedException", api.publish_package_version, **{**tool, "package": "closed"},
        packageVersion="1", assetName="a", assetContent=b"x", assetSHA256=sha(b"x"))
"##;
    // The SDK's own checks are off, so that the server's are seen.
    let unchecked =
        "\napi = boto3.client('codeartifact', config=boto3.session.Config(parameter_validation=False))\n";
    boto3(&weir, &format!("{unchecked}{script}")).await;
    let spool: Vec<_> = walk(&weir.data().join("blobs"));
    let strays = spool.iter().filter(|path| path.contains("spool")).count();
    assert_eq!(strays, 0, "{spool:?}");
}

/// Every file below a folder.
fn walk(folder: &std::path::Path) -> Vec<String> {
    let Ok(entries) = fs_err::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    paths
        .flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path.display().to_string()] })
        .collect()
}

#[tokio::test]
async fn the_flag_is_taken_as_sdks_send_it_and_as_the_reference_writes_it() {
    let weir = start().await;
    for (version, flag, status) in [
        ("1", "", "Published"),
        ("2", "&unfinished=false", "Published"),
        ("3", "&unfinished=true", "Unfinished"),
        ("4", "&unfinished=unfinished", "Unfinished"),
    ] {
        let answer = publish_raw(&weir, version, flag, b"x").await;
        assert_eq!(answer.assert_status(200).json()["status"], status, "{flag}");
    }
    publish_raw(&weir, "5", "&unfinished=maybe", b"x").await.assert_status(400);
}

#[tokio::test]
async fn sixty_megabytes_stream_in_and_out() {
    let weir = start().await;
    let script = r#"
import os
block = os.urandom(1 << 20)
with open("big", "wb") as file:
    for _ in range(60):
        file.write(block)
with open("big", "rb") as file:
    digest = hashlib.file_digest(file, "sha256").hexdigest()
with open("big", "rb") as file:
    done = api.publish_package_version(**tool, packageVersion="1.0", assetName="big", assetContent=file, assetSHA256=digest)
same((done["asset"]["size"], done["asset"]["hashes"]["SHA-256"]), (60 << 20, digest))
got = api.get_package_version_asset(**tool, packageVersion="1.0", asset="big")
same((got["assetName"], got["packageVersion"], got["packageVersionRevision"]), ("big", "1.0", done["versionRevision"]))
back = hashlib.sha256()
for chunk in got["asset"].iter_chunks(1 << 20):
    back.update(chunk)
same(back.hexdigest(), digest)
"#;
    boto3(&weir, script).await;
    let status = fs_err::read_to_string(format!("/proc/{}/status", weir.process_id())).unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
    assert!(peak.is_none_or(|kilobytes: u64| kilobytes < 150_000), "{peak:?} kB at its peak");
}

#[tokio::test]
async fn versions_are_read_copied_and_disposed_of() {
    let weir = start().await;
    let script = r#"
api.create_repository(domain="local", repository="copies")
api.create_repository(domain="local", repository="below", upstreams=[dict(repositoryName="main")])
publish("1.0", "a.bin", b"first", unfinished=True)
one = publish("1.0", "b.bin", b"second")
copies = {**tool, "repository": "copies"}

got = api.get_package_version_asset(**tool, packageVersion="1.0", asset="b.bin", packageVersionRevision=one["versionRevision"])
same(got["asset"].read(), b"second")
headers = got["ResponseMetadata"]["HTTPHeaders"]
same((headers["x-assetname"], headers["x-packageversion"]), ("b.bin", "1.0"))
same((headers["x-packageversionrevision"], headers["content-length"]), (one["versionRevision"], "6"))
refused("ResourceNotFoundException", api.get_package_version_asset, **tool, packageVersion="1.0", asset="absent")
refused("ResourceNotFoundException", api.get_package_version_asset, **tool, packageVersion="9", asset="a.bin")
refused("ResourceNotFoundException", api.get_package_version_asset, **{**tool, "repository": "below"}, packageVersion="1.0", asset="a.bin")
refused("ConflictException", api.get_package_version_asset, **tool, packageVersion="1.0", asset="a.bin", packageVersionRevision="OTHER")

copy = dict(domain="local", sourceRepository="main", destinationRepository="copies", format="generic", namespace="team", package="tool")
done = api.copy_package_versions(**copy, versions=["1.0"])
same(done["successfulVersions"]["1.0"], dict(revision=one["versionRevision"], status="Published"))
same([asset["name"] for asset in api.list_package_version_assets(**copies, packageVersion="1.0")["assets"]], ["a.bin", "b.bin"])
same(api.describe_package(**copies)["package"]["originConfiguration"]["restrictions"], dict(publish="ALLOW", upstream="BLOCK"))
publish("2.0", "a.bin", b"open", unfinished=True)
same(api.copy_package_versions(**copy, versions=["2.0"])["failedVersions"]["2.0"]["errorCode"], "NOT_ALLOWED")

gone = api.dispose_package_versions(**tool, versions=["1.0"], expectedStatus="Published")
same(gone["successfulVersions"]["1.0"]["status"], "Disposed")
refused("ConflictException", api.get_package_version_asset, **tool, packageVersion="1.0", asset="a.bin")
same(api.get_package_version_asset(**copies, packageVersion="1.0", asset="a.bin")["asset"].read(), b"first")
refused("ConflictException", publish, "1.0", "a.bin", b"first")
same(api.delete_package_versions(**tool, versions=["1.0"])["successfulVersions"]["1.0"]["status"], "Deleted")
same(publish("1.0", "z.bin", b"anew")["status"], "Published")
same(api.delete_package(**tool)["deletedPackage"]["package"], "tool")
refused("ResourceNotFoundException", api.describe_package, **tool)
"#;
    boto3(&weir, script).await;
}

#[tokio::test]
async fn the_aws_cli_does_the_same() {
    let weir = start().await;
    let Some(aws) = AwsSession::start(&weir) else { return };
    let body = b"built by the CLI";
    fs_err::write(aws.folder().join("tool.zip"), body).expect("the folder is ours");
    let of = "--domain local --repository main --format generic --namespace team --package tool";
    let digest = hex::encode(Sha256::digest(body));
    let publish = format!(
        "publish-package-version {of} --package-version 1.0 --asset-name 'the tool.zip' --asset-content tool.zip \
         --asset-sha256 {digest}"
    );
    let started = aws.ok(&format!("{publish} --unfinished")).await;
    assert_eq!(started["status"], "Unfinished");
    let listed = aws.ok(&format!("list-package-versions {of} --status Unfinished")).await;
    assert_eq!(names(&listed["versions"], "version"), ["1.0"]);
    assert!(listed["defaultDisplayVersion"].is_null(), "{listed}");
    let done = aws.ok(&publish).await;
    assert_eq!((&done["status"], &done["asset"]["size"]), (&json!("Published"), &json!(body.len())));
    let got = aws
        .ok(&format!("get-package-version-asset {of} --package-version 1.0 --asset 'the tool.zip' out.zip"))
        .await;
    assert_eq!(got["assetName"], "the tool.zip");
    assert_eq!(fs_err::read(aws.folder().join("out.zip")).expect("the CLI wrote it"), body);
    let packages =
        aws.ok("list-packages --domain local --repository main --format generic --namespace te").await;
    assert_eq!(names(&packages["packages"], "package"), ["tool"]);
    let wrong = publish.replace(&digest, &hex::encode(Sha256::digest(b"other")));
    aws.fails(&wrong.replace("1.0", "2.0"), "ValidationException").await;
    let endpoint = weir.endpoint("local", "main", "generic").await;
    assert!(endpoint.ends_with("/generic/d/local-000000000000/main/"), "{endpoint}");
}
