//! All nodes, as they are for everybody who is in no transaction.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::ledger::Ledger;
use crate::node::Node;
use crate::path::Path;

/// Nodes by path. Whatever changes a node makes it a node of a new generation.
// Private: each node but the root is among its parent's children, and each of them is in the ledger.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: BTreeMap<Path, Arc<Node>>,
    generation: u64,
    /// What changed since it was last written down, if it is.
    pub changed: Option<BTreeSet<Path>>,
}

impl Tree {
    pub fn get(&self, path: &Path) -> Option<&Arc<Node>> {
        self.nodes.get(path)
    }

    pub fn generation(&self, path: &Path) -> Option<u64> {
        self.get(path).map(|node| node.generation)
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// All paths, parents before children.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.nodes.keys()
    }

    fn note(&mut self, path: &Path) {
        if let Some(changed) = &mut self.changed {
            changed.insert(path.clone());
        }
    }

    fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    pub fn insert(&mut self, path: &Path, mut node: Arc<Node>, ledger: &mut Ledger) {
        Arc::make_mut(&mut node).generation = self.next_generation();
        self.remove(path, ledger);
        ledger.enter(path, &node);
        self.nodes.insert(path.clone(), node);
    }

    pub fn modify(&mut self, path: &Path, change: impl FnOnce(&mut Node), ledger: &mut Ledger) {
        let generation = self.next_generation();
        self.note(path);
        let Some(node) = self.nodes.get_mut(path) else { return };
        ledger.leave(path, node);
        let node = Arc::make_mut(node);
        change(node);
        node.generation = generation;
        ledger.enter(path, node);
    }

    pub fn remove(&mut self, path: &Path, ledger: &mut Ledger) {
        self.note(path);
        if let Some(node) = self.nodes.remove(path) {
            ledger.leave(path, &node);
        }
    }

    /// The nodes that name `domain` in their permissions, parents before children.
    pub fn mentioning(&self, domain: u16) -> Vec<Path> {
        let found = self.nodes.iter().filter(|(_, node)| node.permissions.mention(domain));
        found.map(|(path, _)| path.clone()).collect()
    }
}
