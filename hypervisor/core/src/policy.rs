//! Which domain may do what: one table, and what it does not allow is forbidden.
//!
//! Domains that nobody joined are strangers, and strangers have nothing to do with each other.

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
    /// Shut that domain down, from outside.
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
    /// A domain that it was joined with (`mote,peers`, `MOTE_JOIN`).
    Peer,
    /// Any other.
    Stranger,
    /// Any, itself too, to the control domain.
    Controlled,
}

/// What a domain may do with itself, with a peer and with a stranger, and the control domain with any.
pub const POLICY: [(Action, [bool; 4]); 8] = [
    (Action::JoinEvents, [true, true, false, true]),
    (Action::Manage, [true, false, false, true]),
    (Action::UseGrants, [true, true, false, true]),
    (Action::ChangeMemory, [true, false, false, true]),
    (Action::MapForeign, [false, false, false, true]),
    (Action::Shutdown, [false, false, false, true]),
    (Action::Console, [true, false, false, true]),
    (Action::Control, [false, false, false, true]),
];

/// Whether the table allows it.
pub fn allows(action: Action, relation: Relation) -> bool {
    is_in(&POLICY, action, relation)
}

fn is_in(policy: &[(Action, [bool; 4])], action: Action, relation: Relation) -> bool {
    policy.iter().any(|(of, allowed)| *of == action && allowed[relation as usize])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::String;

    const RELATIONS: [Relation; 4] = [Relation::Itself, Relation::Peer, Relation::Stranger, Relation::Controlled];

    /// Every action there is: the compiler knows when one is missing here.
    fn actions() -> impl Iterator<Item = Action> {
        let next = |action: &Action| {
            Some(match action {
                Action::JoinEvents => Action::Manage,
                Action::Manage => Action::UseGrants,
                Action::UseGrants => Action::ChangeMemory,
                Action::ChangeMemory => Action::MapForeign,
                Action::MapForeign => Action::Shutdown,
                Action::Shutdown => Action::Console,
                Action::Console => Action::Control,
                Action::Control => return None,
            })
        };
        core::iter::successors(Some(Action::JoinEvents), next)
    }

    fn pairs() -> impl Iterator<Item = (Action, Relation)> {
        actions().flat_map(|action| RELATIONS.map(|relation| (action, relation)))
    }

    /// What is wanted, said a second time in another way.
    fn is_wanted(action: Action, relation: Relation) -> bool {
        match (action, relation) {
            (_, Relation::Controlled) => true,
            (_, Relation::Stranger) | (Action::MapForeign | Action::Shutdown | Action::Control, _) => false,
            (Action::JoinEvents | Action::UseGrants, Relation::Itself | Relation::Peer) => true,
            (_, relation) => relation == Relation::Itself,
        }
    }

    #[test]
    fn every_pair_is_decided_as_wanted() {
        assert_eq!(pairs().count(), POLICY.len() * RELATIONS.len());
        for (action, relation) in pairs() {
            assert_eq!(POLICY.iter().filter(|(of, _)| *of == action).count(), 1, "{action:?} has not one row");
            assert_eq!(allows(action, relation), is_wanted(action, relation), "{action:?} of {relation:?}");
        }
    }

    #[test]
    fn what_has_no_row_is_forbidden() {
        for (action, relation) in pairs() {
            let others: std::vec::Vec<_> = POLICY.into_iter().filter(|(of, _)| *of != action).collect();
            assert!(!is_in(&others, action, relation), "{action:?} of {relation:?}");
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
            Action::Shutdown => "shut down, from outside,",
            Action::Console => "use the machine's console in the name of",
            Action::Control => "create and control",
        }
    }

    #[test]
    fn the_documentation_shows_the_table() {
        let mut table = String::from(
            "| a domain may … | itself | a peer | a stranger | the control domain: any |\n|---|---|---|---|---|\n",
        );
        for (action, allowed) in POLICY {
            let [itself, peer, stranger, controlled] = allowed.map(|allowed| if allowed { "yes" } else { "no" });
            table += &format!("| {} | {itself} | {peer} | {stranger} | {controlled} |\n", name(action));
        }
        let support = include_str!("../../../SUPPORT.md");
        assert!(support.contains(&table), "SUPPORT.md lacks\n{table}");
    }
}
