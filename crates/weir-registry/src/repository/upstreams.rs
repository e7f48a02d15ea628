//! Which upstreams a repository may have: of the same domain, at most ten, with consent, without a circle.

use crate::Registry;
use crate::topology::{DomainState, absent_repository};
use std::collections::{HashMap, HashSet};
use weir_core::error::Resource;
use weir_core::{Action, Arn, Caller, Error, RepositoryName, Result, quota};
use weir_store::rows::{Id, RepositoryRow};

impl Registry {
    /// The identifiers of the wanted upstreams of `row`. Each one that it has not yet needs the consent
    /// `AssociateWithDownstreamRepository`. `held` are the repositories of the domain as of now.
    pub(super) fn resolve_upstreams(
        &self,
        caller: &Caller,
        domain: &DomainState,
        held: &[RepositoryRow],
        row: &RepositoryRow,
        wanted: &[RepositoryName],
    ) -> Result<Vec<Id>> {
        if wanted.len() > quota::DIRECT_UPSTREAMS {
            return Err(Error::QuotaExceeded {
                resource: Resource::Repository,
                id: row.name.to_string(),
                message: format!(
                    "upstreams: {} were given; a repository has at most {} direct upstreams",
                    wanted.len(),
                    quota::DIRECT_UPSTREAMS
                ),
            });
        }
        let by_name: HashMap<&RepositoryName, &RepositoryRow> =
            held.iter().map(|repository| (&repository.name, repository)).collect();
        let mut seen = HashSet::new();
        let mut ids = Vec::with_capacity(wanted.len());
        for name in wanted {
            if *name == row.name {
                return Err(Error::invalid(
                    "upstreams",
                    format_args!("'{name}' cannot be an upstream of itself"),
                ));
            }
            if !seen.insert(name) {
                return Err(Error::invalid("upstreams", format_args!("'{name}' is there twice")));
            }
            let upstream = by_name.get(name).ok_or_else(|| absent_repository(domain, name))?;
            if !row.upstreams.contains(&upstream.id) {
                let arn = self.repository_arn(domain, name);
                let absent = || absent_repository(domain, name);
                let consent = Action::AssociateWithDownstreamRepository;
                self.authorize(caller, consent, &arn, &domain.row.owner, absent)?;
            }
            ids.push(upstream.id.clone());
        }
        let mut graph: HashMap<&Id, &[Id]> =
            held.iter().map(|repository| (&repository.id, &*repository.upstreams)).collect();
        graph.insert(&row.id, &ids);
        if let Some(circle) = cycle(&graph, &row.id) {
            return Err(self.circle_refused(caller, domain, held, row, &circle));
        }
        Ok(ids)
    }

    fn circle_refused(
        &self,
        caller: &Caller,
        domain: &DomainState,
        held: &[RepositoryRow],
        row: &RepositoryRow,
        circle: &[Id],
    ) -> Error {
        let shown: Vec<&str> = circle
            .iter()
            .map(|id| {
                let repository = held.iter().find(|repository| repository.id == *id).unwrap_or(row);
                let arn: Arn = self.repository_arn(domain, &repository.name);
                let named = *id == row.id || self.may_name(caller, &domain.row.owner, &arn);
                if named { repository.name.as_str() } else { "another repository" }
            })
            .collect();
        Error::invalid(
            "upstreams",
            format_args!("they would make a circle: {}; take one of these links away", shown.join(" -> ")),
        )
    }
}

/// The way from `start` back to itself along upstreams, both ends included, if there is one.
fn cycle(graph: &HashMap<&Id, &[Id]>, start: &Id) -> Option<Vec<Id>> {
    let mut came_from: HashMap<&Id, &Id> = HashMap::new();
    let mut waiting = vec![start];
    while let Some(at) = waiting.pop() {
        for next in graph.get(at).copied().unwrap_or_default() {
            if next == start {
                let mut path = vec![start.clone()];
                let mut back = at;
                while back != start {
                    path.push(back.clone());
                    back = came_from.get(back).expect("every visited node but the start was come to");
                }
                path.push(start.clone());
                path.reverse();
                return Some(path);
            }
            if !came_from.contains_key(next) {
                came_from.insert(next, at);
                waiting.push(next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(edges: &[(&str, &[&str])], start: &str) -> Option<Vec<String>> {
        let edges: Vec<(Id, Vec<Id>)> = edges
            .iter()
            .map(|(from, to)| (Id::from(*from), to.iter().map(|to| Id::from(*to)).collect()))
            .collect();
        let graph = edges.iter().map(|(from, to)| (from, &**to)).collect();
        cycle(&graph, &start.into()).map(|path| path.iter().map(|id| id.to_string()).collect())
    }

    #[test]
    fn a_circle_is_found_with_its_way() {
        let way = found(&[("a", &["x", "b"]), ("b", &["c"]), ("c", &["a"]), ("x", &[])], "a");
        assert_eq!(way.expect("a circle"), ["a", "b", "c", "a"]);
    }

    #[test]
    fn a_diamond_is_no_circle() {
        assert_eq!(found(&[("a", &["b", "c"]), ("b", &["d"]), ("c", &["d"]), ("d", &[])], "a"), None);
    }

    #[test]
    fn a_circle_elsewhere_does_not_trap_the_search() {
        assert_eq!(found(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])], "a"), None);
    }
}
