//! Which domain may do what: one table, and what it does not allow is forbidden.
//!
//! Domains that the configuration did not join are strangers, and strangers have nothing to do with each other.

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

/// What a domain may do with itself, with a peer and with a stranger.
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
    POLICY.iter().any(|(of, allowed)| *of == action && allowed[relation as usize])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::String;

    #[test]
    fn every_action_has_one_row_and_strangers_have_nothing() {
        for (action, _) in POLICY {
            assert_eq!(POLICY.iter().filter(|(of, _)| *of == action).count(), 1);
            assert!(!allows(action, Relation::Stranger), "{action:?}");
            assert!(!allows(action, Relation::Peer) || allows(action, Relation::Itself));
        }
    }

    /// How the documentation puts it.
    const fn name(action: Action) -> &'static str {
        match action {
            Action::JoinEvents => "connect event channels with",
            Action::Manage => "inspect and reset the ports and parameters of",
            Action::UseGrants => "map and copy what was granted by",
            Action::ChangeMemory => "change the memory map of",
            Action::MapForeign => "map, unasked, the memory of",
            Action::Shutdown => "shut down",
            Action::Console => "use the machine's console in the name of",
            Action::Control => "create and control",
        }
    }

    #[test]
    fn the_documentation_shows_the_table() {
        let mut table = String::from("| a domain may … | itself | a peer | a stranger |\n|---|---|---|---|\n");
        for (action, allowed) in POLICY {
            let [itself, peer, stranger] = allowed.map(|allowed| if allowed { "yes" } else { "no" });
            table += &format!("| {} | {itself} | {peer} | {stranger} |\n", name(action));
        }
        let support = include_str!("../../../SUPPORT.md");
        assert!(support.contains(&table), "SUPPORT.md lacks\n{table}");
    }
}
