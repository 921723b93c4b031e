//! The server written down as records, so that another one can go on where it ended: domains, their watches, and nodes with owner and
//! permissions. What else there is of a domain's connection is written down with that: [`crate::Connection::save`].
//!
//! A record is what changed between two moments, as a whole: a transaction's nodes are in one record.

use alloc::rc::Rc;
use alloc::vec::Vec;

use mote_protocols::xs_wire::Header;
use zerocopy::{FromBytes, IntoBytes};

use crate::error::Error;
use crate::node::Node;
use crate::path::Path;
use crate::permissions::Permissions;
use crate::server::{Domain, Server};
use crate::session::{Message, Name};
use crate::transaction::{Payer, Transaction};
use crate::tree::{Changed, measure};
use crate::watch::{Watch, cost};

/// A record is not one of this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// What an item of a record begins with.
mod item {
    pub const DOMAIN: u8 = 1;
    pub const WATCH: u8 = 2;
    pub const NODE: u8 = 3;
    pub const NO_NODE: u8 = 4;
    pub const NO_DOMAIN: u8 = 5;
    pub const NODES: u8 = 6;
}

const INTRODUCED: u8 = 1;
const SHUT_DOWN: u8 = 2;
const HAS_TARGET: u8 = 4;

/// Nodes in one record of a snapshot.
const NODES: usize = 32;

impl Server {
    /// From now on notes what changes, for [`Server::changes`].
    pub fn keep(&mut self) {
        self.tree.changed.get_or_insert_default();
        self.watches.changed.get_or_insert_default();
    }

    /// What changed since this or [`Server::snapshot`] was last called, as a record, if anything did.
    pub fn changes(&mut self) -> Option<Vec<u8>> {
        let watching = self.watches.changed.as_mut().map(core::mem::take).unwrap_or_default();
        let changed = self.tree.changed.as_mut().map(core::mem::take).unwrap_or_default();
        /// Bytes that a node takes as a rule, and many that are planted together.
        const NODE: usize = 80;
        const PLANTED: usize = 1024;
        let size = |change: &Changed| if let Changed::Planted(_) = change { PLANTED } else { NODE };
        let mut record = Vec::with_capacity(changed.iter().map(size).sum());
        for (&id, domain) in &self.domains {
            if self.written.get(&id) != Some(domain) || watching.contains(&id) {
                self.put_domain(&mut record, id, domain);
            }
        }
        for change in changed {
            match change {
                Changed::Node(path) => self.put_node(&mut record, &path),
                Changed::Planted(path) => self.put_nodes(&mut record, &path),
                Changed::Gone(path) => {
                    record.push(item::NO_NODE);
                    put(&mut record, path.as_str().as_bytes());
                }
            }
        }
        for id in self.written.keys().filter(|id| !self.domains.contains_key(id)) {
            record.push(item::NO_DOMAIN);
            record.extend(id.to_le_bytes());
        }
        if self.written != self.domains {
            self.written.clone_from(&self.domains);
        }
        (!record.is_empty()).then_some(record)
    }

    /// All that there is, as records for an empty server.
    pub fn snapshot(&mut self) -> Vec<Vec<u8>> {
        self.written.clear();
        if let Some(changed) = &mut self.tree.changed {
            changed.clear();
        }
        let domains = self.changes();
        let paths = self.tree.paths();
        let nodes = paths.chunks(NODES).map(|paths| {
            let mut record = Vec::new();
            paths.iter().for_each(|path| self.put_node(&mut record, path));
            record
        });
        domains.into_iter().chain(nodes).collect()
    }

    /// Does what a record says has happened. No watch fires.
    ///
    /// # Errors
    /// [`Malformed`]; what comes before the place that is, is done.
    pub fn replay(&mut self, record: &[u8]) -> Result<(), Malformed> {
        // That is written down already.
        let changed = self.tree.changed.take();
        let replayed = self.replay_all(Reader(record));
        self.tree.changed = changed;
        replayed
    }

    fn replay_all(&mut self, mut reader: Reader<'_>) -> Result<(), Malformed> {
        while !reader.0.is_empty() {
            match reader.byte()? {
                item::DOMAIN => self.get_domain(&mut reader)?,
                item::WATCH => self.get_watch(&mut reader)?,
                item::NODE => self.get_node(&mut reader)?,
                item::NODES => self.get_nodes(&mut reader)?,
                item::NO_NODE => drop(self.tree.uproot(&reader.path()?, &mut self.ledger)),
                item::NO_DOMAIN => self.drop_domain(reader.number()?),
                _ => return Err(Malformed),
            }
        }
        Ok(())
    }

