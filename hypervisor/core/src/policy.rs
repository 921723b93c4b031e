//! Which domain may do what: said in one place, and what it does not allow is forbidden.
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
    /// Write to the machine's console, under its own name.
    Console,
    /// Clone that template, destroy that clone.
    Clone,
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
    /// Such a one, to a driver domain (`mote,driver`).
    Served,
    /// Any other.
    Stranger,
    /// Any, itself too, to the control domain.
    Controlled,
}

/// Whether a domain may do it with one that stands so to it. What is not named here is forbidden.
pub const fn allows(action: Action, relation: Relation) -> bool {
    use Action::*;
    match relation {
        Relation::Itself => matches!(action, JoinEvents | Manage | UseGrants | ChangeMemory | Console),
        Relation::Peer => matches!(action, JoinEvents | UseGrants),
        Relation::Served => matches!(action, JoinEvents | UseGrants | Clone),
        Relation::Stranger => false,
        Relation::Controlled => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::String;

    const RELATIONS: [Relation; 5] =
        [Relation::Itself, Relation::Peer, Relation::Served, Relation::Stranger, Relation::Controlled];

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
                Action::Console => Action::Clone,
                Action::Clone => Action::Control,
                Action::Control => return None,
            })
        };
        core::iter::successors(Some(Action::JoinEvents), next)
    }

    /// What is wanted, as the documentation shows it: with itself, with a peer, as a driver domain with one, with a stranger, and the control
    /// domain with any.
    const POLICY: [(Action, [bool; 5]); 9] = [
        (Action::JoinEvents, [true, true, true, false, true]),
        (Action::Manage, [true, false, false, false, true]),
        (Action::UseGrants, [true, true, true, false, true]),
        (Action::ChangeMemory, [true, false, false, false, true]),
        (Action::MapForeign, [false, false, false, false, true]),
        (Action::Shutdown, [false, false, false, false, true]),
        (Action::Console, [true, false, false, false, true]),
        (Action::Clone, [false, false, true, false, true]),
        (Action::Control, [false, false, false, false, true]),
    ];

    #[test]
    fn every_pair_is_decided_as_wanted() {
        assert_eq!(actions().count(), POLICY.len());
        for (action, (of, allowed)) in actions().zip(POLICY) {
            assert_eq!(action, of);
            assert_eq!(RELATIONS.map(|relation| allows(action, relation)), allowed, "{action:?}");
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
            Action::Clone => "clone, if it is a template, and destroy, if it is a clone,",
            Action::Control => "create and control",
        }
    }

    #[test]
    fn the_documentation_shows_the_table() {
        let mut table = String::from(
            "| a domain may … | itself | a peer | a driver domain: a peer | a stranger | the control domain: any |\n|---|---|---|---|---|---|\n",
        );
        for (action, allowed) in POLICY {
            let answers = allowed.map(|allowed| if allowed { "yes" } else { "no" });
            table += &format!("| {} | {} |\n", name(action), answers.join(" | "));
        }
        let support = include_str!("../../../SUPPORT.md");
        assert!(support.contains(&table), "SUPPORT.md lacks\n{table}");
    }
}
