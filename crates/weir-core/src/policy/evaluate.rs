//! Allow, deny, or say nothing (IAM policy evaluation logic): an explicit deny wins.

use super::{Effect, Matcher, PolicyDocument, Statement, condition, pattern};

/// What the policies say of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// A statement grants it and none refuses it.
    Allow,
    /// A statement refuses it.
    ExplicitDeny,
    /// No statement speaks of it.
    Silent,
}

/// What is asked of the policies.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `codeartifact:DescribeDomain`.
    pub action: &'a str,
    /// ARN of the resource; `*` for actions without one.
    pub resource: &'a str,
    /// ARN of the caller; `None` for an anonymous one.
    pub principal: Option<&'a str>,
    /// Condition keys and their values; a key with several values is there several times.
    pub context: &'a [(&'a str, &'a str)],
}

/// Evaluates documents together: an explicit deny wins.
pub fn evaluate<'a>(
    documents: impl IntoIterator<Item = &'a PolicyDocument>,
    request: &Request<'_>,
) -> Decision {
    let mut decision = Decision::Silent;
    for statement in documents.into_iter().flat_map(|document| &document.statements) {
        if !applies(statement, request) {
            continue;
        }
        match statement.effect {
            Effect::Deny => return Decision::ExplicitDeny,
            Effect::Allow => decision = Decision::Allow,
        }
    }
    decision
}

fn applies(statement: &Statement, request: &Request<'_>) -> bool {
    let action = |pattern: &str| pattern::matches_ignoring_case(pattern, request.action);
    let resource = |pattern: &str| pattern::matches(pattern, request.resource);
    speaks_of(&statement.actions, action)
        && speaks_of(&statement.resources, resource)
        && names(statement.principals.as_deref(), request.principal)
        && statement.conditions.iter().all(|condition| {
            // What cannot be told must not grant, and must not keep a denial from being one.
            condition::holds(condition, request.context).unwrap_or(statement.effect == Effect::Deny)
        })
}

fn speaks_of(matcher: &Matcher, matches: impl Fn(&str) -> bool) -> bool {
    match matcher {
        Matcher::Any(patterns) => patterns.iter().any(|pattern| matches(pattern)),
        Matcher::None(patterns) => !patterns.iter().any(|pattern| matches(pattern)),
    }
}

/// Whether a statement is about the caller: one without principals belongs to its owner's policy, and so
/// never to nobody.
fn names(principals: Option<&[String]>, caller: Option<&str>) -> bool {
    let Some(principals) = principals else { return caller.is_some() };
    principals.iter().any(|principal| match caller {
        _ if principal == "*" => true,
        None => false,
        Some(caller) => {
            principal == caller || account_named(principal).is_some_and(|a| a == account_of(caller))
        }
    })
}

/// The account that `111122223333` or `arn:aws:iam::111122223333:root` names whole.
fn account_named(principal: &str) -> Option<&str> {
    let root = principal.strip_prefix("arn:aws:iam::").and_then(|rest| rest.strip_suffix(":root"));
    root.or((!principal.contains(':')).then_some(principal))
}

