//! All nodes, as they are for everybody who is in no transaction.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::ledger::Ledger;
use crate::node::Node;
use crate::path::{Path, Placed};

/// Nodes by path. Whatever changes a node makes it a node of a new generation.
// Private: each node but the root is among its parent's children, and each of them is in the ledger.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: BTreeMap<Path, Arc<Node>>,
    generation: u64,
    /// What changed since it was last written down, if it is.
    pub changed: Option<Vec<Changed>>,
}

/// What has changed, to be written down in this order.
#[derive(Debug)]
pub(crate) enum Changed {
    /// A node, which is as it is now; if it is there no more, that comes later.
    Node(Path),
    /// A node went, with all below it.
    Gone(Path),
}

impl Tree {
    pub fn get(&self, path: &Path) -> Option<&Arc<Node>> {
        self.nodes.get(path)
    }

    /// The node above a path's.
    pub fn above(&self, path: &Path) -> Option<&Arc<Node>> {
        self.nodes.get(&path.above() as &dyn Placed)
    }

    pub fn generation(&self, path: &Path) -> Option<u64> {
        self.get(path).map(|node| node.generation)
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// All paths, parents before children.
    pub fn paths(&self) -> Vec<&Path> {
        parents_first(self.nodes.keys().collect())
    }

    fn note(&mut self, path: &Path) {
        let Some(changed) = &mut self.changed else { return };
        if !matches!(changed.last(), Some(Changed::Node(last)) if last == path) {
            changed.push(Changed::Node(path.clone()));
        }
    }

    /// Notes that what is at a path goes with all below it.
    pub fn note_gone(&mut self, path: &Path) {
        if let Some(changed) = &mut self.changed {
            changed.push(Changed::Gone(path.clone()));
        }
    }

    fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    pub fn insert(&mut self, path: &Path, mut node: Arc<Node>, ledger: &mut Ledger) {
        Arc::make_mut(&mut node).generation = self.next_generation();
        self.note(path);
        ledger.enter(path, &node);
        if let Some(before) = self.nodes.insert(path.clone(), node) {
            ledger.leave(path, &before);
        }
    }

    pub fn modify(&mut self, path: &Path, change: impl FnOnce(&mut Node), ledger: &mut Ledger) {
        self.note(path);
        let generation = self.next_generation();
        let Some(node) = self.nodes.get_mut(path) else { return };
        ledger.leave(path, node);
        let node = Arc::make_mut(node);
        change(node);
        node.generation = generation;
        ledger.enter(path, node);
    }

    /// Puts a node with its children in place of one without, which was written down.
    pub fn adopt(&mut self, path: &Path, mut node: Node, ledger: &mut Ledger) {
        node.generation = self.next_generation();
        ledger.enter(path, &node);
        if let Some(before) = self.nodes.insert(path.clone(), Arc::new(node)) {
            ledger.leave(path, &before);
        }
    }

    /// Changes which children the node above `path` has, which is not written down: it follows from these.
    pub fn modify_above(&mut self, path: &Path, change: impl FnOnce(&mut Node), ledger: &mut Ledger) {
        let generation = self.next_generation();
        let Some(node) = self.nodes.get_mut(&path.above() as &dyn Placed) else { return };
        let (owner, before) = (node.permissions.owner(), node.size());
        let node = Arc::make_mut(node);
        change(node);
        node.generation = generation;
        ledger.refund(owner, before);
        ledger.charge(owner, node.size());
    }

    /// Takes a node out. That it is gone is to be noted by whoever knows what goes with it.
    pub fn take(&mut self, path: &Path, ledger: &mut Ledger) -> Option<Arc<Node>> {
        let node = self.nodes.remove(path)?;
        ledger.leave(path, &node);
        Some(node)
    }

    /// Takes a node out that has no others below it.
    pub fn remove(&mut self, path: &Path, ledger: &mut Ledger) {
        if self.take(path, ledger).is_some() {
            self.note_gone(path);
        }
    }

    /// The nodes that name `domain` in their permissions, parents before children.
    pub fn mentioning(&self, domain: u16) -> Vec<Path> {
        let found = self.nodes.iter().filter(|(_, node)| node.permissions.mention(domain));
        parents_first(found.map(|(path, _)| path).collect()).into_iter().cloned().collect()
    }
}

fn parents_first(mut paths: Vec<&Path>) -> Vec<&Path> {
    paths.sort_unstable_by_key(|path| path.as_str());
    paths
}
