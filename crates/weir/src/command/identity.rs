//! `weir user` and `weir key`.

use super::output::{Out, cell, table, time};
use crate::cli::{KeyCommand, UserCommand};
use crate::config::Variables;
use anyhow::{Context as _, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// `weir user create|list|delete`
pub(super) async fn user(command: UserCommand, variables: &Variables) -> Result<Out> {
    match command {
        UserCommand::Create { name, policy, role, json, remote } => {
            let body = json!({ "name": name, "kind": if role { "role" } else { "user" }, "policy": policy_of(&policy)? });
            let answer = remote.client(variables)?.call("POST", "/weir/v1/users", &[], Some(&body)).await?;
            let made = || {
                format!(
                    "made {}\nits first access key: weir key create --user {name}\n",
                    cell(&answer["user"], "arn")
                )
            };
            Ok(Out::new(json, || answer.clone(), made))
        }
        UserCommand::List { json, remote } => {
            let answer = remote.client(variables)?.call("GET", "/weir/v1/users", &[], None).await?;
            let rows = rows(&answer["users"], |user| {
                vec![cell(user, "name"), cell(user, "kind"), cell(user, "arn"), time(user, "createdTime")]
            });
            Ok(Out::new(
                json,
                || answer.clone(),
                || table(&["NAME", "KIND", "ARN", "MADE"], &rows, "no users"),
            ))
        }
        UserCommand::Delete { name, remote } => {
            let path = format!("/weir/v1/users/{}", segment(&name));
            remote.client(variables)?.call("DELETE", &path, &[], None).await?;
            Ok(Out::new(false, || Value::Null, || format!("{name} is deleted, with its keys and tokens\n")))
        }
    }
}

/// `weir key create|list|delete`, of a server.
pub(super) async fn key(command: KeyCommand, variables: &Variables) -> Result<Out> {
    match command {
        KeyCommand::Create { user, json, remote, .. } => {
            let client = remote.client(variables)?;
            let body = user.as_ref().map_or_else(|| json!({}), |user| json!({ "user": user }));
            let answer = client.call("POST", "/weir/v1/keys", &[], Some(&body)).await?;
            let text = |name: &str| answer[name].as_str().context("the server's answer has no key");
            let (id, secret) = (text("accessKeyId")?, text("secretAccessKey")?);
            Ok(issued(json, id, secret, &client.credentials().region, user.as_deref()))
        }
        KeyCommand::List { user, json, remote } => {
            let query: Vec<(&str, &str)> = user.iter().map(|user| ("user", user.as_str())).collect();
            let answer = remote.client(variables)?.call("GET", "/weir/v1/keys", &query, None).await?;
            let rows = rows(&answer["keys"], |key| {
                vec![cell(key, "accessKeyId"), cell(key, "user"), time(key, "createdTime")]
            });
            Ok(Out::new(
                json,
                || answer.clone(),
                || table(&["ACCESS KEY", "USER", "MADE"], &rows, "no access keys"),
            ))
        }
        KeyCommand::Delete { id, remote } => {
            let path = format!("/weir/v1/keys/{}", segment(&id));
            remote.client(variables)?.call("DELETE", &path, &[], None).await?;
            Ok(Out::new(false, || Value::Null, || format!("{id} is deleted\n")))
        }
    }
}

/// A key just made, in the form of an AWS shared-credentials file.
pub(super) fn issued(as_json: bool, id: &str, secret: &str, region: &str, user: Option<&str>) -> Out {
    let profile = user.unwrap_or("default");
    Out::new(
        as_json,
        || json!({ "accessKeyId": id, "secretAccessKey": secret }),
        || {
            format!(
                "[{profile}]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\nregion = {region}\n"
            )
        },
    )
}

/// A name of a policy, or the document in a file.
fn policy_of(text: &str) -> Result<Value> {
    if matches!(text, "admin" | "publish" | "read") {
        return Ok(text.into());
    }
    let document = fs_err::read_to_string(text).with_context(|| {
        format!("--policy: '{text}' is neither admin, publish nor read, nor a file that can be read")
    })?;
    serde_json::from_str(&document).with_context(|| format!("--policy: {text} is not JSON"))
}

/// The rows of a table of JSON objects.
pub(super) fn rows(list: &Value, row: impl Fn(&Value) -> Vec<String>) -> Vec<Vec<String>> {
    list.as_array().into_iter().flatten().map(row).collect()
}

/// A name as one segment of a path.
pub(super) fn segment(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}