fn account_of(arn: &str) -> &str {
    arn.split(':').nth(4).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: &str = "arn:aws:iam::111122223333:user/ann";
    const MAIN: &str = "arn:aws:codeartifact:us-east-1:111122223333:repository/local/main";

    fn check(statements: &str, action: &str, resource: &str, principal: Option<&str>, expected: Decision) {
        let json = format!(r#"{{"Version": "2012-10-17", "Statement": [{statements}]}}"#);
        let document = PolicyDocument::parse(&json).expect(&json);
        let context = [("aws:ResourceTag/team", "web")];
        let request = Request { action, resource, principal, context: &context };
        assert_eq!(
            evaluate([&document], &request),
            expected,
            "{statements} {action} {resource} {principal:?}"
        );
    }

    #[test]
    fn actions_and_resources_are_matched() {
        let get = "codeartifact:GetRepositoryEndpoint";
        let allow = |action: &str, resource: &str| {
            format!(r#"{{"Effect": "Allow", "Action": "{action}", "Resource": "{resource}"}}"#)
        };
        let repositories = "arn:aws:codeartifact:*:111122223333:repository/local/*";
        let cases = [
            (allow("*", "*"), Decision::Allow),
            (allow("CODEARTIFACT:get*", "*"), Decision::Allow),
            (allow("codeartifact:List*", "*"), Decision::Silent),
            (allow("codeartifact:*", repositories), Decision::Allow),
            (allow("codeartifact:*", &repositories.replace("local", "LOCAL")), Decision::Silent),
            (allow("codeartifact:*", &repositories.replace("local", "other")), Decision::Silent),
        ];
        for (statement, expected) in cases {
            check(&statement, get, MAIN, Some(ANN), expected);
        }
    }

    #[test]
    fn not_action_and_not_resource_match_the_rest() {
        let statement = r#"{
            "Effect": "Allow",
            "NotAction": ["codeartifact:Delete*"],
            "NotResource": "arn:aws:codeartifact:*:*:domain/*"
        }"#;
        check(statement, "codeartifact:ReadFromRepository", MAIN, Some(ANN), Decision::Allow);
        check(statement, "codeartifact:DeleteRepository", MAIN, Some(ANN), Decision::Silent);
        let domain = "arn:aws:codeartifact:us-east-1:111122223333:domain/local";
        check(statement, "codeartifact:DescribeDomain", domain, Some(ANN), Decision::Silent);
    }

    #[test]
    fn an_explicit_deny_wins_in_any_order() {
        let allow = r#"{"Effect": "Allow", "Action": "*", "Resource": "*"}"#;
        let deny = r#"{"Effect": "Deny", "Action": "codeartifact:Delete*", "Resource": "*"}"#;
        for statements in [format!("{allow}, {deny}"), format!("{deny}, {allow}")] {
            check(&statements, "codeartifact:DeleteDomain", "*", Some(ANN), Decision::ExplicitDeny);
            check(&statements, "codeartifact:ListDomains", "*", Some(ANN), Decision::Allow);
        }
    }

    #[test]
    fn a_principal_is_everyone_an_account_or_one() {
        let bob = Some("arn:aws:iam::444455556666:role/bob");
        let cases = [
            (r#""*""#, None, Decision::Allow),
            (r#"{"AWS": "*"}"#, None, Decision::Allow),
            (r#"{"AWS": "111122223333"}"#, Some(ANN), Decision::Allow),
            (r#"{"AWS": "111122223333"}"#, bob, Decision::Silent),
            (r#"{"AWS": "111122223333"}"#, None, Decision::Silent),
            (r#"{"AWS": ["444455556666", "arn:aws:iam::111122223333:root"]}"#, Some(ANN), Decision::Allow),
            (r#"{"AWS": ["444455556666", "arn:aws:iam::111122223333:root"]}"#, bob, Decision::Allow),
            (r#"{"AWS": "arn:aws:iam::111122223333:user/ann"}"#, Some(ANN), Decision::Allow),
            (r#"{"AWS": "arn:aws:iam::111122223333:user/an"}"#, Some(ANN), Decision::Silent),
        ];
        for (principal, caller, expected) in cases {
            let statement =
                format!(r#"{{"Effect": "Allow", "Principal": {principal}, "Action": "*", "Resource": "*"}}"#);
            check(&statement, "codeartifact:ReadFromRepository", MAIN, caller, expected);
        }
    }

    #[test]
    fn a_statement_without_principals_is_not_about_nobody() {
        let statement = r#"{"Effect": "Allow", "Action": "*", "Resource": "*"}"#;
        check(statement, "codeartifact:ReadFromRepository", MAIN, None, Decision::Silent);
    }

    #[test]
    fn all_conditions_must_hold() {
        let cases = [
            (r#"{"StringEquals": {"aws:ResourceTag/team": "web"}}"#, Decision::Allow),
            (r#"{"StringEquals": {"aws:ResourceTag/team": ["api", "web"]}}"#, Decision::Allow),
            (r#"{"StringEquals": {"aws:ResourceTag/team": "api"}}"#, Decision::Silent),
            (
                r#"{"StringLike": {"aws:ResourceTag/team": "w*"}, "Null": {"aws:RequestTag/x": "true"}}"#,
                Decision::Allow,
            ),
            (
                r#"{"StringLike": {"aws:ResourceTag/team": "w*"}, "Null": {"aws:RequestTag/x": false}}"#,
                Decision::Silent,
            ),
        ];
        for (condition, expected) in cases {
            let statement =
                format!(r#"{{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {condition}}}"#);
            check(&statement, "codeartifact:ReadFromRepository", MAIN, Some(ANN), expected);
        }
    }

    #[test]
    fn what_cannot_be_told_does_not_grant_and_does_refuse() {
        for (effect, expected) in [("Allow", Decision::Silent), ("Deny", Decision::ExplicitDeny)] {
            let statement = format!(
                r#"{{"Effect": "{effect}", "Action": "*", "Resource": "*",
                     "Condition": {{"NumericLessThan": {{"aws:ResourceTag/team": "3"}}}}}}"#
            );
            check(&statement, "codeartifact:ReadFromRepository", MAIN, Some(ANN), expected);
        }
    }

    #[test]
    fn documents_are_evaluated_together() {
        let admin = PolicyDocument::admin();
        let deny = PolicyDocument::parse(
            r#"{"Statement": {
                "Effect": "Deny", "Principal": "*", "Action": "codeartifact:*", "Resource": "*"
            }}"#,
        )
        .expect("valid");
        let request =
            Request { action: "codeartifact:ListDomains", resource: "*", principal: Some(ANN), context: &[] };
        assert_eq!(evaluate([&admin, &deny], &request), Decision::ExplicitDeny);
        assert_eq!(evaluate([&admin], &request), Decision::Allow);
        assert_eq!(evaluate([], &request), Decision::Silent);
    }
}
