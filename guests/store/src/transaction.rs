//! Transactions: what one has looked at and changed, until it is committed or given up.
//!
//! They are optimistic: nobody is kept from anything. What a transaction looks at it keeps, and when it is committed, all of
//! that must still be as it was.

use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;

use crate::error::Error;
use crate::ledger::Ledger;
use crate::node::Node;
use crate::path::Path;
use crate::permissions::Permissions;
use crate::tree::Tree;
use crate::watch::Change;

/// What an entry needs besides the node and its path, in bytes, roughly.
const OVERHEAD: usize = 160;

/// A node that a transaction has looked at.
#[derive(Debug)]
struct Entry {
    /// Its generation in the tree at the first look, if it was there.
    seen: Option<u64>,
    before: Option<Permissions>,
    /// What it is in the transaction.
    node: Option<Rc<Node>>,
    modified: bool,
    /// Whether watches are to fire, and those above as well.
    change: Option<bool>,
    charged: usize,
}

/// Who pays for a transaction, and whether it is bound to quotas.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payer {
    pub domain: u16,
    pub limited: bool,
}

#[derive(Debug)]
pub(crate) struct Transaction {
    entries: BTreeMap<Path, Entry>,
    /// Why it cannot be committed any more.
    failed: Option<Error>,
    /// By how much each domain's number of nodes changes.
    nodes: BTreeMap<u16, isize>,
    payer: Payer,
}

impl Transaction {
    pub const fn new(payer: Payer) -> Self {
        Self { entries: BTreeMap::new(), failed: None, nodes: BTreeMap::new(), payer }
    }

    /// The node as it is in the transaction; from now on it is one that was looked at.
    ///
    /// # Errors
    /// [`Error::NoSpace`] or [`Error::NoMemory`] if the quota does not admit one more. Then the transaction has failed.
    pub fn get(&mut self, path: &Path, tree: &Tree, ledger: &mut Ledger) -> Result<Option<Rc<Node>>, Error> {
        if let Some(entry) = self.entries.get(path) {
            return Ok(entry.node.clone());
        }
        let node = tree.get(path).cloned();
        let charged = OVERHEAD + path.as_str().len() + node.as_ref().map_or(0, |node| node.size());
        self.admit(charged, ledger).inspect_err(|_| self.fail(Error::NoMemory))?;
        ledger.charge(self.payer.domain, charged);
        let seen = node.as_ref().map(|node| node.generation);
        let before = node.as_ref().map(|node| node.permissions.clone());
        let entry = Entry { seen, before, node: node.clone(), modified: false, change: None, charged };
        self.entries.insert(path.clone(), entry);
        Ok(node)
    }

    fn admit(&self, bytes: usize, ledger: &Ledger) -> Result<(), Error> {
        if !self.payer.limited {
            return Ok(());
        }
        if self.entries.len() >= ledger.limits().transaction_nodes {
            return Err(Error::NoSpace);
        }
        ledger.admit(self.payer.domain, bytes)
    }

    pub fn fail(&mut self, error: Error) {
        self.failed.get_or_insert(error);
    }

    /// By how much `domain`'s nodes have become more.
    pub fn nodes(&self, domain: u16) -> isize {
        self.nodes.get(&domain).copied().unwrap_or(0)
    }

    /// Puts a node that the transaction has looked at, or takes it away.
    pub fn put(&mut self, path: &Path, node: Option<Rc<Node>>, ledger: &mut Ledger) {
        let Some(entry) = self.entries.get_mut(path) else { return self.fail(Error::Broken) };
        let owner = |node: &Option<Rc<Node>>| node.as_ref().map(|node| node.permissions.owner());
        if let Some(owner) = owner(&entry.node) {
            *self.nodes.entry(owner).or_default() -= 1;
        }
        if let Some(owner) = owner(&node) {
            *self.nodes.entry(owner).or_default() += 1;
        }
        ledger.refund(self.payer.domain, entry.charged);
        entry.charged = OVERHEAD + path.as_str().len() + node.as_ref().map_or(0, |node| node.size());
        ledger.charge(self.payer.domain, entry.charged);
        entry.node = node;
        entry.modified = true;
    }

    /// Has watches fire when the transaction is committed.
    pub fn note(&mut self, path: &Path, subtree: bool) {
        if let Some(entry) = self.entries.get_mut(path) {
            entry.change = Some(subtree || entry.change == Some(true));
        }
    }

    /// Whether a node in it names `domain`, or what the transaction would change is `domain`'s.
    pub fn mentions(&self, domain: u16) -> bool {
        self.entries.values().any(|entry| entry.node.as_ref().is_some_and(|node| node.permissions.mention(domain)))
    }

    /// Gives it up: what it had is paid no more.
    pub fn discard(self, ledger: &mut Ledger) {
        let charged = self.entries.values().map(|entry| entry.charged).sum();
        if ledger.knows(self.payer.domain) {
            ledger.refund(self.payer.domain, charged);
        }
    }

    /// Makes its changes everybody's, and says what they are.
    ///
    /// # Errors
    /// [`Error::Again`] if something it looked at has changed since, [`Error::NoSpace`] if some domain would own too many
    /// nodes, or whatever had it fail before.
    pub fn commit(mut self, tree: &mut Tree, ledger: &mut Ledger) -> Result<Vec<Change>, Error> {
        let fit = self.check(tree, ledger);
        let entries = core::mem::take(&mut self.entries);
        let charged = entries.values().map(|entry| entry.charged).sum();
        ledger.refund(self.payer.domain, charged);
        fit?;
        let mut changes = Vec::new();
        // In the order of paths: parents before children.
        for (path, entry) in entries.into_iter().filter(|(_, entry)| entry.modified) {
            match entry.node {
                Some(node) => tree.insert(&path, node, ledger),
                None => tree.remove(&path, ledger),
            }
            if let Some(subtree) = entry.change {
                changes.push(Change { path, subtree, before: entry.before, parent: None });
            }
        }
        for change in &mut changes {
            change.parent = tree.above(&change.path).map(|node| node.permissions.clone());
        }
        Ok(changes)
    }

    fn check(&self, tree: &Tree, ledger: &Ledger) -> Result<(), Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.payer.limited {
            let exceeds = |(domain, more): (&u16, &isize)| {
                *more > 0 && ledger.usage(*domain).nodes + more.unsigned_abs() > ledger.limits_of(*domain).nodes
            };
            if self.nodes.iter().any(exceeds) {
                return Err(Error::NoSpace);
            }
        }
        let same = |(path, entry): (&Path, &Entry)| tree.generation(path) == entry.seen;
        if self.entries.iter().all(same) { Ok(()) } else { Err(Error::Again) }
    }
}
