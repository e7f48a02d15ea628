//! `weir explain`: why a repository offers a version or does not. The verdict and its steps are the core's;
//! here they are asked for, and what the caller may not read stays unnamed.

use crate::Registry;
use crate::access::principal_of;
use crate::audit::known;
use crate::identity::principal_named;
use crate::package::Place;
use crate::scope::PackageRef;
use crate::view::{Freshness, PackageView, publish_time};
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_core::explain::Question;
use weir_core::path::ReservedBy;
use weir_core::verdict::{Decision, KnownIndex, Outcome, PublicIndex, PublicVersion, Rule, Source};
use weir_core::{Action, Caller, Control, Error, Result, TimeSource, Timestamp, Version};

/// The answer of explain, ready to be printed or sent as JSON.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Explanation {
    /// What was asked: `npm left-pad@1.3.0 in main`.
    pub question: String,
    /// The conclusion in one sentence.
    pub answer: String,
    /// The repositories and connections asked, in order, and what each said.
    pub steps: Vec<String>,
    /// `offered`, `withheld` or `unknown`; for a package without version `package`.
    pub outcome: String,
    /// Which repository or connection supplied it.
    pub supplied_by: Option<String>,
    /// The rule that withheld it.
    pub rule: Option<String>,
    /// When time alone will release it.
    pub until: Option<Timestamp>,
    /// The origin controls that apply to a publish of it, and what a publish would meet.
    pub publish: String,
    /// Publish time of the version and who says so.
    pub publish_time: Option<(Timestamp, TimeSource)>,
}

impl Registry {
    /// Explains a package, or one version of it; `principal` asks on behalf of another (needs
    /// `weir:ManageIdentities`). A public registry is asked as a package manager's request would; one that
    /// does not answer is part of the explanation.
    pub async fn explain(
        &self,
        caller: &Caller,
        package: &PackageRef,
        version: Option<&str>,
        principal: Option<&str>,
    ) -> Result<Explanation> {
        let place = self.place(caller, package, Action::Explain).await?;
        self.authorize_repository(caller, Action::ReadFromRepository, &place.domain, &place.repository)?;
        let format = self.format_of(&place)?;
        let version = version.map(|text| format.parse_version(text)).transpose()?;
        let refusal = match principal {
            None => None,
            Some(name) => self.refusal_of_other(caller, &place, name).await?,
        };
        let view = self.view_unchecked(&place.scope(caller), &place.package, Freshness::Usual).await?;
        let telling = Telling { registry: self, caller, place: &place, view: &view };
        let name = format.display_name(&place.package);
        Ok(telling.explanation(&name, version.as_ref(), refusal))
    }

    /// Why another principal of the account may not read the repository, if it may not.
    async fn refusal_of_other(&self, caller: &Caller, place: &Place, name: &str) -> Result<Option<String>> {
        self.authorize_identities(caller)?;
        let mut session = self.inner.store.read().await?;
        let row = principal_named(&mut session, &known(caller)?.account, name).await?;
        drop(session);
        let other = Caller::Principal(Arc::new(principal_of(row, None)?));
        let action = Action::ReadFromRepository;
        match self.authorize_repository(&other, action, &place.domain, &place.repository) {
            Ok(()) => Ok(None),
            Err(Error::Denied { message }) => Ok(Some(message)),
            Err(other) => Err(other),
        }
    }
}

/// An explanation in the making.
struct Telling<'a> {
    registry: &'a Registry,
    caller: &'a Caller,
    place: &'a Place,
    view: &'a PackageView,
}

