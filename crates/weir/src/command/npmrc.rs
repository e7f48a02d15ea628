//! Reads and edits `.npmrc`: lines `key=value`; all other lines, their order and comments stay.

use std::path::PathBuf;

use crate::config::Variables;

/// The user's own file.
pub(super) fn user_file(variables: &Variables) -> Option<PathBuf> {
    let get = |name: &str| variables.get(name).filter(|value| !value.is_empty());
    let named = get("NPM_CONFIG_USERCONFIG").or_else(|| get("npm_config_userconfig")).map(PathBuf::from);
    named.or_else(|| get("HOME").map(|home| PathBuf::from(home).join(".npmrc")))
}

/// The key under which npm keeps settings of a registry: `//host/path/:NAME`.
pub(super) fn key_of(endpoint: &str, name: &str) -> String {
    let place = endpoint.split_once("://").map_or(endpoint, |(_, place)| place);
    format!("//{}/:{name}", place.trim_end_matches('/'))
}

/// The value of a key; the last line counts, as in npm.
pub(super) fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let pairs = text.lines().filter_map(pair);
    pairs.rev().find(|(name, _)| *name == key).map(|(_, value)| value)
}

/// Sets keys: the first line of each is replaced, further ones go, a new one is put at the end.
pub(super) fn edit(text: &str, pairs: &[(String, String)]) -> String {
    let mut out = String::with_capacity(text.len() + 200);
    let mut written = vec![false; pairs.len()];
    for line in text.lines() {
        let known = pair(line).and_then(|(name, _)| pairs.iter().position(|(key, _)| key == name));
        match known {
            None => out.extend([line, "\n"]),
            Some(index) if !written[index] => {
                written[index] = true;
                let (key, value) = &pairs[index];
                out.extend([key, "=", value, "\n"]);
            }
            Some(_) => {}
        }
    }
    for ((key, value), _) in pairs.iter().zip(&written).filter(|(_, written)| !**written) {
        out.extend([key, "=", value, "\n"]);
    }
    out
}

fn pair(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if line.starts_with(['#', ';']) {
        return None;
    }
    let (name, value) = line.split_once('=')?;
    Some((name.trim(), value.trim().trim_matches('"')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: &str, after: &str) {
        let pairs = [
            ("registry".to_owned(), "http://new/".to_owned()),
            ("//new/:_authToken".to_owned(), "weir_b".to_owned()),
        ];
        let edited = edit(before, &pairs);
        assert_eq!(edited, after);
        assert_eq!(edit(&edited, &pairs), after, "a second login changes nothing");
    }

    #[test]
    fn keys_are_replaced_where_they_stand_and_the_rest_stays() {
        check("", "registry=http://new/\n//new/:_authToken=weir_b\n");
        check(
            "# mine\nsave-exact = true\nregistry = http://old/\n//old/:_authToken=keep\n//new/:_authToken=weir_a",
            "# mine\nsave-exact = true\nregistry=http://new/\n//old/:_authToken=keep\n//new/:_authToken=weir_b\n",
        );
        check(
            "registry=a\nregistry=b\n;registry=c\n",
            "registry=http://new/\n;registry=c\n//new/:_authToken=weir_b\n",
        );
    }

    #[test]
    fn values_and_keys_are_found() {
        assert_eq!(value("a = \"1\"\na=2\n#a=3", "a"), Some("2"));
        assert_eq!(value("", "a"), None);
        assert_eq!(
            key_of("http://127.0.0.1:8090/npm/d/local-000000000000/main/", "_authToken"),
            "//127.0.0.1:8090/npm/d/local-000000000000/main/:_authToken"
        );
    }
}
