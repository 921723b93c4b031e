//! All nodes, as they are for everybody who is in no transaction.

use alloc::rc::Rc;
use alloc::vec::Vec;

use crate::ledger::Ledger;
use crate::node::Node;
use crate::path::{Names, Path};
use crate::permissions::Permissions;
use crate::trie::{Name, Trie};

/// Nodes with others below them.
pub(crate) type Nodes = Trie<Rc<Node>>;

/// Nodes by path. Whatever changes a node makes it a node of a new generation.
// Private: each node but the root and the special ones is among its parent's children, and each of them is in the ledger.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: Nodes,
    count: usize,
    generation: u64,
    /// What changed since it was last written down, if it is.
    pub changed: Option<Vec<Changed>>,
}

/// What has changed, to be written down in this order.
#[derive(Debug)]
pub(crate) enum Changed {
    /// A node, which is as it is now; if it is there no more, that comes later.
    Node(Path),
    /// The same of a node with all below it.
    Planted(Path),
    /// A node went, with all below it.
    Gone(Path),
}

impl Tree {
    pub fn get(&self, path: &Path) -> Option<&Rc<Node>> {
        self.at(path)?.value()
    }

    /// A node with what is below it.
    pub fn at(&self, path: &Path) -> Option<&Nodes> {
        self.nodes.get(path.names())
    }

    /// The node above a path's.
    pub fn above(&self, path: &Path) -> Option<&Rc<Node>> {
        self.nodes.get(Names::of(path.above()))?.value()
    }

    pub fn generation(&self, path: &Path) -> Option<u64> {
        self.get(path).map(|node| node.generation)
    }

    pub const fn len(&self) -> usize {
        self.count
    }

    /// All paths, parents before children.
    pub fn paths(&self) -> Vec<Path> {
        let mut paths = Vec::new();
        walk(&Path::root(), &self.nodes, |path, _| paths.push(path.clone()));
        paths
    }

    fn note(&mut self, path: &Path) {
        let Some(changed) = &mut self.changed else { return };
        if !matches!(changed.last(), Some(Changed::Node(last)) if last == path) {
            changed.push(Changed::Node(path.clone()));
        }
    }

    fn note_gone(&mut self, path: &Path) {
        if let Some(changed) = &mut self.changed {
            changed.push(Changed::Gone(path.clone()));
        }
    }

    /// A generation that no node has yet.
    pub const fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    pub fn insert(&mut self, path: &Path, mut node: Rc<Node>, ledger: &mut Ledger) {
        Rc::make_mut(&mut node).generation = self.next_generation();
        self.note(path);
        ledger.enter(path, &node);
        match self.nodes.put(path.names(), node) {
            Some(before) => ledger.leave(path, &before),
            None => self.count += 1,
        }
    }

    pub fn modify(&mut self, path: &Path, change: impl FnOnce(&mut Node), ledger: &mut Ledger) {
        self.note(path);
        let generation = self.next_generation();
        let Some(node) = self.nodes.get_mut(path.names()).and_then(Trie::value_mut) else { return };
        ledger.leave(path, node);
        let node = Rc::make_mut(node);
        change(node);
        node.generation = generation;
        ledger.enter(path, node);
    }

    /// Changes which children the node above `path` has, which is not written down: it follows from these.
    pub fn modify_above(&mut self, path: &Path, change: impl FnOnce(&mut Node), ledger: &mut Ledger) {
        let generation = self.next_generation();
        let Some(node) = self.nodes.get_mut(Names::of(path.above())).and_then(Trie::value_mut) else { return };
        self::change(node, generation, ledger, change);
    }

    /// Puts a node with all below it where none is. The answer is the permissions of the node above; if there is none, it is what was to be
    /// put.
    pub fn plant(&mut self, path: &Path, nodes: Nodes, ledger: &mut Ledger) -> Result<Permissions, Nodes> {
        let generation = self.next_generation();
        let above = self.nodes.get_mut(Names::of(path.above()));
        let above = above.and_then(|above| Some((above.value()?.permissions.clone(), above)));
        let Some((permissions, above)) = above else { return Err(nodes) };
        self.count += ledger.enter_all(path.as_str().len(), &nodes);
        above.grow(path.name(), |parent, name| {
            if let Some(parent) = parent {
                change(parent, generation, ledger, |parent| parent.add_child(name));
            }
            nodes
        });
        if let Some(changed) = &mut self.changed {
            changed.push(Changed::Planted(path.clone()));
        }
        Ok(permissions)
    }

    /// Takes a node out with all below it. The answer are also the permissions of the node above.
    pub fn uproot(&mut self, path: &Path, ledger: &mut Ledger) -> Option<(Nodes, Option<Permissions>)> {
        let generation = self.next_generation();
        let above = self.nodes.get_mut(Names::of(path.above()))?;
        let uprooted = above.cut(path.name())?;
        let permissions = above.value_mut().map(|parent| {
            change(parent, generation, ledger, |parent| parent.remove_child(path.name()));
            parent.permissions.clone()
        });
        self.count -= ledger.leave_all(path.as_str().len(), &uprooted);
        self.note_gone(path);
        Some((uprooted, permissions))
    }

    /// Takes a node out; what is below it is to be taken out as well, and its parent to be told.
    pub fn remove(&mut self, path: &Path, ledger: &mut Ledger) {
        if let Some(node) = self.nodes.take(path.names()) {
            self.count -= 1;
            ledger.leave(path, &node);
            self.note_gone(path);
        }
    }

    /// The nodes that name `domain` in their permissions, parents before children.
    pub fn mentioning(&self, domain: u16) -> Vec<Path> {
        let mut found = Vec::new();
        walk(&Path::root(), &self.nodes, |path, node| {
            if node.permissions.mention(domain) {
                found.push(path.clone());
            }
        });
        found
    }
}

/// Changes a node's children.
fn change(node: &mut Rc<Node>, generation: u64, ledger: &mut Ledger, change: impl FnOnce(&mut Node)) {
    let (owner, before) = (node.permissions.owner(), node.size());
    let node = Rc::make_mut(node);
    change(node);
    node.generation = generation;
    ledger.refund(owner, before);
    ledger.charge(owner, node.size());
}

/// Calls `found` with the path of each of the nodes and the node, from the topmost on, parents before children.
pub(crate) fn walk(top: &Path, nodes: &Nodes, mut found: impl FnMut(&Path, &Rc<Node>)) {
    let mut open = Vec::from([(top.clone(), nodes)]);
    while let Some((path, place)) = open.pop() {
        if let Some(node) = place.value() {
            found(&path, node);
        }
        open.extend(place.below().rev().map(|(name, below)| (path.below(name), below)));
    }
}

/// Calls `found` with each of the nodes, the length of its path and its name, parents before children, each by how many others it is
/// below.
pub(crate) fn measure<'a>(length: usize, nodes: &'a Nodes, mut found: impl FnMut(usize, u16, &'a str, &'a Rc<Node>)) {
    let mut open: Vec<(usize, u16, &'a str, &'a Nodes)> = Vec::from([(length, 0, "", nodes)]);
    while let Some((length, depth, name, place)) = open.pop() {
        if let Some(node) = place.value() {
            found(length, depth, name, node);
        }
        let below = |(name, below): (&'a Name, _)| (length + 1 + name.len(), depth + 1, &**name, below);
        open.extend(place.below().rev().map(below));
    }
}
