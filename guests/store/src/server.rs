//! The server: nodes, domains and clients together.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::rc::Rc;
use alloc::vec::Vec;

use mote_protocols::xs_wire::{Header, PAYLOAD_MAX, kind};

use crate::error::Error;
use crate::ledger::{Ledger, Limits, Usage};
use crate::local::Local;
use crate::node::Node;
use crate::path::Path;
use crate::permissions::{Access, Permissions};
use crate::session::{Message, Name, Session};
use crate::transaction::{Payer, Transaction};
use crate::tree::Tree;
use crate::view::{Caller, View};
use crate::watch::{Change, Watch, Watches, cost};

/// Fires when a domain is introduced.
pub const INTRODUCED: &str = "@introduceDomain";
/// Fires when a domain shuts down or is released.
pub const RELEASED: &str = "@releaseDomain";

/// Bytes of events that wait for a part of the program: one that does not take them loses further ones.
const LOCAL_QUEUE: usize = 1 << 20;

/// What a client of domain 0 asked for that takes more than the server itself: the program has to do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Map the domain's page, which is its frame `frame`, bind its event channel and serve its ring.
    Introduce {
        /// The domain.
        domain: u16,
        /// Its frame.
        frame: u64,
        /// Its port.
        port: u32,
    },
    /// Unmap the domain's page and unbind its event channel.
    Release {
        /// The domain.
        domain: u16,
    },
}

/// What is known of a domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Domain {
    pub introduced: bool,
    pub shut_down: bool,
    pub target: Option<u16>,
}

/// The server. It does nothing by itself: requests are handed to it, and what waits for a client is taken from it.
// Private: every domain in `domains` has an account in the ledger, and a session if it is introduced.
#[derive(Debug)]
pub struct Server {
    pub(crate) tree: Tree,
    pub(crate) ledger: Ledger,
    pub(crate) watches: Watches,
    pub(crate) domains: BTreeMap<u16, Domain>,
    pub(crate) sessions: BTreeMap<Name, Session>,
    /// Clients for which something waits.
    ready: BTreeSet<Name>,
    effects: VecDeque<Effect>,
    locals: u32,
    /// The domains as they were last written down.
    pub(crate) written: BTreeMap<u16, Domain>,
}

