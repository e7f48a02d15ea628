//! Every setting of the server stands in `docs/configuration.md`.

use super::sources::File;

/// Where the settings are declared, each as `setting("NAME", …)`.
const TABLE: &str = "crates/weir/src/config/setting.rs";
/// Where each of them is explained.
const DOCUMENT: &str = "docs/configuration.md";

/// The settings that are not documented.
pub(super) fn check(files: &[File]) -> Vec<String> {
    let text = |path: &str| files.iter().find(|file| file.path == path).map(|file| file.text.as_str());
    let Some(table) = text(TABLE) else {
        return vec![format!(
            "{TABLE} is gone; say in xtask/src/tidy/settings.rs where the settings are now"
        )];
    };
    let document = text(DOCUMENT).unwrap_or_default();
    let missing = names(table).filter(|name| !document.contains(&format!("`{name}`")));
    missing.map(|name| format!("{DOCUMENT}: does not explain the setting `{name}`")).collect()
}

fn names(table: &str) -> impl Iterator<Item = &str> {
    let calls = table.split("setting(").skip(1);
    calls.filter_map(|call| call.trim_start().strip_prefix('"')?.split('"').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_without_documentation_is_named() {
        let table = "const fn setting(name: X) {}\nsetting(\"data\", K),\nsetting(\n    \"public-url\",\n),";
        let files = [(TABLE, table), (DOCUMENT, "| `data` | the folder |")];
        let files = files.map(|(path, text)| File { path: path.to_owned(), text: text.to_owned() });
        assert_eq!(check(&files), ["docs/configuration.md: does not explain the setting `public-url`"]);
    }
}
