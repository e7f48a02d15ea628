//! Origin controls of a package record: may it be published here, may it come from upstream
//! (AWS guide, page package-origin-controls).

/// ALLOW or BLOCK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Control {
    /// Allowed.
    Allow,
    /// Blocked.
    Block,
}

impl Control {
    /// The word AWS uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "ALLOW",
            Self::Block => "BLOCK",
        }
    }

    /// Parses the word AWS uses.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "ALLOW" => Some(Self::Allow),
            "BLOCK" => Some(Self::Block),
            _ => None,
        }
    }
}

/// The pair of controls of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Controls {
    /// May versions be published directly?
    pub publish: Control,
    /// May versions come from upstream repositories or the external connection?
    pub upstream: Control,
}

impl Controls {
    /// No restriction.
    pub const ALLOW: Self = Self { publish: Control::Allow, upstream: Control::Allow };
    /// Learned when the first version was published.
    pub const PUBLISHED: Self = Self { publish: Control::Allow, upstream: Control::Block };
    /// Learned when the first version was ingested or retained.
    pub const INGESTED: Self = Self { publish: Control::Block, upstream: Control::Allow };
}

/// The controls of a record: those learned from its first version and those put by hand, stored apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct OriginControls {
    /// Learned from the first version; `None` before it.
    pub learned: Option<Controls>,
    /// Put by PutPackageOriginConfiguration; wins.
    pub put: Option<Controls>,
}

impl OriginControls {
    /// What applies: put, else learned, else no restriction.
    pub fn effective(self) -> Controls {
        self.put.or(self.learned).unwrap_or(Controls::ALLOW)
    }

    /// "put by hand" or "learned from its first version": for error texts.
    pub fn source(self) -> &'static str {
        if self.put.is_some() { "put by hand" } else { "learned from its first version" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_wins_over_what_is_learned() {
        let learned = OriginControls { learned: Some(Controls::PUBLISHED), put: None };
        assert_eq!(learned.effective(), Controls::PUBLISHED);
        assert_eq!(learned.source(), "learned from its first version");
        let put = OriginControls { put: Some(Controls::ALLOW), ..learned };
        assert_eq!(put.effective(), Controls::ALLOW);
        assert_eq!(put.source(), "put by hand");
        assert_eq!(OriginControls::default().effective(), Controls::ALLOW);
    }

    #[test]
    fn a_control_is_parsed_as_aws_writes_it() {
        for control in [Control::Allow, Control::Block] {
            assert_eq!(Control::parse(control.as_str()), Some(control));
        }
        assert_eq!(Control::parse("allow"), None);
    }
}