    /// Writes down what a domain's connection has with the server: answers that wait and the numbers of its transactions.
    pub(crate) fn save_session(&self, domain: u16, record: &mut Vec<u8>) {
        let Some(session) = self.sessions.get(&Name::Domain(domain)) else { return };
        record.extend(session.last_transaction.to_le_bytes());
        record.extend((session.transactions.len() as u32).to_le_bytes());
        session.transactions.keys().for_each(|number| record.extend(number.to_le_bytes()));
        for (header, payload) in session.outbox.replies() {
            record.extend(header.as_bytes());
            put(record, payload);
        }
    }

    /// Goes on with that. What a transaction had done is lost: it fails when it is to be committed, as if others had been faster. Every
    /// watch tells of its own path once, because events may be lost.
    pub(crate) fn resume_session(&mut self, domain: u16, reader: &mut Reader) -> Result<(), Malformed> {
        let client = Name::Domain(domain);
        let session = self.sessions.get_mut(&client).ok_or(Malformed)?;
        session.last_transaction = reader.word()?;
        for _ in 0..reader.word()? {
            let mut transaction = Transaction::new(Payer { domain, limited: !client.privileged() });
            transaction.fail(Error::Again);
            session.transactions.insert(reader.word()?, transaction);
            self.ledger.account(domain).transactions += 1;
        }
        while !reader.0.is_empty() {
            let (header, payload) = (reader.header()?, reader.bytes()?.to_vec());
            self.push(client, Message::Reply(header, payload));
        }
        self.tell_all(client);
        Ok(())
    }

    fn put_domain(&self, record: &mut Vec<u8>, id: u16, domain: &Domain) {
        let flags =
            [(domain.introduced, INTRODUCED), (domain.shut_down, SHUT_DOWN), (domain.target.is_some(), HAS_TARGET)];
        record.push(item::DOMAIN);
        record.extend(id.to_le_bytes());
        record.push(flags.iter().filter(|(is, _)| *is).fold(0, |all, (_, flag)| all | flag));
        record.extend(domain.target.unwrap_or(0).to_le_bytes());
        for (path, watch) in self.watches.of(Name::Domain(id)) {
            record.push(item::WATCH);
            record.extend(id.to_le_bytes());
            record.push(watch.relative.into());
            put(record, path.as_str().as_bytes());
            put(record, &watch.token);
        }
    }

    fn get_domain(&mut self, reader: &mut Reader) -> Result<(), Malformed> {
        let (id, flags, target) = (reader.number()?, reader.byte()?, reader.number()?);
        let has = |flag| flags & flag != 0;
        self.create(id);
        self.forget(Name::Domain(id));
        let target = has(HAS_TARGET).then_some(target);
        self.domains.insert(id, Domain { introduced: has(INTRODUCED), shut_down: has(SHUT_DOWN), target });
        if has(INTRODUCED) {
            self.sessions.entry(Name::Domain(id)).or_default();
        }
        Ok(())
    }

    fn get_watch(&mut self, reader: &mut Reader) -> Result<(), Malformed> {
        let (domain, relative, path) = (reader.number()?, reader.byte()? != 0, reader.path()?);
        let token = reader.bytes()?;
        if !self.domains.contains_key(&domain) {
            return Err(Malformed);
        }
        let watch = Watch { client: Name::Domain(domain), token: token.into(), relative };
        self.watches.add(&path, watch).map_err(|_| Malformed)?;
        self.ledger.charge(domain, cost(&path, token));
        self.ledger.account(domain).watches += 1;
        Ok(())
    }

    fn put_node(&self, record: &mut Vec<u8>, path: &Path) {
        // If it is gone, that is what is written down later.
        let Some(node) = self.tree.get(path) else { return };
        record.push(item::NODE);
        put(record, path.as_str().as_bytes());
        put(record, &node.value);
        node.permissions.save(record);
    }

    fn get_node(&mut self, reader: &mut Reader) -> Result<(), Malformed> {
        let (path, value, permissions) = (reader.path()?, reader.bytes()?, reader.permissions()?);
        self.restore(&path, value, permissions)
    }

