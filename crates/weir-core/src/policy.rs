//! Policy documents (IAM JSON policy elements reference): their types and those made ready. The JSON is
//! read in `policy/parse.rs`; whether a document allows something is decided in `policy/evaluate.rs`.

mod condition;
mod evaluate;
mod json;
mod parse;
mod pattern;

pub use evaluate::{Decision, Request, evaluate};

/// One parsed policy document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicyDocument {
    /// The statements, in order.
    pub statements: Vec<Statement>,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Allow, or deny.
    pub effect: Effect,
    /// Action patterns such as `codeartifact:Describe*`, or `*`.
    pub actions: Matcher,
    /// Resource ARN patterns, or `*`.
    pub resources: Matcher,
    /// Whom a resource policy speaks of; `None` in identity policies.
    pub principals: Option<Vec<String>>,
    /// Conditions, all of which must hold.
    pub conditions: Vec<Condition>,
}

/// Allow or deny.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Grants.
    Allow,
    /// Refuses, whatever else grants.
    Deny,
}

/// Patterns that must match, or must not (`NotAction`, `NotResource`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matcher {
    /// One of these matches.
    Any(Vec<String>),
    /// None of these matches.
    None(Vec<String>),
}

/// One operator with one key: `{"StringEquals": {"aws:ResourceTag/team": ["web"]}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The operator, such as `StringEquals`.
    pub operator: String,
    /// The condition key.
    pub key: String,
    /// One of these values must hold.
    pub values: Vec<String>,
}

/// `--policy admin`: everything.
pub const ADMIN: &str = r#"{
  "Version": "2012-10-17",
  "Statement": [{ "Effect": "Allow", "Action": "*", "Resource": "*" }]
}"#;

/// `--policy publish`: reading, and publishing of new versions.
pub const PUBLISHER: &str = r#"{
  "Version": "2012-10-17",
  "Statement": [{
    "Effect": "Allow",
    "Action": [
      "codeartifact:Describe*",
      "codeartifact:Get*",
      "codeartifact:List*",
      "codeartifact:ReadFromRepository",
      "codeartifact:PublishPackageVersion",
      "codeartifact:PutPackageMetadata",
      "sts:GetServiceBearerToken",
      "weir:Explain"
    ],
    "Resource": "*"
  }]
}"#;

/// `--policy read`: reading.
pub const READER: &str = r#"{
  "Version": "2012-10-17",
  "Statement": [{
    "Effect": "Allow",
    "Action": [
      "codeartifact:Describe*",
      "codeartifact:Get*",
      "codeartifact:List*",
      "codeartifact:ReadFromRepository",
      "sts:GetServiceBearerToken",
      "weir:Explain"
    ],
    "Resource": "*"
  }]
}"#;

impl PolicyDocument {
    /// The JSON that `--policy admin|publish|read` stands for; `None` for any other word.
    pub fn ready_made(word: &str) -> Option<&'static str> {
        match word {
            "admin" => Some(ADMIN),
            "publish" => Some(PUBLISHER),
            "read" => Some(READER),
            _ => None,
        }
    }

    /// [`ADMIN`], parsed.
    pub fn admin() -> Self {
        Self::parse_identity(ADMIN).expect("a constant that a test parses")
    }

    /// [`PUBLISHER`], parsed.
    pub fn publisher() -> Self {
        Self::parse_identity(PUBLISHER).expect("a constant that a test parses")
    }

    /// [`READER`], parsed.
    pub fn reader() -> Self {
        Self::parse_identity(READER).expect("a constant that a test parses")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Action;

    fn allowed(document: &PolicyDocument) -> String {
        let allows = |action: &&Action| {
            let action = action.to_string();
            let principal = Some("arn:aws:iam::000000000000:user/someone");
            let request = Request { action: &action, resource: "*", principal, context: &[] };
            evaluate([document], &request) == Decision::Allow
        };
        let allowed: Vec<String> = Action::ALL.iter().filter(allows).map(Action::to_string).collect();
        allowed.join("\n")
    }

    #[test]
    fn an_administrator_may_do_everything() {
        assert_eq!(allowed(&PolicyDocument::admin()).lines().count(), Action::ALL.len());
    }

    #[test]
    fn a_reader_may_do_what_only_reads() {
        let reads: Vec<String> = Action::ALL.iter().filter(|a| a.is_read()).map(Action::to_string).collect();
        assert_eq!(allowed(&PolicyDocument::reader()), reads.join("\n"));
    }

    #[test]
    fn a_publisher_may_publish_besides_reading() {
        let reader = allowed(&PolicyDocument::reader());
        let publisher = allowed(&PolicyDocument::publisher());
        let more: Vec<&str> = publisher.lines().filter(|line| !reader.contains(line)).collect();
        assert_eq!(more, ["codeartifact:PublishPackageVersion", "codeartifact:PutPackageMetadata"]);
    }

    #[test]
    fn the_ready_made_policies_have_their_words() {
        for word in ["admin", "publish", "read"] {
            let json = PolicyDocument::ready_made(word).expect("known");
            assert!(PolicyDocument::parse_identity(json).is_ok(), "{word}");
        }
        assert_eq!(PolicyDocument::ready_made("root"), None);
    }
}
