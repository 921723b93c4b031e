//! Random requests of several domains, in and out of transactions, against a plain model of what the protocol says.
//!
//! The model knows no generations: a transaction that is committed must have answered as if all of it had happened at its end,
//! and one that is refused must have had somebody change something meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const PATHS: [&str; 10] = [
    "/local/domain/1",
    "/local/domain/1/a",
    "/local/domain/1/a/b",
    "/local/domain/1/a/b/c",
    "/local/domain/1/a-b",
    "/local/domain/2",
    "/local/domain/2/a",
    "/local/domain/2/a/b",
    "/x",
    "/x/y",
];
const PERMISSIONS: [&str; 6] = ["n1", "n2", "r1", "b2\0n1", "n1\0b2", "n2\0r1"];

#[derive(Clone, Debug, PartialEq)]
struct Node {
    value: String,
    permissions: String,
}

/// What there is.
#[derive(Clone, Debug, PartialEq)]
struct Model(BTreeMap<String, Node>);

#[derive(Clone, Debug)]
enum Op {
    Read,
    Directory,
    Write(String),
    Mkdir,
    Remove,
    GetPermissions,
    SetPermissions(&'static str),
}

type Answer = Result<String, String>;

fn parent(path: &str) -> String {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/".into(),
        Some((above, _)) => above.into(),
    }
}

/// Whether `domain` may do `what`, `r` or `w`.
fn may(permissions: &str, domain: u16, what: char) -> bool {
    let mut entries = permissions.split('\0').map(|entry| (entry.chars().next().unwrap(), entry[1..].parse().unwrap()));
    let (default, owner): (char, u16) = entries.next().unwrap();
    let letter = entries.find(|(_, named)| *named == domain).map_or(default, |(letter, _)| letter);
    domain == 0 || domain == owner || letter == 'b' || letter == what
}

fn owner(permissions: &str) -> &str {
    permissions.split('\0').next().unwrap().trim_start_matches(char::is_alphabetic)
}

impl Model {
    /// As [`server`] has it.
    fn new() -> Self {
        let node = |domain| Node { value: String::new(), permissions: format!("n{domain}") };
        let mut nodes: BTreeMap<_, _> =
            (1..=4).map(|domain| (format!("/local/domain/{domain}"), node(domain))).collect();
        nodes.extend(["/", "/local", "/local/domain"].map(|path| (path.to_string(), node(0))));
        Self(nodes)
    }

    fn find(&self, domain: u16, path: &str, what: char) -> Result<Option<Node>, String> {
        if let Some(node) = self.0.get(path) {
            return if may(&node.permissions, domain, what) { Ok(Some(node.clone())) } else { error("EACCES") };
        }
        let mut above = parent(path);
        while !self.0.contains_key(&above) {
            above = parent(&above);
        }
        if may(&self.0[&above].permissions, domain, what) { Ok(None) } else { error("EACCES") }
    }

    fn make(&mut self, domain: u16, path: &str, value: &str) {
        let above = parent(path);
        if !self.0.contains_key(&above) {
            self.make(domain, &above, "");
        }
        let mut permissions = self.0[&above].permissions.clone();
        if domain != 0 {
            let rest = permissions.split_once('\0').map(|(_, rest)| format!("\0{rest}")).unwrap_or_default();
            permissions = format!("{}{domain}{rest}", &permissions[..1]);
        }
        self.0.insert(path.into(), Node { value: value.into(), permissions });
    }