    fn restore(&mut self, path: &Path, value: &[u8], permissions: Permissions) -> Result<(), Malformed> {
        if self.tree.get(path).is_some() {
            let change = |node: &mut Node| (node.value, node.permissions) = (value.into(), permissions);
            self.tree.modify(path, change, &mut self.ledger);
            return Ok(());
        }
        if self.tree.above(path).is_none() {
            return Err(Malformed);
        }
        self.tree.insert(path, Rc::new(Node::new(value.into(), permissions)), &mut self.ledger);
        self.tree.modify_above(path, |node| node.add_child(&path.name().into()), &mut self.ledger);
        Ok(())
    }

    /// Writes down a node with all below it: how many they are, and of each how many others of them it is below, its name, value, and
    /// permissions if they are not those of the one before.
    fn put_nodes(&self, record: &mut Vec<u8>, path: &Path) {
        let Some(nodes) = self.tree.at(path) else { return };
        record.push(item::NODES);
        put(record, path.as_str().as_bytes());
        let place = record.len();
        record.extend([0; 4]);
        let (mut count, mut last) = (0_u32, None::<&Permissions>);
        measure(0, nodes, |_, depth, name, node| {
            let is_same = last.is_some_and(|last| last.is_same(&node.permissions));
            let ([a, b], [c, d], [e, f]) = (depth.to_le_bytes(), length(name.as_bytes()), length(&node.value));
            record.extend_from_slice(&[a, b, c, d, e, f, is_same.into()]);
            record.extend_from_slice(name.as_bytes());
            record.extend_from_slice(&node.value);
            if !is_same {
                node.permissions.save(record);
            }
            last = Some(&node.permissions);
            count += 1;
        });
        record.iter_mut().skip(place).zip(count.to_le_bytes()).for_each(|(to, byte)| *to = byte);
    }

    fn get_nodes(&mut self, reader: &mut Reader) -> Result<(), Malformed> {
        let (mut way, mut last) = (Vec::from([reader.path()?]), None);
        for _ in 0..reader.word()? {
            let depth = usize::from(reader.number()?);
            let (name, value, is_same) = (reader.number()?, reader.number()?, reader.byte()? != 0);
            let (name, value) = (reader.part(name.into())?, reader.part(value.into())?);
            let permissions = if is_same { last.ok_or(Malformed)? } else { reader.permissions()? };
            last = Some(permissions.clone());
            if let Some(above) = depth.checked_sub(1) {
                way.truncate(depth);
                let name = str::from_utf8(name).map_err(|_| Malformed)?;
                let path = way.get(above).ok_or(Malformed)?.below(name);
                way.push(Path::parse(path.as_str().as_bytes(), 0, false).map_err(|_| Malformed)?);
            }
            self.restore(way.last().ok_or(Malformed)?, value, permissions)?;
        }
        Ok(())
    }

    fn drop_domain(&mut self, id: u16) {
        self.forget(Name::Domain(id));
        self.sessions.remove(&Name::Domain(id));
        self.domains.remove(&id);
        self.ledger.close(id);
    }
}

/// Writes bytes with their length.
pub(crate) fn put(record: &mut Vec<u8>, bytes: &[u8]) {
    // Paths, tokens and values come from messages of 4 KiB at most; permissions of one are longer, but not that much.
    record.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    record.extend_from_slice(bytes);
}

/// The length of a name, or of a value that the toolstack plants: both are far shorter.
const fn length(bytes: &[u8]) -> [u8; 2] {
    (bytes.len() as u16).to_le_bytes()
}

/// What is left of a record.
pub(crate) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Result<u16, Malformed> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(u16::from_le_bytes(*bytes))
    }

    pub fn word(&mut self) -> Result<u32, Malformed> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*bytes))
    }

    fn permissions(&mut self) -> Result<Permissions, Malformed> {
        let size = usize::from(self.number()?) * Permissions::ENTRY;
        Permissions::load(self.part(size)?.as_chunks().0).ok_or(Malformed)
    }

    pub fn header(&mut self) -> Result<Header, Malformed> {
        let (header, rest) = Header::read_from_prefix(self.0).map_err(|_| Malformed)?;
        self.0 = rest;
        Ok(header)
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.word()?;
        self.part(length as usize)
    }

    fn part(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (part, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(part)
    }

    fn path(&mut self) -> Result<Path, Malformed> {
        Path::parse(self.bytes()?, 0, true).map_err(|_| Malformed)
    }
}
