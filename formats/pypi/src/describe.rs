//! What the control API and explain tell of a version, read from its document.

use crate::core_metadata::Info;
use crate::document::VersionDocument;
use crate::name;
use weir_registry::format::{Dependency, Description, License};

/// Longer texts under `License` are the licence itself.
const MOST_LICENSE: usize = 100;

/// Summary, licences, links and dependencies; empty until a file of the version was read.
pub(crate) fn describe(document: &str) -> Description {
    let info = VersionDocument::read(document).ok().and_then(|document| document.info);
    let Some(info) = info else { return Description::default() };
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Description {
        summary: text(&info.summary),
        home_page: info.home().map(str::to_owned),
        source_code_repository: info.source_code().map(str::to_owned),
        licenses: licenses(&info),
        readme: None,
        dependencies: info.requires_dist.iter().filter_map(|text| dependency(text)).collect(),
        keywords: info.keywords,
    }
}

fn licenses(info: &Info) -> Vec<License> {
    let named = |name: &str| License { name: name.to_owned(), url: None };
    let short = info.license.len() <= MOST_LICENSE && !info.license.contains('\n');
    if !info.license.is_empty() && short {
        return vec![named(&info.license)];
    }
    let last = |classifier: &String| named(classifier.rsplit("::").next().unwrap_or_default().trim());
    info.license_classifiers.iter().map(last).collect()
}

/// `NAME [EXTRAS] (VERSIONS) ; MARKER`, of which only the name is taken apart (PEP 508).
fn dependency(text: &str) -> Option<Dependency> {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
        .unwrap_or(text.len());
    let (project, requirement) = text.split_at(end);
    let package = name::parse(project).ok()?;
    Some(Dependency {
        namespace: None,
        package: package.name.to_string(),
        kind: Some("Requires-Dist".to_owned()),
        requirement: Some(requirement.trim().to_owned()).filter(|text| !text.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_described() {
        let document = r#"{"files": [], "info": {"from_wheel": true, "summary": "s", "home_page": "h", "license": "MIT",
            "keywords": ["a"], "requires_dist": ["Zope.Interface[test] (>=5) ; python_version < '3.9'", "six", "~bad"]}}"#;
        let found = describe(document);
        assert_eq!((found.summary.as_deref(), found.home_page.as_deref()), (Some("s"), Some("h")));
        assert_eq!(found.licenses, [License { name: "MIT".into(), url: None }]);
        let told: Vec<_> =
            found.dependencies.iter().map(|d| (&*d.package, d.requirement.as_deref())).collect();
        assert_eq!(told, [("zope-interface", Some("[test] (>=5) ; python_version < '3.9'")), ("six", None)]);
        assert_eq!(found.dependencies[0].kind.as_deref(), Some("Requires-Dist"));
    }

    #[test]
    fn a_licence_as_long_as_a_book_is_told_by_its_classifier() {
        let info = Info {
            license: "Permission is hereby granted\nand so on".into(),
            license_classifiers: vec!["License :: OSI Approved :: MIT License".into()],
            ..Info::default()
        };
        assert_eq!(licenses(&info), [License { name: "MIT License".into(), url: None }]);
        for unread in ["{}", "", r#"{"files": []}"#] {
            assert_eq!(describe(unread), Description::default());
        }
    }
}
