//! Reads a policy document. Whatever is not understood is refused, with the element and the statement
//! named, since a condition or a variable that is passed over would allow too much or deny too little.

use super::condition;
use super::json::Json;
use super::{Condition, Effect, Matcher, PolicyDocument, Statement};
use crate::error::{Error, Result};
use crate::name::shown;
use std::fmt;

/// The service model's limit, in characters.
const MAX_CHARACTERS: usize = 7168;

impl PolicyDocument {
    /// Parses a document of either kind: its statements may name principals or not.
    pub fn parse(json: &str) -> Result<Self> {
        if json.chars().nth(MAX_CHARACTERS).is_some() {
            return Err(refused("", format_args!("is longer than {MAX_CHARACTERS} characters")));
        }
        // The parser itself refuses a nesting deeper than 128.
        let document: Json = serde_json::from_str(json).map_err(|error| {
            Error::cannot_parse(format!("policyDocument: cannot be read as JSON: {error}"))
        })?;
        let mut statements = None;
        for (name, value) in object("", document)? {
            match name.as_str() {
                "Version" => check_version(value)?,
                "Id" => drop(text("Id", value)?),
                "Statement" => statements = Some(parse_statements(value)?),
                _ => return Err(unknown("", &name)),
            }
        }
        let statements = statements.ok_or_else(|| refused("", "has no Statement"))?;
        Ok(Self { statements })
    }

    /// Parses the policy of a user or role, in which no statement may name a principal.
    pub fn parse_identity(json: &str) -> Result<Self> {
        let document = Self::parse(json)?;
        match document.statements.iter().position(|statement| statement.principals.is_some()) {
            None => Ok(document),
            Some(at) => Err(refused(
                &format!("Statement {}, Principal", at + 1),
                "has no place in the policy of a user or role, which speaks of its owner",
            )),
        }
    }

    /// Parses the policy of a domain or repository, in which every statement must name its principals.
    pub fn parse_resource(json: &str) -> Result<Self> {
        let document = Self::parse(json)?;
        match document.statements.iter().position(|statement| statement.principals.is_none()) {
            None => Ok(document),
            Some(at) => Err(refused(
                &format!("Statement {}", at + 1),
                "has no Principal; write whom it speaks of, such as {\"AWS\": \"arn:aws:iam::ACCOUNT:root\"}",
            )),
        }
    }
}

fn check_version(value: Json) -> Result<()> {
    match text("Version", value)?.as_str() {
        "2012-10-17" | "2008-10-17" => Ok(()),
        other => Err(refused("Version", format_args!("'{}' is not 2012-10-17 or 2008-10-17", shown(other)))),
    }
}

fn parse_statements(value: Json) -> Result<Vec<Statement>> {
    let statements = match value {
        Json::List(statements) => statements,
        single @ Json::Object(_) => vec![single],
        other => {
            return Err(refused("Statement", format_args!("is {}, not an object or a list", other.kind())));
        }
    };
    if statements.is_empty() {
        return Err(refused("Statement", "is empty"));
    }
    statements.into_iter().enumerate().map(|(at, value)| parse_statement(at + 1, value)).collect()
}

fn parse_statement(number: usize, value: Json) -> Result<Statement> {
    let here = format!("Statement {number}");
    let mut effect = None;
    let mut actions = None;
    let mut resources = None;
    let mut principals = None;
    let mut conditions = Vec::new();
    for (name, value) in object(&here, value)? {
        let place = format!("{here}, {name}");
        match name.as_str() {
            "Sid" => drop(text(&place, value)?),
            "Effect" => effect = Some(parse_effect(&place, value)?),
            "Action" => set_once(&here, &mut actions, Matcher::Any(parse_actions(&place, value)?))?,
            "NotAction" => set_once(&here, &mut actions, Matcher::None(parse_actions(&place, value)?))?,
            "Resource" => set_once(&here, &mut resources, Matcher::Any(parse_resources(&place, value)?))?,
            "NotResource" => set_once(&here, &mut resources, Matcher::None(parse_resources(&place, value)?))?,
            "Principal" => principals = Some(parse_principals(&place, value)?),
            "Condition" => conditions = parse_conditions(&place, value)?,
            _ => return Err(unknown(&here, &name)),
        }
    }
    Ok(Statement {
        effect: effect.ok_or_else(|| refused(&here, "has no Effect"))?,
        actions: actions.ok_or_else(|| refused(&here, "has neither Action nor NotAction"))?,
        resources: resources.ok_or_else(|| refused(&here, "has neither Resource nor NotResource"))?,
        principals,
        conditions,
    })
}

