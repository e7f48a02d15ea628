//! The list of formats that are built in; the ninth goes here.

use weir_protocol::protocol::Protocol;
use weir_registry::Format;

/// The formats, in the order in which first start makes their repositories.
pub(crate) static FORMATS: &[&dyn Protocol] = &[&weir_npm::Npm, &weir_pypi::PyPi, &weir_generic::Generic];

/// The formats AWS CodeArtifact has; of these a missing one is said to be missing rather than unknown.
pub(crate) const KNOWN: [&str; 8] = ["npm", "pypi", "maven", "nuget", "ruby", "cargo", "swift", "generic"];

/// The format of that name.
pub(crate) fn find(name: &str) -> Option<&'static dyn Protocol> {
    FORMATS.iter().copied().find(|format| format.name().as_str() == name)
}

/// The formats as the spine sees them.
pub(crate) fn for_registry() -> Vec<&'static dyn Format> {
    FORMATS.iter().map(|format| *format as &dyn Format).collect()
}

/// Names of the external connections that the formats know.
pub(crate) fn connection_names() -> Vec<&'static str> {
    FORMATS.iter().flat_map(|format| format.connections()).map(|connection| connection.name).collect()
}

/// The formats that are built in, for messages.
pub(crate) fn names() -> String {
    FORMATS.iter().map(|format| format.name().as_str()).collect::<Vec<_>>().join(", ")
}
