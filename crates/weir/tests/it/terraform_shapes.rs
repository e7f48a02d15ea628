//! What Terraform's AWS provider and other tools on the SDKs expect of the answers, by boto3, and the
//! operations that are not built yet.

use weir_testkit::Weir;

const PRELUDE: &str = r#"
import boto3, datetime, json, re
from botocore.exceptions import ClientError

api = boto3.client("codeartifact")

def refused(code, status, call, **named):
    try:
        answer = call(**named)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == status, error.response
        return error.response
    raise AssertionError(f"this should have been a {code}: {answer}")

def same(left, right):
    assert left == right, f"{left!r} is not {right!r}"
"#;

async fn boto3(script: &str) {
    let weir = Weir::builder(env!("CARGO_BIN_EXE_weir")).npmjs("http://127.0.0.1:9/").start().await;
    let Some(python) = weir.python() else { return };
    python.run(&format!("{PRELUDE}{script}"), &[]).await.assert_ok();
}

#[tokio::test]
async fn a_domain_has_what_terraform_reads() {
    boto3(
        r#"
same(boto3.client("sts").get_caller_identity()["Account"], "000000000000")
made = api.create_domain(domain="tf-domain", tags=[dict(key="a", value="1")])["domain"]
domain = api.describe_domain(domain="tf-domain", domainOwner="000000000000")["domain"]
same(domain, made)
same(domain["arn"], "arn:aws:codeartifact:us-east-1:000000000000:domain/tf-domain")
same((domain["owner"], domain["name"], domain["status"]), ("000000000000", "tf-domain", "Active"))
same((domain["assetSizeBytes"], domain["repositoryCount"]), (0, 0))
assert re.fullmatch(r"arn:aws:kms:us-east-1:000000000000:key/[0-9a-f-]{36}", domain["encryptionKey"]), domain
assert domain["s3BucketArn"].startswith("arn:aws:s3:::"), domain
assert isinstance(domain["createdTime"], datetime.datetime), domain
assert abs((datetime.datetime.now(datetime.timezone.utc) - domain["createdTime"]).total_seconds()) < 60
same(api.list_tags_for_resource(resourceArn=domain["arn"])["tags"], [dict(key="a", value="1")])
api.tag_resource(resourceArn=domain["arn"], tags=[dict(key="a", value="2"), dict(key="b", value="")])
api.untag_resource(resourceArn=domain["arn"], tagKeys=["a"])
same(api.list_tags_for_resource(resourceArn=domain["arn"])["tags"], [dict(key="b", value="")])

key = "arn:aws:kms:us-east-1:000000000000:key/0b7a1e6e-1234-4abc-8def-0123456789ab"
same(api.create_domain(domain="keyed", encryptionKey=key)["domain"]["encryptionKey"], key)
api.delete_domain(domain="tf-domain")
refused("ResourceNotFoundException", 404, api.describe_domain, domain="tf-domain")
# Tags go with what they belong to.
api.create_domain(domain="tf-domain")
same(api.list_tags_for_resource(resourceArn=domain["arn"])["tags"], [])
"#,
    )
    .await;
}

#[tokio::test]
async fn a_repository_has_what_terraform_reads() {
    boto3(
        r#"
for name in ("first", "second"):
    api.create_repository(domain="local", repository=name)
made = api.create_repository(domain="local", repository="app", description="what it is",
    upstreams=[dict(repositoryName="second"), dict(repositoryName="first")], tags=[dict(key="k", value="v")])["repository"]
found = api.describe_repository(domain="local", domainOwner="000000000000", repository="app")["repository"]
same(found, made)
same(found["arn"], "arn:aws:codeartifact:us-east-1:000000000000:repository/local/app")
same([upstream["repositoryName"] for upstream in found["upstreams"]], ["second", "first"])
same((found["administratorAccount"], found["domainOwner"], found["domainName"]), ("000000000000", "000000000000", "local"))
same((found["description"], found["externalConnections"]), ("what it is", []))
same(api.list_tags_for_resource(resourceArn=found["arn"])["tags"], [dict(key="k", value="v")])

# The provider sends no list at all when every upstream is removed, and a description that it keeps.
updated = api.update_repository(domain="local", repository="app", description="other")["repository"]
same(updated["description"], "other")
same([u["repositoryName"] for u in updated["upstreams"]], ["second", "first"])
same(api.update_repository(domain="local", repository="app", upstreams=[])["repository"]["upstreams"], [])

connected = api.associate_external_connection(domain="local", repository="first", externalConnection="public:npmjs")
same(connected["repository"]["externalConnections"],
     [dict(externalConnectionName="public:npmjs", packageFormat="npm", status="AVAILABLE")])
gone = api.disassociate_external_connection(domain="local", repository="first", externalConnection="public:npmjs")
same(gone["repository"]["externalConnections"], [])

listed = api.list_repositories_in_domain(domain="local", repositoryPrefix="app")["repositories"][0]
same({key: listed[key] for key in ("name", "administratorAccount", "domainName", "domainOwner", "arn", "description")},
     dict(name="app", administratorAccount="000000000000", domainName="local", domainOwner="000000000000",
          arn=found["arn"], description="other"))
assert isinstance(listed["createdTime"], datetime.datetime)
token = api.get_authorization_token(domain="local", durationSeconds=900)
assert isinstance(token["expiration"], datetime.datetime)
api.delete_repository(domain="local", repository="app")
error = refused("ResourceNotFoundException", 404, api.describe_repository, domain="local", repository="app")
same((error["resourceId"], error["resourceType"]), ("app", "repository"))
"#,
    )
    .await;
}