fn set_once(here: &str, slot: &mut Option<Matcher>, matcher: Matcher) -> Result<()> {
    match slot.replace(matcher) {
        None => Ok(()),
        Some(_) => Err(refused(here, "has both an element and its Not form")),
    }
}

fn parse_effect(place: &str, value: Json) -> Result<Effect> {
    match text(place, value)?.as_str() {
        "Allow" => Ok(Effect::Allow),
        "Deny" => Ok(Effect::Deny),
        other => Err(refused(place, format_args!("'{}' is not Allow or Deny", shown(other)))),
    }
}

fn parse_actions(place: &str, value: Json) -> Result<Vec<String>> {
    let actions = texts(place, value)?;
    match actions.iter().find(|action| *action != "*" && !action.contains(':')) {
        None => Ok(actions),
        Some(bad) => Err(refused(place, format_args!("'{}' is not '*' or SERVICE:ACTION", shown(bad)))),
    }
}

fn parse_resources(place: &str, value: Json) -> Result<Vec<String>> {
    let resources = texts(place, value)?;
    if let Some(bad) = resources.iter().find(|resource| *resource != "*" && !resource.starts_with("arn:")) {
        return Err(refused(place, format_args!("'{}' is not '*' or an ARN", shown(bad))));
    }
    refuse_variables(place, &resources)?;
    Ok(resources)
}

fn parse_principals(place: &str, value: Json) -> Result<Vec<String>> {
    let members = match value {
        Json::Text(everyone) if everyone == "*" => return Ok(vec![everyone]),
        Json::Object(members) => members,
        other => {
            return Err(refused(place, format_args!("is {}, not \"*\" or {{\"AWS\": …}}", other.kind())));
        }
    };
    let mut principals = Vec::new();
    for (name, value) in members {
        if name != "AWS" {
            return Err(unknown(place, &name));
        }
        principals = texts(place, value)?;
    }
    if principals.is_empty() {
        return Err(refused(place, "names nobody"));
    }
    match principals.iter().find(|principal| !is_principal(principal)) {
        None => Ok(principals),
        Some(bad) => Err(refused(
            place,
            format_args!(
                "'{}' is not '*', an account id or the ARN of an account, user or role without wildcards",
                shown(bad)
            ),
        )),
    }
}

fn is_principal(text: &str) -> bool {
    let is_account = text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
    let is_arn = text.starts_with("arn:") && text.split(':').count() == 6 && !text.contains(['*', '?']);
    text == "*" || is_account || is_arn
}

fn parse_conditions(place: &str, value: Json) -> Result<Vec<Condition>> {
    let mut conditions = Vec::new();
    for (operator, keys) in object(place, value)? {
        let place = format!("{place}, {operator}");
        if !condition::is_operator(&operator) {
            return Err(refused(&place, "is not an operator that is supported"));
        }
        let keys = object(&place, keys)?;
        if keys.is_empty() {
            return Err(refused(&place, "is empty"));
        }
        for (key, value) in keys {
            let place = format!("{place}, {key}");
            let values = comparable_texts(&place, value)?;
            refuse_variables(&place, &values)?;
            let condition = Condition { operator: operator.clone(), key, values };
            condition::check(&condition).map_err(|rule| refused(&place, rule))?;
            conditions.push(condition);
        }
    }
    Ok(conditions)
}

/// A `${…}` that is taken literally would never match, and so would never deny.
fn refuse_variables(place: &str, values: &[String]) -> Result<()> {
    match values.iter().find(|value| value.contains("${")) {
        None => Ok(()),
        Some(bad) => {
            Err(refused(place, format_args!("'{}': policy variables are not supported", shown(bad))))
        }
    }
}

fn object(place: &str, value: Json) -> Result<Vec<(String, Json)>> {
    match value {
        Json::Object(members) => Ok(members),
        other => Err(refused(place, format_args!("is {}, not an object", other.kind()))),
    }
}

