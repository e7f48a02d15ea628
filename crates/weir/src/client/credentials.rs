//! Finds the access key as the AWS CLI does: flags, variables, the profile; then Weir's own data folder.

use super::Remote;
use crate::config::Variables;
use anyhow::{Result, anyhow, bail};
use std::path::{Path, PathBuf};

/// An access key and where it came from.
#[derive(Clone)]
pub(crate) struct Credentials {
    /// `AKIA…`
    pub(crate) access_key_id: String,
    /// Never printed.
    pub(crate) secret_access_key: String,
    /// Of temporary credentials.
    pub(crate) session_token: Option<String>,
    /// The Region in the signature's scope; the server does not compare it.
    pub(crate) region: String,
    /// For messages.
    pub(crate) source: String,
}

/// What `weir serve` makes when it is started in this folder.
const LOCAL: &str = "weir-data/credentials";

impl Credentials {
    /// The first key found; an error that names all places when there is none.
    pub(crate) fn find(remote: &Remote, variables: &Variables) -> Result<Self> {
        Self::find_in(remote, variables, Path::new(LOCAL))
    }

    fn find_in(remote: &Remote, variables: &Variables, local: &Path) -> Result<Self> {
        let get = |name: &str| variables.get(name).filter(|value| !value.is_empty()).cloned();
        let region = get("AWS_REGION").or_else(|| get("AWS_DEFAULT_REGION"));
        if let (Some(id), Some(secret)) = (&remote.access_key_id, &remote.secret_access_key) {
            return Ok(Self::new(id.clone(), secret.clone(), None, region, "the flags".to_owned()));
        }
        // A profile that was asked for by name precedes variables, as in the AWS CLI.
        if remote.profile.is_none()
            && let (Some(id), Some(secret)) = (get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY"))
        {
            return Ok(Self::new(
                id,
                secret,
                get("AWS_SESSION_TOKEN"),
                region,
                "AWS_ACCESS_KEY_ID".to_owned(),
            ));
        }
        let named = remote.profile.clone().or_else(|| get("AWS_PROFILE"));
        let profile = named.clone().unwrap_or_else(|| "default".to_owned());
        let shared = get("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
        let shared = shared.or_else(|| get("HOME").map(|home| Path::new(&home).join(".aws/credentials")));
        if let Some(path) = &shared
            && let Some(found) = Self::read(path, &profile, &region)?
        {
            return Ok(found);
        }
        let places = shared.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
        let chosen = get("AWS_SHARED_CREDENTIALS_FILE").is_some();
        if named.is_none() && chosen {
            // A file that was named is meant: another key behind its back could be the administrator's.
            bail!(
                "{places} has no profile 'default'{}; name one with --profile or AWS_PROFILE",
                shared.as_deref().map(profiles_of).unwrap_or_default()
            );
        }
        if let Some(name) = named {
            bail!("the profile '{name}' has no key in {places}; name another with --profile or AWS_PROFILE");
        }
        Self::read(local, "default", &region)?.ok_or_else(|| {
            anyhow!(
                "no access key was found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in {places}, or \
                 AWS_SHARED_CREDENTIALS_FILE=DATA/credentials of the server's data folder ({} does not exist here)",
                local.display()
            )
        })
    }

    fn new(
        id: String,
        secret: String,
        token: Option<String>,
        region: Option<String>,
        source: String,
    ) -> Self {
        Self {
            access_key_id: id,
            secret_access_key: secret,
            session_token: token,
            region: region.unwrap_or_else(|| "us-east-1".to_owned()),
            source,
        }
    }

    /// Reads one profile of a shared-credentials file; `None` when file or profile are not there.
    fn read(path: &Path, profile: &str, region: &Option<String>) -> Result<Option<Self>> {
        let text = match fs_err::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let value = |key: &str| value_of(&text, profile, key);
        let (Some(id), Some(secret)) = (value("aws_access_key_id"), value("aws_secret_access_key")) else {
            return Ok(None);
        };
        let source = format!("the profile '{profile}' of {}", path.display());
        let region = region.clone().or_else(|| value("region"));
        Ok(Some(Self::new(id, secret, value("aws_session_token"), region, source)))
    }
}

/// `, only a, b`: the profiles of a shared-credentials file.
fn profiles_of(path: &Path) -> String {
    let text = fs_err::read_to_string(path).unwrap_or_default();
    let names: Vec<&str> =
        text.lines().filter_map(|line| line.trim().strip_prefix('[')?.strip_suffix(']')).collect();
    if names.is_empty() { String::new() } else { format!(", only {}", names.join(", ")) }
}

fn value_of(text: &str, profile: &str, key: &str) -> Option<String> {
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = name.trim() == profile;
            continue;
        }
        let Some((name, value)) = line.split_once('=').filter(|_| inside) else { continue };
        if name.trim().eq_ignore_ascii_case(key) && !value.trim().is_empty() {
            return Some(value.trim().to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# comment\n[other]\naws_access_key_id = AKIAOTHER\naws_secret_access_key=s2\n\
                        [default]\naws_access_key_id=AKIADEFAULT\naws_secret_access_key = s1=/+\nregion = eu-west-1\n";

    #[track_caller]
    fn check(remote: &Remote, pairs: &[(&str, &str)], expected: Result<(&str, &str), &str>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        fs_err::write(&path, FILE).unwrap();
        let mut variables: Variables =
            pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        if variables.contains_key("FILE") {
            variables.insert("AWS_SHARED_CREDENTIALS_FILE".into(), path.display().to_string());
        }
        let local = if variables.contains_key("LOCAL") { path.clone() } else { folder.path().join("none") };
        match (Credentials::find_in(remote, &variables, &local), expected) {
            (Ok(found), Ok((id, region))) => {
                assert_eq!((found.access_key_id.as_str(), found.region.as_str()), (id, region));
            }
            (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
            (Ok(found), Err(_)) => panic!("found {}", found.access_key_id),
            (Err(error), Ok(_)) => panic!("{error}"),
        }
    }

    #[test]
    fn keys_are_sought_in_the_order_of_the_aws_cli() {
        let none = Remote::default();
        let flags = Remote {
            access_key_id: Some("AKIAFLAG".into()),
            secret_access_key: Some("s".into()),
            ..Remote::default()
        };
        let variables = &[
            ("AWS_ACCESS_KEY_ID", "AKIAVAR"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("FILE", "1"),
            ("AWS_REGION", "x"),
        ];
        check(&flags, variables, Ok(("AKIAFLAG", "x")));
        check(&none, variables, Ok(("AKIAVAR", "x")));
        check(
            &Remote { profile: Some("other".into()), ..Remote::default() },
            variables,
            Ok(("AKIAOTHER", "x")),
        );
        check(&none, &[("FILE", "1")], Ok(("AKIADEFAULT", "eu-west-1")));
        check(&none, &[("FILE", "1"), ("AWS_PROFILE", "other")], Ok(("AKIAOTHER", "us-east-1")));
        check(&none, &[("LOCAL", "1")], Ok(("AKIADEFAULT", "eu-west-1")));
        check(&none, &[("FILE", "1"), ("AWS_PROFILE", "missing"), ("LOCAL", "1")], Err("'missing'"));
        check(&none, &[], Err("AWS_ACCESS_KEY_ID"));
    }
}