    fn apply(&mut self, domain: u16, path: &str, op: &Op) -> Answer {
        let what = if matches!(op, Op::Read | Op::Directory | Op::GetPermissions) { 'r' } else { 'w' };
        let node = self.find(domain, path, what)?;
        let missing = || "ENOENT".to_string();
        match op {
            Op::Read => node.map(|node| node.value).ok_or_else(missing),
            Op::GetPermissions => node.map(|node| node.permissions).ok_or_else(missing),
            Op::Directory => {
                node.ok_or_else(missing)?;
                let below = self.0.keys().filter(|other| *other != "/" && parent(other) == path);
                let names: Vec<&str> = below.map(|other| other.rsplit_once('/').unwrap().1).collect();
                Ok(names.join("\0"))
            }
            Op::Write(value) => {
                match self.0.get_mut(path) {
                    Some(node) => node.value.clone_from(value),
                    None => self.make(domain, path, value),
                }
                Ok("OK".into())
            }
            Op::Mkdir => {
                if node.is_none() {
                    self.make(domain, path, "");
                }
                Ok("OK".into())
            }
            Op::Remove if node.is_none() => {
                if self.0.contains_key(&parent(path)) {
                    Ok("OK".into())
                } else {
                    error("ENOENT")
                }
            }
            Op::Remove => {
                let below = format!("{path}/");
                self.0.retain(|other, _| other != path && !other.starts_with(&below));
                Ok("OK".into())
            }
            Op::SetPermissions(permissions) => {
                let node = node.ok_or_else(missing)?;
                let its = owner(&node.permissions);
                if domain != 0 && its != format!("{domain}") {
                    return error("EACCES");
                }
                if domain != 0 && its != owner(permissions) {
                    return error("EPERM");
                }
                self.0.insert(path.into(), Node { permissions: (*permissions).into(), ..node });
                Ok("OK".into())
            }
        }
    }

    /// Who is told what by watches on all paths, if this becomes `after`: by each of `domains`, one event for each change.
    fn events(&self, after: &Self, domain: u16, touched: Option<&str>) -> BTreeSet<String> {
        let paths: BTreeSet<&String> = self.0.keys().chain(after.0.keys()).collect();
        let changed = paths.into_iter().filter(|path| {
            let (before, after) = (self.0.get(*path), after.0.get(*path));
            before != after || touched == Some(path)
        });
        let sees = |node: Option<&Node>| node.is_some_and(|node| may(&node.permissions, domain, 'r'));
        let mut told = BTreeSet::new();
        for path in changed {
            let above = parent(path);
            let visible = [self.0.get(path), after.0.get(path), after.0.get(&above).or(self.0.get(&above))];
            if visible.into_iter().any(sees) {
                told.insert(path.clone());
            }
        }
        told
    }
}

fn send(server: &mut Server, domain: u16, transaction: u32, path: &str, op: &Op) -> Answer {
    let (kind, rest) = match op {
        Op::Read => (kind::READ, String::new()),
        Op::Directory => (kind::DIRECTORY, String::new()),
        Op::Write(value) => (kind::WRITE, value.clone()),
        Op::Mkdir => (kind::MKDIR, String::new()),
        Op::Remove => (kind::RM, String::new()),
        Op::GetPermissions => (kind::GET_PERMS, String::new()),
        Op::SetPermissions(permissions) => (kind::SET_PERMS, format!("{permissions}\0")),
    };
    ask_in(server, domain, transaction, kind, &format!("{path}\0{rest}"))
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        Just(Op::Read),
        Just(Op::Directory),
        "[a-z]{0,3}".prop_map(Op::Write),
        "[a-z]{0,3}".prop_map(Op::Write),
        Just(Op::Mkdir),
        Just(Op::Remove),
        Just(Op::GetPermissions),
        prop::sample::select(&PERMISSIONS[..]).prop_map(Op::SetPermissions),
    ]
}

