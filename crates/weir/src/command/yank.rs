//! `weir yank`

use super::explain::{split_namespace, split_version};
use super::output::Out;
use crate::cli::Yank;
use crate::config::Variables;
use anyhow::{Result, bail};

/// Yanks a version, or takes that back.
pub(super) async fn run(arguments: Yank, variables: &Variables) -> Result<Out> {
    let (package, Some(version)) = split_version(&arguments.package) else {
        bail!("{} names no version; write PACKAGE@VERSION", arguments.package);
    };
    let (namespace, name) = split_namespace(package);
    let client = arguments.remote.client(variables)?;
    let mut query = vec![
        ("domain", arguments.place.domain.as_str()),
        ("repository", &arguments.place.repository),
        ("format", &arguments.format),
        ("package", name),
        ("version", version),
    ];
    let optional = [
        ("domain-owner", arguments.place.domain_owner.as_deref()),
        ("namespace", namespace),
        ("reason", arguments.reason.as_deref()),
    ];
    query.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let path = if arguments.undo { "/weir/v1/unyank" } else { "/weir/v1/yank" };
    let told = client.call("POST", path, &query, None).await?;
    let what = if arguments.undo {
        "is no longer yanked"
    } else {
        "is yanked: installers take it only where it is asked for by its exact version"
    };
    let text = format!("{} {package}@{version} {what}\n", arguments.format);
    Ok(Out::new(arguments.json, || told.clone(), || text))
}