fn text(place: &str, value: Json) -> Result<String> {
    match value {
        Json::Text(text) => Ok(text),
        other => Err(refused(place, format_args!("is {}, not a string", other.kind()))),
    }
}

/// One string or a list of them.
fn texts(place: &str, value: Json) -> Result<Vec<String>> {
    one_or_more(place, value)?.into_iter().map(|item| text(place, item)).collect()
}

/// As [`texts`], for conditions, whose numbers and booleans need no quotes.
fn comparable_texts(place: &str, value: Json) -> Result<Vec<String>> {
    let items = one_or_more(place, value)?.into_iter();
    items.map(|item| if let Json::Scalar(scalar) = item { Ok(scalar) } else { text(place, item) }).collect()
}

/// A list may not be empty: `NotAction: []` would match everything.
fn one_or_more(place: &str, value: Json) -> Result<Vec<Json>> {
    match value {
        Json::List(items) if items.is_empty() => Err(refused(place, "is empty")),
        Json::List(items) => Ok(items),
        single => Ok(vec![single]),
    }
}

fn unknown(place: &str, name: &str) -> Error {
    refused(place, format_args!("'{}' is not an element that is supported here", shown(name)))
}

fn refused(place: &str, rule: impl fmt::Display) -> Error {
    match place {
        "" => Error::invalid("policyDocument", rule),
        _ => Error::invalid("policyDocument", format_args!("{}: {rule}", shown(place))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn errors<'a>(documents: impl IntoIterator<Item = &'a str>) -> String {
        let error = |json: &str| PolicyDocument::parse(json).expect_err(json).to_string();
        documents.into_iter().map(|json| format!("{}\n", error(json))).collect()
    }

    #[test]
    fn a_document_is_read_in_full() {
        let document = PolicyDocument::parse(
            r#"{
                "Version": "2012-10-17",
                "Id": "readers",
                "Statement": {
                    "Sid": "Readers",
                    "Effect": "Allow",
                    "Principal": {"AWS": "111122223333"},
                    "Action": ["codeartifact:Describe*", "codeartifact:ReadFromRepository"],
                    "NotResource": "arn:aws:codeartifact:*:*:package/*",
                    "Condition": {"Bool": {"aws:SecureTransport": true}, "NumericLessThan": {"a:b": ["1", 2]}}
                }
            }"#,
        )
        .expect("valid");
        let condition = |operator: &str, key: &str, values: &[&str]| Condition {
            operator: operator.to_owned(),
            key: key.to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        };
        let statement = Statement {
            effect: Effect::Allow,
            actions: Matcher::Any(vec![
                "codeartifact:Describe*".to_owned(),
                "codeartifact:ReadFromRepository".to_owned(),
            ]),
            resources: Matcher::None(vec!["arn:aws:codeartifact:*:*:package/*".to_owned()]),
            principals: Some(vec!["111122223333".to_owned()]),
            conditions: vec![
                condition("Bool", "aws:SecureTransport", &["true"]),
                condition("NumericLessThan", "a:b", &["1", "2"]),
            ],
        };
        assert_eq!(document, PolicyDocument { statements: vec![statement] });
    }

    #[test]
    fn a_document_that_is_not_understood_is_refused() {
        let documents = [
            "[]",
            "{",
            "{}",
            r#"{"Version": "2020-01-01"}"#,
            r#"{"Versoin": "2012-10-17"}"#,
            r#"{"Statement": "*"}"#,
            r#"{"Statement": []}"#,
            r#"{"Statement": [], "Statement": []}"#,
            &"[".repeat(1000),
            &" ".repeat(7169),
        ];
        expect![[r#"
            policyDocument: is a list, not an object
            policyDocument: cannot be read as JSON: EOF while parsing an object at line 1 column 1
            policyDocument: has no Statement
            policyDocument: Version: '2020-01-01' is not 2012-10-17 or 2008-10-17
            policyDocument: 'Versoin' is not an element that is supported here
            policyDocument: Statement: is a string, not an object or a list
            policyDocument: Statement: is empty
            policyDocument: cannot be read as JSON: 'Statement' is written twice at line 1 column 34
            policyDocument: cannot be read as JSON: recursion limit exceeded at line 1 column 128
            policyDocument: is longer than 7168 characters
        "#]]
        .assert_eq(&errors(documents));
    }

    #[test]
    fn a_statement_that_is_not_understood_is_refused_with_its_place() {
        let statements = [
            r#"7"#,
            r#"{"Action": "*", "Resource": "*"}"#,
            r#"{"Effect": "allow"}"#,
            r#"{"Effect": "Allow", "Resource": "*"}"#,
            r#"{"Effect": "Allow", "Action": "*"}"#,
            r#"{"Effect": "Allow", "Action": "*", "NotAction": "x:y"}"#,
            r#"{"Effect": "Allow", "Action": []}"#,
            r#"{"Effect": "Allow", "Action": ["x:y", 5]}"#,
            r#"{"Effect": "Allow", "Action": "ReadFromRepository"}"#,
            r#"{"Resource": "main"}"#,
            r#"{"Resource": "arn:aws:codeartifact:*:*:*/${aws:username}"}"#,
            r#"{"NotPrincipal": "*"}"#,
            r#"{"Principal": "ann"}"#,
            r#"{"Principal": {}}"#,
            r#"{"Principal": {"Service": "x"}}"#,
            r#"{"Principal": {"AWS": "arn:aws:iam::*:root"}}"#,
            r#"{"Condition": {"StringSounds": {"a:b": "c"}}}"#,
            r#"{"Condition": {"StringEquals": {"a:b": null}}}"#,
            r#"{"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/40"}}}"#,
            r#"{"Condition": {"StringEquals": {}}}"#,
        ];
        let documents = statements.map(|statement| format!(r#"{{"Statement": [{statement}]}}"#));
        expect![[r#"
            policyDocument: Statement 1: is a number or boolean, not an object
            policyDocument: Statement 1: has no Effect
            policyDocument: Statement 1, Effect: 'allow' is not Allow or Deny
            policyDocument: Statement 1: has neither Action nor NotAction
            policyDocument: Statement 1: has neither Resource nor NotResource
            policyDocument: Statement 1: has both an element and its Not form
            policyDocument: Statement 1, Action: is empty
            policyDocument: Statement 1, Action: is a number or boolean, not a string
            policyDocument: Statement 1, Action: 'ReadFromRepository' is not '*' or SERVICE:ACTION
            policyDocument: Statement 1, Resource: 'main' is not '*' or an ARN
            policyDocument: Statement 1, Resource: 'arn:aws:codeartifact:*:*:*/${aws:username}': policy variables are not supported
            policyDocument: Statement 1: 'NotPrincipal' is not an element that is supported here
            policyDocument: Statement 1, Principal: is a string, not "*" or {"AWS": …}
            policyDocument: Statement 1, Principal: names nobody
            policyDocument: Statement 1, Principal: 'Service' is not an element that is supported here
            policyDocument: Statement 1, Principal: 'arn:aws:iam::*:root' is not '*', an account id or the ARN of an account, user or role without wildcards
            policyDocument: Statement 1, Condition, StringSounds: is not an operator that is supported
            policyDocument: Statement 1, Condition, StringEquals, a:b: is null, not a string
            policyDocument: Statement 1, Condition, IpAddress, aws:SourceIp: '10.0.0.0/40' is not an address or a range such as 10.0.0.0/8 or 2001:db8::/32
            policyDocument: Statement 1, Condition, StringEquals: is empty
        "#]].assert_eq(&errors(documents.iter().map(String::as_str)));
    }

    #[test]
    fn a_document_of_the_longest_length_is_read() {
        let json = r#"{"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}"#;
        assert!(PolicyDocument::parse(&format!("{json:7168}")).is_ok());
    }

    #[test]
    fn principals_stand_in_policies_of_resources_alone() {
        let owned = r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}"#;
        let shared =
            r#"{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}}"#;
        assert!(PolicyDocument::parse_identity(owned).is_ok());
        assert!(PolicyDocument::parse_identity(shared).is_err());
        assert!(PolicyDocument::parse_resource(owned).is_err());
        assert!(PolicyDocument::parse_resource(shared).is_ok());
    }
}
