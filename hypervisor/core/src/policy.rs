//! Which domain may do what: one table, and what it does not allow is forbidden.
//!
//! Domains that the configuration did not join are strangers, and strangers have nothing to do with each other.

use core::fmt;

/// What a domain asks for that concerns somebody, itself perhaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make a port for that domain to connect to, or connect to one that it made.
    JoinEvents,
    /// Ask what a port is, reset ports, read and set parameters.
    Manage,
    /// Map or copy what that domain granted.
    UseGrants,
    /// Change which memory is where, and how much there is.
    ChangeMemory,
    /// Map that domain's memory without its consent.
    MapForeign,
    /// Shut that domain down.
    Shutdown,
    /// Write to and read from the machine's console, under its own name.
    Console,
    /// Create and control domains, ask about the machine.
    Control,
}

/// Whom it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The domain itself.
    Itself,
    /// A domain that the configuration joined it with (`mote,peers`).
    Peer,
    /// Any other.
    Stranger,
}

/// The columns of the table.
pub const RELATIONS: [Relation; 3] = [Relation::Itself, Relation::Peer, Relation::Stranger];

/// What is allowed, in the order of [`RELATIONS`].
pub const POLICY: [(Action, [bool; 3]); 8] = [
    (Action::JoinEvents, [true, true, false]),
    (Action::Manage, [true, false, false]),
    (Action::UseGrants, [true, true, false]),
    (Action::ChangeMemory, [true, false, false]),
    (Action::MapForeign, [false, false, false]),
    (Action::Shutdown, [true, false, false]),
    (Action::Console, [true, false, false]),
    (Action::Control, [false, false, false]),
];

/// Whether the table allows it.
#[must_use]
pub fn allows(action: Action, relation: Relation) -> bool {
    let row = POLICY.iter().find(|(of, _)| *of == action);
    row.is_some_and(|(_, allowed)| RELATIONS.iter().zip(allowed).any(|(of, allowed)| *of == relation && *allowed))
}

/// The table, as text.
#[derive(Clone, Copy, Debug)]
pub struct Table;

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("| a domain may … | itself | a peer | a stranger |\n|---|---|---|---|\n")?;
        for (action, allowed) in POLICY {
            write!(f, "| {} ", action.name())?;
            for allowed in allowed {
                write!(f, "| {} ", if allowed { "yes" } else { "no" })?;
            }
            f.write_str("|\n")?;
        }
        Ok(())
    }
}

impl Action {
    const fn name(self) -> &'static str {
        match self {
            Self::JoinEvents => "connect event channels with",
            Self::Manage => "inspect and reset the ports and parameters of",
            Self::UseGrants => "map and copy what was granted by",
            Self::ChangeMemory => "change the memory map of",
            Self::MapForeign => "map, unasked, the memory of",
            Self::Shutdown => "shut down",
            Self::Console => "use the machine's console in the name of",
            Self::Control => "create and control",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn every_action_has_one_row_and_strangers_have_nothing() {
        for (action, _) in POLICY {
            assert_eq!(POLICY.iter().filter(|(of, _)| *of == action).count(), 1);
            assert!(!allows(action, Relation::Stranger), "{action:?}");
            assert!(!allows(action, Relation::Peer) || allows(action, Relation::Itself));
        }
    }

    #[test]
    fn the_documentation_shows_the_table() {
        let support = include_str!("../../../SUPPORT.md");
        assert!(support.contains(&Table.to_string()), "SUPPORT.md lacks\n{Table}");
    }
}