impl Telling<'_> {
    fn explanation(&self, name: &str, version: Option<&Version>, refusal: Option<String>) -> Explanation {
        let (view, key) = (self.view, version.map(|version| &**version.key()));
        let indexes = known_indexes(view, self.registry.now());
        let may_name = |node: usize| self.may_name(node);
        let question = Question {
            nodes: &view.nodes,
            indexes: &indexes,
            verdict: &view.verdict,
            key,
            may_name: &may_name,
        };
        let steps: Vec<String> = question.steps().iter().map(ToString::to_string).collect();
        let decision = key.and_then(|key| view.verdict.version(key));
        let (outcome, rule, until) = match decision.map(|decision| &decision.outcome) {
            None if key.is_none() => ("package", None, None),
            None => ("unknown", None, None),
            Some(Outcome::Offered { .. }) => ("offered", None, None),
            Some(Outcome::Withheld { rule, until }) => ("withheld", Some(self.rule(rule)), *until),
        };
        let (outcome, rule) = match &refusal {
            Some(refusal) => ("withheld", Some(refusal.clone())),
            None => (outcome, rule),
        };
        let asked = version.map(|version| format!("@{version}")).unwrap_or_default();
        let (format, repository) = (self.place.package.format, &self.place.repository.row.name);
        Explanation {
            question: format!("{format} {name}{asked} in {repository}"),
            answer: refusal
                .or_else(|| steps.last().map(|said| self.in_an_outage(said, decision)))
                .unwrap_or_default(),
            outcome: outcome.to_owned(),
            supplied_by: decision.map(|decision| self.place_of(decision.source)),
            rule,
            until,
            publish: self.publish(key, decision),
            publish_time: decision.map(|decision| (decision.time.at, decision.time.source)),
            steps,
        }
    }

    /// The conclusion, with what a public registry that does not answer leaves open.
    fn in_an_outage(&self, said: &str, decision: Option<&Decision>) -> String {
        match (&self.view.failure, self.view.stale_s) {
            (Some(failure), _) if decision.is_none() => {
                format!(
                    "{said}; but a public registry does not answer, so clients get an error: {}",
                    failure.message
                )
            }
            (_, Some(age)) => format!("{said} (public registries as last known, {age} s ago)"),
            _ => said.to_owned(),
        }
    }

    fn may_name(&self, node: usize) -> bool {
        let owner = &self.place.domain.row.owner;
        let repository = self.view.repositories.get(node);
        repository.is_some_and(|repository| self.registry.may_name(self.caller, owner, &repository.arn))
    }

    fn repository(&self, node: usize) -> String {
        if self.may_name(node) {
            format!("repository '{}'", self.view.nodes[node].repository)
        } else {
            "another repository".to_owned()
        }
    }

    fn place_of(&self, source: Source) -> String {
        match source {
            Source::Held { node, .. } => self.repository(node),
            Source::Public { node, .. } => match &self.view.nodes[node].connection {
                Some(connection) => format!("{connection} (connection of {})", self.repository(node)),
                None => self.repository(node),
            },
        }
    }

    fn rule(&self, rule: &Rule) -> String {
        match rule {
            Rule::Status(status) => format!("its status is {status}"),
            Rule::WaitingTime => "public versions wait before they are offered (waiting time)".to_owned(),
            Rule::Reserved(reservation) => {
                let by = match reservation.by {
                    ReservedBy::InternalVersion => "holds an INTERNAL version of it",
                    ReservedBy::PutRecord => "has its controls put to publish=ALLOW, upstream=BLOCK",
                };
                format!("the name is reserved, since {} {by}", self.repository(reservation.node))
            }
        }
    }

    /// The controls of the record, and what a publish would meet.
    fn publish(&self, key: Option<&str>, decision: Option<&Decision>) -> String {
        let here = self.repository(0);
        let record = self.view.nodes.first().and_then(|node| node.record.as_ref());
        let controls = record.map(|record| record.controls).unwrap_or_default();
        let effective = controls.effective();
        let source =
            if controls.put.or(controls.learned).is_some() { controls.source() } else { "no version yet" };
        let (publish, upstream) = (effective.publish.as_str(), effective.upstream.as_str());
        let told = format!("publish={publish}, upstream={upstream} in {here} ({source})");
        if effective.publish == Control::Block {
            return format!("{told}: a publish is refused");
        }
        let held = record.zip(key).and_then(|(record, key)| record.versions.iter().find(|v| *v.key == *key));
        if let Some(held) = held {
            return format!(
                "{told}: this version is here with the status {}, so the same files change nothing and others \
                 are refused",
                held.status
            );
        }
        let reachable = decision.filter(|decision| {
            !matches!(decision.outcome, Outcome::Withheld { rule: Rule::Reserved(_), .. })
        });
        if let Some(decision) = reachable {
            return format!(
                "{told}: a publish is refused, since {} has this version",
                self.place_of(decision.source)
            );
        }
        format!("{told}: a publish is allowed{}", self.afterwards())
    }

    /// What becomes of public versions once a version is published here.
    fn afterwards(&self) -> &'static str {
        let path = &self.view.verdict.path;
        if !self.registry.inner.settings.rules.reserve_internal_names {
            return "";
        }
        if path.reserved.is_some() {
            return "; the name is reserved, and public versions stay invisible";
        }
        if path.merged_at.is_some() {
            return "; public versions stay visible beside it, since an EXTERNAL one came to this path first";
        }
        let external = |node: usize| {
            self.view.nodes[node].record.as_ref().is_some_and(|record| record.first_external_at.is_some())
        };
        if path.repositories().any(external) {
            return "; public versions stay visible beside it, since an EXTERNAL one came to this path first";
        }
        if path.connections().next().is_some() {
            return "; it reserves the name, and public versions become invisible on this path";
        }
        ""
    }
}

/// What was known of the public indexes on the path, as the verdict saw it.
fn known_indexes(view: &PackageView, now: Timestamp) -> BTreeMap<usize, PublicIndex> {
    let unavailable: BTreeMap<usize, &String> =
        view.verdict.unavailable.iter().map(|(node, why)| (*node, why)).collect();
    let index = |node: usize| match (view.remotes.get(&node), unavailable.get(&node)) {
        (Some(remote), _) => {
            let versions = remote.versions.iter().map(|version| PublicVersion {
                key: version.version.key().clone(),
                text: version.version.as_str().into(),
                time: publish_time(version, now),
                flags: version.flags.clone(),
            });
            PublicIndex::Known(KnownIndex { versions: versions.collect(), tags: remote.tags.clone() })
        }
        (None, Some(why)) => PublicIndex::Unavailable((*why).clone()),
        (None, None) => PublicIndex::Absent,
    };
    view.verdict.path.connections().map(|node| (node, index(node))).collect()
}