/// One step of a domain: outside of transactions, or in its only one.
#[derive(Clone, Debug)]
enum Step {
    Direct(&'static str, Op),
    Within(&'static str, Op),
    Commit,
    GiveUp,
}

fn step() -> impl Strategy<Value = (u16, Step)> {
    let path = || prop::sample::select(&PATHS[..]);
    let step = prop_oneof![
        3 => (path(), op()).prop_map(|(path, op)| Step::Direct(path, op)),
        4 => (path(), op()).prop_map(|(path, op)| Step::Within(path, op)),
        2 => Just(Step::Commit),
        1 => Just(Step::GiveUp),
    ];
    (0_u16..3, step)
}

/// A domain's transaction: its number, what was asked and answered in it, and how many changes there were before.
struct Open {
    number: u32,
    log: Vec<(&'static str, Op, Answer)>,
    changes: usize,
}

fn compare(server: &mut Server, model: &Model) {
    for (path, node) in &model.0 {
        assert_eq!(send(server, 0, 0, path, &Op::Read), Ok(node.value.clone()), "{path}");
        assert_eq!(send(server, 0, 0, path, &Op::GetPermissions), Ok(node.permissions.clone()), "{path}");
    }
    let named = PATHS.iter().filter(|path| !model.0.contains_key(**path));
    named.for_each(|path| assert!(send(server, 0, 0, path, &Op::Read).is_err(), "{path}"));
    for domain in 1..=4 {
        let owned = model.0.values().filter(|node| owner(&node.permissions) == format!("{domain}")).count();
        assert_eq!(server.usage(domain).nodes, owned);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn the_server_does_what_the_model_does(steps in prop::collection::vec(step(), 0..60)) {
        let (mut server, mut model) = (server(), Model::new());
        let mut open: BTreeMap<u16, Open> = BTreeMap::new();
        let mut changes = 0;
        for (domain, step) in steps {
            match step {
                Step::Direct(path, op) => {
                    prop_assert_eq!(send(&mut server, domain, 0, path, &op), model.apply(domain, path, &op));
                    changes += 1;
                }
                Step::Within(path, op) => {
                    let transaction = open.entry(domain).or_insert_with(|| Open {
                        number: ask(&mut server, domain, kind::TRANSACTION_START, "\0").unwrap().parse().unwrap(),
                        log: Vec::new(),
                        changes,
                    });
                    let answer = send(&mut server, domain, transaction.number, path, &op);
                    transaction.log.push((path, op, answer));
                }
                Step::Commit => {
                    let Some(transaction) = open.remove(&domain) else { continue };
                    match ask_in(&mut server, domain, transaction.number, kind::TRANSACTION_END, "T\0") {
                        Ok(_) => {
                            changes += 1;
                            for (path, op, answer) in &transaction.log {
                                prop_assert_eq!(answer, &model.apply(domain, path, op));
                            }
                        }
                        Err(error) => {
                            prop_assert_eq!(error, "EAGAIN");
                            prop_assert!(changes > transaction.changes, "nobody changed anything");
                        }
                    }
                }
                Step::GiveUp => {
                    let Some(transaction) = open.remove(&domain) else { continue };
                    ask_in(&mut server, domain, transaction.number, kind::TRANSACTION_END, "F\0").unwrap();
                }
            }
        }
        compare(&mut server, &model);
    }

    #[test]
    fn whoever_may_see_a_change_is_told(steps in prop::collection::vec((0_u16..3, prop::sample::select(&PATHS[..]), op()), 0..30)) {
        let (mut server, mut model) = (server(), Model::new());
        for domain in 0..3 {
            ask(&mut server, domain, kind::WATCH, "/\0t\0").unwrap();
            PATHS.iter().for_each(|path| drop(ask(&mut server, domain, kind::WATCH, &format!("{path}\0own\0")).unwrap()));
            events(&mut server, domain);
        }
        for (domain, path, op) in steps {
            let before = model.clone();
            let done = model.apply(domain, path, &op).is_ok();
            send(&mut server, domain, 0, path, &op).unwrap_or_default();
            let touched = done && matches!(op, Op::Write(_) | Op::SetPermissions(_));
            for watcher in 0..3 {
                let told = events(&mut server, watcher);
                let expected = before.events(&model, watcher, touched.then_some(path));
                let heard: BTreeSet<String> = told.iter().map(|event| event.split(' ').next().unwrap().into()).collect();
                // Of nodes that were made on the way to another nobody is told: the other is below them.
                let on_the_way = |made: &String| path.starts_with(&format!("{made}/")) && !before.0.contains_key(made);
                let expected: BTreeSet<String> = expected.into_iter().filter(|path| !on_the_way(path)).collect();
                prop_assert_eq!(heard, expected, "{} {:?} by {}, to {}", path, op, domain, watcher);
            }
        }
    }
}
