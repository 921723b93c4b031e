//! What each domain has used, and how much it may.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::error::Error;
use crate::node::Node;
use crate::path::Path;
use crate::permissions::Permissions;
use crate::tree::{Nodes, measure};

/// How much an unprivileged domain may use. The defaults are those of Xen's xenstored, where it has them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Nodes that it owns.
    pub nodes: usize,
    /// Watches.
    pub watches: usize,
    /// Transactions that are open.
    pub transactions: usize,
    /// Nodes that a transaction looks at or changes.
    pub transaction_nodes: usize,
    /// Entries in a node's permissions.
    pub permissions: usize,
    /// Bytes of a node: its value, its children's names, its permissions.
    pub node_size: usize,
    /// Bytes of its nodes, watches, transactions and messages that wait for it together.
    pub memory: usize,
    /// Messages that wait for it before its requests do.
    pub outstanding: usize,
    /// Bytes of messages that wait for it. Of further changes it is told once for each watch, and no more precisely.
    pub queue: usize,
    /// Bytes that all unprivileged domains use together: beyond it none of them gets more than is assured.
    pub total: usize,
    /// Bytes that a domain may use whatever others do.
    pub assured: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            nodes: 1000,
            watches: 128,
            transactions: 10,
            transaction_nodes: 1024,
            permissions: 5,
            node_size: 2048,
            memory: 2560 << 10,
            outstanding: 20,
            queue: 64 << 10,
            total: 8 << 20,
            assured: 12 << 10,
        }
    }
}

impl Limits {
    /// Those of a domain that serves devices of many others: what it needs grows with their number, and none of them is to be able to
    /// take it away.
    const fn of_server(&self) -> Self {
        const NODES: usize = 32;
        const BYTES: usize = 4;
        let memory = self.memory.saturating_mul(BYTES);
        Self {
            nodes: self.nodes.saturating_mul(NODES),
            watches: self.watches.saturating_mul(NODES),
            queue: self.queue.saturating_mul(BYTES),
            memory,
            assured: memory,
            ..*self
        }
    }
}

/// What a domain has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Nodes that it owns.
    pub nodes: usize,
    /// Entries with its number in the permissions of nodes that it does not own.
    pub mentions: usize,
    /// Bytes.
    pub memory: usize,
    /// Watches.
    pub watches: usize,
    /// Open transactions.
    pub transactions: usize,
}

/// The usage of every domain that there is.
#[derive(Debug)]
pub(crate) struct Ledger {
    // Private: `total` is the sum of what is charged to all domains but domain 0.
    accounts: BTreeMap<u16, Usage>,
    total: usize,
    limits: Limits,
    /// Those of domains that serve devices, and who these are.
    servers_limits: Limits,
    servers: BTreeSet<u16>,
}

impl Ledger {
    pub const fn new(limits: Limits) -> Self {
        let servers_limits = limits.of_server();
        Self { accounts: BTreeMap::new(), total: 0, limits, servers_limits, servers: BTreeSet::new() }
    }

    /// The limits that are the same for all domains, and those of an ordinary one.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The limits of `domain`.
    pub fn limits_of(&self, domain: u16) -> &Limits {
        if self.servers.contains(&domain) { &self.servers_limits } else { &self.limits }
    }

    /// The domain serves devices.
    pub fn serves(&mut self, domain: u16) {
        self.servers.insert(domain);
    }

    pub fn open(&mut self, domain: u16) {
        self.accounts.entry(domain).or_default();
    }

    pub fn close(&mut self, domain: u16) {
        self.accounts.remove(&domain);
        self.servers.remove(&domain);
    }

    /// Whether there is such a domain.
    pub fn knows(&self, domain: u16) -> bool {
        self.accounts.contains_key(&domain)
    }

    pub fn usage(&self, domain: u16) -> Usage {
        self.accounts.get(&domain).copied().unwrap_or_default()
    }

    pub fn usages(&self) -> impl Iterator<Item = &Usage> {
        self.accounts.values()
    }

    pub const fn total(&self) -> usize {
        self.total
    }

    pub fn account(&mut self, domain: u16) -> &mut Usage {
        self.accounts.entry(domain).or_default()
    }

    /// Whether `domain` may use so many bytes more.
    ///
    /// # Errors
    /// [`Error::NoMemory`] if not.
    pub fn admit(&self, domain: u16, bytes: usize) -> Result<(), Error> {
        let fits = |used: usize, limit| used.checked_add(bytes).is_some_and(|sum| sum <= limit);
        let (own, limits) = (self.usage(domain).memory, self.limits_of(domain));
        let has_more = fits(own, limits.memory) && fits(self.total, limits.total);
        if has_more || fits(own, limits.assured) { Ok(()) } else { Err(Error::NoMemory) }
    }

    pub fn charge(&mut self, domain: u16, bytes: usize) {
        self.account(domain).memory += bytes;
        if domain != 0 {
            self.total += bytes;
        }
    }

    pub fn refund(&mut self, domain: u16, bytes: usize) {
        let account = self.account(domain);
        account.memory = account.memory.saturating_sub(bytes);
        if domain != 0 {
            self.total = self.total.saturating_sub(bytes);
        }
    }

    /// A node is in the tree.
    pub fn enter(&mut self, path: &Path, node: &Node) {
        self.add(&node.permissions, 1, node.cost(path));
    }

    /// It is there no more.
    pub fn leave(&mut self, path: &Path, node: &Node) {
        self.subtract(&node.permissions, 1, node.cost(path));
    }

    /// Nodes with all below them are in the tree, the topmost with a path of this length. The answer is how many they are.
    pub fn enter_all(&mut self, length: usize, nodes: &Nodes) -> usize {
        self.by_permissions(length, nodes, Self::add)
    }

    /// They are there no more.
    pub fn leave_all(&mut self, length: usize, nodes: &Nodes) -> usize {
        self.by_permissions(length, nodes, Self::subtract)
    }

    /// So many nodes with these permissions, of so many bytes together, are in the tree.
    fn add(&mut self, permissions: &Permissions, nodes: usize, bytes: usize) {
        let owner = permissions.owner();
        self.charge(owner, bytes);
        self.account(owner).nodes += nodes;
        permissions.others().for_each(|domain| self.account(domain).mentions += nodes);
    }

    /// They are there no more.
    fn subtract(&mut self, permissions: &Permissions, nodes: usize, bytes: usize) {
        let owner = permissions.owner();
        self.refund(owner, bytes);
        self.account(owner).nodes -= nodes;
        permissions.others().for_each(|domain| self.account(domain).mentions -= nodes);
    }

    /// Calls `change` for the nodes, as many at once as follow each other with the same permissions. The answer is how many all are.
    fn by_permissions(
        &mut self,
        length: usize,
        nodes: &Nodes,
        change: fn(&mut Self, &Permissions, usize, usize),
    ) -> usize {
        let (mut all, mut count, mut bytes) = (0, 0, 0);
        let mut last: Option<&Permissions> = None;
        measure(length, nodes, |length, _, _, node| {
            // Most have the permissions of the one before.
            if let Some(last) = last.filter(|last| !last.is_same(&node.permissions)) {
                change(self, last, core::mem::take(&mut count), core::mem::take(&mut bytes));
            }
            last = Some(&node.permissions);
            bytes += node.cost_at(length);
            count += 1;
            all += 1;
        });
        last.into_iter().for_each(|last| change(self, last, count, bytes));
        all
    }
}
