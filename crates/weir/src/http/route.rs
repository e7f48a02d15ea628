//! Where a request goes, decided from its decoded path and the authority the client used (pure).

use std::mem::take;
use weir_core::name::shown;
use weir_protocol::Face;
use weir_protocol::face::VirtualHost;

/// The doors of the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `GET /healthz`
    Health,
    /// `GET /readyz`
    Ready,
    /// `GET /metrics`
    Metrics,
    /// A repository of a format.
    Package(Place),
    /// None of these; the text says what there is.
    Nowhere(String),
}

/// A repository as a path or a host names it, unchecked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The format's name.
    pub(crate) format: String,
    /// The domain's name.
    pub(crate) domain: String,
    /// Its owner.
    pub(crate) owner: String,
    /// The repository's name.
    pub(crate) repository: String,
    /// How many segments named it.
    pub(crate) consumed: usize,
    /// Whether the host named domain and owner.
    pub(crate) by_host: bool,
}

impl Place {
    /// `DOMAIN/REPOSITORY`, the realm of a challenge.
    pub(crate) fn realm(&self) -> String {
        [&self.domain, "/", &self.repository].concat()
    }

    /// The address of the repository, ending in `/`, under what the client used.
    pub(crate) fn address(&self, face: &Face) -> String {
        let Self { format, domain, owner, repository, .. } = self;
        let Face { scheme, authority, prefix } = face;
        if self.by_host {
            return [scheme, "://", authority, prefix, "/", format, "/", repository, "/"].concat();
        }
        [scheme, "://", authority, prefix, "/", format, "/d/", domain, "-", owner, "/", repository, "/"]
            .concat()
    }
}

/// Finds the door for the segments of a path below the prefix; the control API's are not among them. What names a
/// repository is taken out of the segments.
pub(crate) fn route(segments: &mut [String], host: Option<&VirtualHost>) -> Route {
    match segments {
        [door] if door == "healthz" => Route::Health,
        [door] if door == "readyz" => Route::Ready,
        [door] if door == "metrics" => Route::Metrics,
        [format, d, name, repository, ..] if d == "d" => match name.rfind('-') {
            Some(hyphen) => {
                let owner = name.split_off(hyphen + 1);
                name.truncate(hyphen);
                Route::Package(Place {
                    format: take(format),
                    domain: take(name),
                    owner,
                    repository: take(repository),
                    consumed: 4,
                    by_host: false,
                })
            }
            None => Route::Nowhere(format!(
                "'{}' is not of the form DOMAIN-OWNER, as in /npm/d/local-000000000000/main/",
                shown(name)
            )),
        },
        // A repository's name has two characters at least, so 'd' is none.
        [format, repository, ..] if repository != "d" && host.is_some() => {
            let host = host.expect("it was just found to be there");
            Route::Package(Place {
                format: take(format),
                domain: host.domain.as_str().to_owned(),
                owner: host.owner.as_str().to_owned(),
                repository: take(repository),
                consumed: 2,
                by_host: true,
            })
        }
        _ => Route::Nowhere(format!(
            "nothing is at /{}; repositories are at /FORMAT/d/DOMAIN-OWNER/REPOSITORY/, with a format of {}",
            shown(&segments.join("/")),
            crate::formats::names()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_protocol::face::virtual_host;

    fn check(path: &str, authority: &str) -> Route {
        let (mut segments, _) = weir_protocol::target::parse_path(path).unwrap();
        let host = virtual_host(authority, &["packages.example.test".to_owned()]);
        route(&mut segments, host.as_ref())
    }

    #[track_caller]
    fn package(path: &str, authority: &str) -> Place {
        match check(path, authority) {
            Route::Package(place) => place,
            other => panic!("{path} at {authority} gave {other:?}"),
        }
    }

    #[test]
    fn the_path_shape_names_format_domain_owner_and_repository() {
        let place = package("/npm/d/my-team-123456789012/main/@scope%2fname", "127.0.0.1:8090");
        assert_eq!(
            (place.format.as_str(), place.domain.as_str(), place.owner.as_str()),
            ("npm", "my-team", "123456789012")
        );
        assert_eq!((place.repository.as_str(), place.consumed), ("main", 4));
        assert_eq!(
            place.address(&Face::from_url("test", "http://127.0.0.1:8090").unwrap()),
            "http://127.0.0.1:8090/npm/d/my-team-123456789012/main/"
        );
    }

    #[test]
    fn a_virtual_host_names_domain_and_owner() {
        for authority in [
            "my-team-123456789012.d.codeartifact.eu-west-1.amazonaws.com",
            "my-team-123456789012.codeartifact.eu-west-1.on.aws:443",
            "my-team-123456789012.d.packages.example.test:8443",
        ] {
            let place = package("/pypi/main/simple/", authority);
            assert_eq!(
                (place.domain.as_str(), place.owner.as_str(), place.consumed),
                ("my-team", "123456789012", 2)
            );
            assert_eq!(
                place.address(&Face::from_url("test", "https://host").unwrap()),
                "https://host/pypi/main/"
            );
            let by_path = package("/npm/d/other-000000000000/main/x", authority);
            assert_eq!((by_path.domain.as_str(), by_path.by_host), ("other", false));
        }
    }

    #[test]
    fn the_other_doors_are_found_and_the_rest_is_nowhere() {
        let local = "127.0.0.1:8090";
        assert_eq!(check("/healthz", local), Route::Health);
        assert_eq!(check("/readyz", local), Route::Ready);
        assert_eq!(check("/metrics", local), Route::Metrics);
        for path in
            ["/", "/npm", "/npm/main/left-pad", "/npm/d/local-000000000000", "/npm/d/x/main", "/weir/v2/x"]
        {
            assert!(matches!(check(path, local), Route::Nowhere(_)), "{path}");
        }
    }
}