impl Server {
    /// A server that knows domain 0 alone, with the nodes that always are.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let mut server = Self {
            tree: Tree::default(),
            ledger: Ledger::new(limits),
            watches: Watches::default(),
            domains: BTreeMap::new(),
            sessions: BTreeMap::new(),
            ready: BTreeSet::new(),
            effects: VecDeque::new(),
            locals: 0,
            written: BTreeMap::new(),
        };
        server.create(0);
        let mine = Permissions::new(0, Access::NONE, &[]);
        for path in [Path::root(), Path::special(INTRODUCED), Path::special(RELEASED)] {
            server.tree.insert(&path, Rc::new(Node::new(Vec::new(), mine.clone())), &mut server.ledger);
        }
        server
    }

    /// There is such a domain: permissions may name it.
    pub fn create(&mut self, domain: u16) {
        self.ledger.open(domain);
        self.domains.entry(domain).or_default();
    }

    /// Whether there is such a domain.
    #[must_use]
    pub fn knows(&self, domain: u16) -> bool {
        self.ledger.knows(domain)
    }

    /// The domains that there are.
    pub fn domains(&self) -> impl Iterator<Item = u16> {
        self.domains.keys().copied()
    }

    /// The domain becomes a client. If it is one, it begins anew.
    pub fn introduce(&mut self, domain: u16) {
        self.create(domain);
        self.clear(Name::Domain(domain));
        self.sessions.insert(Name::Domain(domain), Session::default());
        let known = self.domains.entry(domain).or_default();
        if !core::mem::replace(&mut known.introduced, true) {
            self.fire_special(INTRODUCED);
        }
    }

    /// The domain has shut down: who wants to know is told, once.
    pub fn shut_down(&mut self, domain: u16) {
        let known = self.domains.get_mut(&domain).filter(|known| known.introduced);
        if known.is_some_and(|known| !core::mem::replace(&mut known.shut_down, true)) {
            self.fire_special(RELEASED);
        }
    }

    /// The domain is no more: its watches, transactions and nodes go, and no permission names it any longer.
    pub fn release(&mut self, domain: u16) {
        if domain == 0 {
            return;
        }
        let name = Name::Domain(domain);
        self.clear(name);
        self.sessions.remove(&name);
        self.disown(domain);
        for known in self.domains.values_mut() {
            known.target = known.target.filter(|target| *target != domain);
        }
        self.ledger.close(domain);
        if self.domains.remove(&domain).is_some_and(|known| known.introduced) {
            self.fire_special(RELEASED);
        }
    }

    /// The domain's connection begins anew or is broken: its watches and transactions go, and what waits for it.
    pub fn reset(&mut self, domain: u16) {
        self.clear(Name::Domain(domain));
    }

    fn clear(&mut self, client: Name) {
        self.forget(client);
        while self.take(client).is_some() {}
        if let Some(session) = self.sessions.get_mut(&client) {
            *session = Session::default();
        }
    }

    /// Takes what the program has to do for a client.
    pub fn take_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Adds a part of the program as a client.
    pub fn open(&mut self) -> u32 {
        self.locals += 1;
        self.sessions.insert(Name::Local(self.locals), Session::default());
        self.locals
    }

    /// The domain serves devices of others: it may use more than these.
    pub fn serves(&mut self, domain: u16) {
        self.ledger.serves(domain);
    }

    /// The client that [`Server::open`] gave this number.
    pub fn local(&mut self, number: u32) -> Local<'_> {
        Local::new(self, Name::Local(number))
    }

    /// Takes the next message for a domain, header and payload.
    pub fn take_message(&mut self, domain: u16) -> Option<Vec<u8>> {
        self.take(Name::Domain(domain)).map(Message::encode)
    }

    pub(crate) fn take(&mut self, client: Name) -> Option<Message> {
        let outbox = &mut self.sessions.get_mut(&client)?.outbox;
        let message = outbox.pop();
        if outbox.len() == 0 {
            self.ready.remove(&client);
        }
        let message = message?;
        self.ledger.refund(client.domain(), message.size());
        Some(message)
    }

    /// Whether the domain's requests are to wait until it has taken what waits for it.
    #[must_use]
    pub fn is_behind(&self, domain: u16) -> bool {
        let Some(session) = self.sessions.get(&Name::Domain(domain)) else { return true };
        session.outbox.len() >= self.ledger.limits().outstanding || session.outbox.bytes() >= PAYLOAD_MAX
    }

    /// The clients for which something waits.
    pub fn ready(&self) -> impl Iterator<Item = Name> {
        self.ready.iter().copied()
    }

    /// What a domain has used.
    #[must_use]
    pub fn usage(&self, domain: u16) -> Usage {
        self.ledger.usage(domain)
    }

    /// Bytes that all unprivileged domains have used.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.ledger.total()
    }

    /// What all domains together have, of nodes also what domain 0 has.
    #[must_use]
    pub fn totals(&self) -> Usage {
        let all = self.ledger.usages().fold(Usage::default(), |sum, usage| Usage {
            nodes: 0,
            mentions: sum.mentions + usage.mentions,
            memory: sum.memory + usage.memory,
            watches: sum.watches + usage.watches,
            transactions: sum.transactions + usage.transactions,
        });
        Usage { nodes: self.tree.len(), ..all }
    }

    /// A node's value, as the program itself may see it.
    #[must_use]
    pub fn peek(&self, path: &str) -> Option<&[u8]> {
        let path = Path::parse(path.as_bytes(), 0, false).ok()?;
        self.tree.get(&path).map(|node| node.value.as_slice())
    }

    /// Handles a request of a domain. The answer waits for it from then on.
    pub fn handle(&mut self, domain: u16, header: Header, payload: &[u8]) {
        let client = Name::Domain(domain);
        if !self.sessions.contains_key(&client) {
            return;
        }
        let answer = self.dispatch(client, header, payload);
        let answer = answer.and_then(|answer| if answer.len() > PAYLOAD_MAX { Err(Error::TooBig) } else { Ok(answer) });
        let (kind, payload) = match answer {
            Ok(answer) => (header.kind, answer),
            Err(error) => (kind::ERROR, [error.name().as_bytes(), &[0]].concat()),
        };
        let header = Header { kind, length: payload.len() as u32, ..header };
        self.push(client, Message::Reply(header, payload));
    }

    /// Has every watch of a client tell of its own path.
    pub(crate) fn tell_all(&mut self, client: Name) {
        let (sessions, ready, ledger) = (&mut self.sessions, &mut self.ready, &mut self.ledger);
        let mut post = Post { sessions, ready, ledger };
        for (path, watch) in self.watches.of(client) {
            let seen = path.seen_from(watch.relative.then_some(client.domain()));
            post.tell(client, &watch.token, seen, seen);
        }
    }

    pub(crate) fn push(&mut self, client: Name, message: Message) {
        let Some(session) = self.sessions.get_mut(&client) else { return };
        self.ledger.charge(client.domain(), message.size());
        session.outbox.push(message);
        self.ready.insert(client);
    }

    pub(crate) fn effect(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    /// Does something with the nodes as `client` sees them, and has watches fire.
    pub(crate) fn with<T>(
        &mut self,
        client: Name,
        transaction: Option<&mut Transaction>,
        what: impl FnOnce(&mut View) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let caller = caller(&self.domains, client);
        let (tree, ledger, watches) = (&mut self.tree, &mut self.ledger, &self.watches);
        let mut view = View { tree, ledger, watches, caller, transaction, changes: Vec::new() };
        let result = what(&mut view);
        let changes = view.changes;
        self.fire(&changes);
        result
    }

    pub(crate) fn start_transaction(&mut self, client: Name) -> Result<u32, Error> {
        let (domain, limited) = (client.domain(), !client.privileged());
        if limited && self.ledger.usage(domain).transactions >= self.ledger.limits().transactions {
            return Err(Error::NoSpace);
        }
        let session = self.sessions.get_mut(&client).ok_or(Error::Broken)?;
        let number = session.transaction_number();
        session.transactions.insert(number, Transaction::new(Payer { domain, limited }));
        self.ledger.account(domain).transactions += 1;
        Ok(number)
    }

    /// Takes a transaction out, so that something can be done in it; [`Server::put_transaction`] puts it back.
    pub(crate) fn take_transaction(&mut self, client: Name, number: u32) -> Option<Transaction> {
        self.sessions.get_mut(&client)?.transactions.remove(&number)
    }

    pub(crate) fn put_transaction(&mut self, client: Name, number: u32, transaction: Transaction) {
        if let Some(session) = self.sessions.get_mut(&client) {
            session.transactions.insert(number, transaction);
        }
    }

    pub(crate) fn end_transaction(
        &mut self,
        client: Name,
        transaction: Transaction,
        commit: bool,
    ) -> Result<(), Error> {
        self.ledger.account(client.domain()).transactions -= 1;
        if !commit {
            transaction.discard(&mut self.ledger);
            return Ok(());
        }
        let changes = transaction.commit(&mut self.tree, &mut self.ledger)?;
        self.fire(&changes);
        Ok(())
    }

    pub(crate) fn watch(&mut self, client: Name, name: &[u8], token: &[u8]) -> Result<(), Error> {
        let domain = client.domain();
        let path = Path::parse(name, domain, true)?;
        let relative = !name.starts_with(b"/") && !name.starts_with(b"@");
        if self.watches.contains(&path, client, token) {
            return Err(Error::Exists);
        }
        let bytes = cost(&path, token);
        if !client.privileged() {
            if self.ledger.usage(domain).watches >= self.ledger.limits_of(domain).watches {
                return Err(Error::TooBig);
            }
            self.ledger.admit(domain, bytes)?;
        }
        self.watches.add(&path, Watch { client, token: token.into(), relative })?;
        self.ledger.charge(domain, bytes);
        self.ledger.account(domain).watches += 1;
        let seen = path.seen_from(relative.then_some(domain));
        self.post().tell(client, token, seen, seen);
        Ok(())
    }

    pub(crate) fn unwatch(&mut self, client: Name, name: &[u8], token: &[u8]) -> Result<(), Error> {
        let domain = client.domain();
        let path = Path::parse(name, domain, true)?;
        self.watches.remove(&path, client, token)?;
        self.ledger.refund(domain, cost(&path, token));
        self.ledger.account(domain).watches -= 1;
        Ok(())
    }

    /// Ends all watches and transactions of a client.
    pub(crate) fn forget(&mut self, client: Name) {
        let domain = client.domain();
        if self.ledger.usage(domain).watches > 0 {
            let (bytes, count) = self.watches.remove_all(client);
            self.ledger.refund(domain, bytes);
            self.ledger.account(domain).watches -= count;
        }
        let session = self.sessions.get_mut(&client);
        for (_, transaction) in session.map(|session| core::mem::take(&mut session.transactions)).unwrap_or_default() {
            self.ledger.account(domain).transactions -= 1;
            transaction.discard(&mut self.ledger);
        }
    }

    /// Removes the domain's nodes, and its number from all others' permissions, in transactions too: a domain that
    /// comes to have the same number inherits nothing.
    fn disown(&mut self, domain: u16) {
        let usage = self.ledger.usage(domain);
        if usage.nodes + usage.mentions > 0 {
            for path in self.tree.mentioning(domain) {
                let Some(node) = self.tree.get(&path) else { continue };
                if node.permissions.owner() == domain {
                    let _ = self.with(Name::Domain(0), None, |view| view.remove(&path));
                } else {
                    let without = |node: &mut Node| node.permissions = node.permissions.without(|id| id == domain);
                    self.tree.modify(&path, without, &mut self.ledger);
                }
            }
        }
        let sessions = self.sessions.values_mut().flat_map(|session| session.transactions.values_mut());
        sessions.filter(|transaction| transaction.mentions(domain)).for_each(|each| each.fail(Error::Again));
    }

    const fn post(&mut self) -> Post<'_> {
        Post { sessions: &mut self.sessions, ready: &mut self.ready, ledger: &mut self.ledger }
    }

    fn fire_special(&mut self, name: &'static str) {
        let change = Change { path: Path::special(name), subtree: false, before: None, parent: None };
        self.fire(&[change]);
    }

    /// Tells of changes whoever watches them and may know.
    fn fire(&mut self, changes: &[Change]) {
        // Changes next to each other are watched from above by the same.
        let mut last: Option<&str> = None;
        let mut above = Vec::new();
        for change in changes {
            let place = change.path.above();
            if change.subtree && last != Some(place) {
                above = self.watches.above(&change.path);
                last = Some(place);
            }
            let of_subtree = if change.subtree { &*above } else { &[] };
            let found = of_subtree.iter().copied().chain(self.watches.at(&change.path));
            let mut found = found.flat_map(|(path, all)| all.iter().map(move |watch| (path, watch))).peekable();
            if found.peek().is_none() {
                continue;
            }
            let after = self.tree.get(&change.path).map(|node| &node.permissions);
            let visible = [change.before.as_ref(), after, change.parent.as_ref()];
            for (watched, watch) in found {
                let caller = caller(&self.domains, watch.client);
                if !visible.into_iter().flatten().any(|permissions| caller.access(permissions).read) {
                    continue;
                }
                let home = watch.relative.then_some(watch.client.domain());
                let (path, all) = (change.path.seen_from(home), watched.seen_from(home));
                let (sessions, ready, ledger) = (&mut self.sessions, &mut self.ready, &mut self.ledger);
                Post { sessions, ready, ledger }.tell(watch.client, &watch.token, path, all);
            }
        }
    }
}