#[tokio::test]
async fn an_origin_configuration_may_come_before_its_package() {
    boto3(
        r#"
package = dict(domain="local", repository="main", format="npm", namespace="acme", package="not-yet")
open_both = dict(publish="ALLOW", upstream="ALLOW")
put = api.put_package_origin_configuration(**package, restrictions=dict(publish="ALLOW", upstream="BLOCK"))
same(put["originConfiguration"]["restrictions"], dict(publish="ALLOW", upstream="BLOCK"))
found = api.describe_package(**package)["package"]
same(found, dict(format="npm", namespace="acme", name="not-yet",
                 originConfiguration=dict(restrictions=dict(publish="ALLOW", upstream="BLOCK"))))
# What the provider's delete does, and what its destroy check accepts.
api.put_package_origin_configuration(**package, restrictions=open_both)
same(api.describe_package(**package)["package"]["originConfiguration"]["restrictions"], open_both)
same(api.list_package_versions(**package).get("versions"), [])
api.delete_package(**package)
error = refused("ResourceNotFoundException", 404, api.describe_package, **package)
same(error["resourceType"], "package")
"#,
    )
    .await;
}

#[tokio::test]
async fn what_is_not_built_yet_says_so_by_its_name() {
    boto3(
        r#"
domain = dict(domain="local")
group = dict(domain="local", packageGroup="/npm/*")
repository = dict(domain="local", repository="main")
calls = [
    ("create_package_group", group), ("update_package_group", group), ("describe_package_group", group),
    ("delete_package_group", group), ("list_package_groups", domain), ("list_sub_package_groups", group),
    ("list_associated_packages", group), ("update_package_group_origin_configuration", group),
    ("get_associated_package_group", dict(domain="local", format="npm", package="x")),
    ("list_allowed_repositories_for_group", dict(group, originRestrictionType="PUBLISH")),
    ("get_domain_permissions_policy", domain), ("delete_domain_permissions_policy", domain),
    ("put_domain_permissions_policy", dict(domain, policyDocument="{}")),
    ("get_repository_permissions_policy", repository), ("delete_repository_permissions_policy", repository),
    ("put_repository_permissions_policy", dict(repository, policyDocument="{}")),
]
same(len(calls), 16)
for name, arguments in calls:
    error = refused("UnknownOperationException", 404, getattr(api, name), **arguments)
    operation = api.meta.method_to_api_mapping[name]
    assert error["Error"]["Message"].startswith(operation), error
same(len(api.meta.method_to_api_mapping), 48)
"#,
    )
    .await;
}

#[tokio::test]
async fn an_operation_that_nobody_knows_is_an_unknown_one() {
    let weir = Weir::builder(env!("CARGO_BIN_EXE_weir")).npmjs("http://127.0.0.1:9/").start().await;
    for (method, path) in
        [("GET", "/v1/nothing"), ("PATCH", "/v1/domain"), ("POST", "/v1/package/version/assets/more")]
    {
        let answer = weir.api(method, path, "").await;
        answer.assert_status(404);
        assert_eq!(answer.header("x-amzn-errortype"), "UnknownOperationException", "{method} {path}");
    }
}