fn caller(domains: &BTreeMap<u16, Domain>, client: Name) -> Caller {
    let domain = client.domain();
    let target = domains.get(&domain).and_then(|known| known.target);
    Caller { domain, target, privileged: client.privileged() }
}

/// What telling a client takes of the server.
struct Post<'a> {
    sessions: &'a mut BTreeMap<Name, Session>,
    ready: &'a mut BTreeSet<Name>,
    ledger: &'a mut Ledger,
}

impl Post<'_> {
    /// Has an event wait for a client: that something has changed at `path`, or, if too much waits for it already, somewhere below
    /// `watched`. However much others change that it watches, it loses no more than that, and has no more wait than one event for each
    /// watch besides what it may.
    fn tell(&mut self, client: Name, token: &[u8], path: &str, watched: &str) {
        let Some(session) = self.sessions.get_mut(&client) else { return };
        let event = |path: &str| Message::Event { path: path.into(), token: token.into() };
        let is_too_long = |path: &str| path.len() + token.len() + 2 > PAYLOAD_MAX;
        let (mut message, domain) = (event(path), client.domain());
        let is_special = path.starts_with('@');
        if !is_special && session.outbox.contains(&message) {
            return;
        }
        let limit = if client.privileged() { LOCAL_QUEUE } else { self.ledger.limits_of(domain).queue };
        let has_room = session.outbox.bytes() + message.size() <= limit
            && (client.privileged() || self.ledger.admit(domain, message.size()).is_ok());
        if !has_room || is_too_long(path) {
            message = event(watched);
            if is_too_long(watched) || session.outbox.contains(&message) {
                return;
            }
        }
        self.ledger.charge(domain, message.size());
        session.outbox.push(message);
        self.ready.insert(client);
    }
}
