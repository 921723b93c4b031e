//! What can be done with nodes, as one caller sees them: directly, or inside a transaction.
//!
//! Every operation asks the permissions first, then the quotas, and only then changes something: an error leaves all as it was.

use alloc::rc::Rc;
use alloc::vec::Vec;

use crate::error::Error;
use crate::ledger::Ledger;
use crate::node::Node;
use crate::path::{Names, Path};
use crate::permissions::{Access, Permissions};
use crate::transaction::Transaction;
use crate::tree::{Nodes, Tree, walk};
use crate::trie::Trie;
use crate::watch::{Change, Watches};

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub domain: u16,
    /// The domain that it serves: what that may, it may too.
    pub target: Option<u16>,
    /// Whether it may everything, without quotas: domain 0.
    pub privileged: bool,
}

impl Caller {
    pub fn access(&self, permissions: &Permissions) -> Access {
        if self.privileged { Access::BOTH } else { permissions.access(|domain| self.is(domain)) }
    }

    fn owns(&self, permissions: &Permissions) -> bool {
        self.privileged || self.is(permissions.owner())
    }

    fn is(&self, domain: u16) -> bool {
        domain == self.domain || Some(domain) == self.target
    }
}

/// The nodes as a caller sees them.
pub(crate) struct View<'a> {
    pub tree: &'a mut Tree,
    pub ledger: &'a mut Ledger,
    pub watches: &'a Watches,
    pub caller: Caller,
    pub transaction: Option<&'a mut Transaction>,
    /// What has changed, for all to see.
    pub changes: Vec<Change>,
}

/// A node that is planted below another.
#[derive(Clone, Copy, Debug)]
pub struct Leaf<'a> {
    /// The way to it from there: a name, or several with slashes between them.
    pub name: &'a str,
    /// Its value.
    pub value: &'a str,
    /// Its permissions, if they are not those of the node above.
    pub permissions: Option<&'a Permissions>,
}

/// A part of a node's children's names, for a reply.
pub(crate) struct Part {
    pub generation: u64,
    pub names: Vec<u8>,
    /// Whether nothing follows.
    pub last: bool,
}

impl View<'_> {
    pub fn read(&mut self, path: &Path) -> Result<Vec<u8>, Error> {
        Ok(self.node(path, Access::READ)?.value.clone())
    }

    /// The names of a node's children, each with a NUL, if they are no more than `room` bytes.
    pub fn directory(&mut self, path: &Path, room: usize) -> Result<Vec<u8>, Error> {
        let node = self.node(path, Access::READ)?;
        if node.names() > room {
            return Err(Error::TooBig);
        }
        Ok(node.children().iter().flat_map(|name| name.bytes().chain([0])).collect())
    }

    /// The names from byte `offset` of the list on, as many as fit into `room` bytes.
    pub fn directory_part(&mut self, path: &Path, offset: usize, room: usize) -> Result<Part, Error> {
        let node = self.node(path, Access::READ)?;
        let (mut position, mut names) = (0, Vec::new());
        for name in node.children() {
            if position >= offset {
                if names.len() + name.len() + 1 > room {
                    break;
                }
                names.extend(name.bytes().chain([0]));
            }
            position += name.len() + 1;
        }
        Ok(Part { generation: node.generation, names, last: position >= node.names() })
    }

    pub fn write(&mut self, path: &Path, value: Vec<u8>) -> Result<(), Error> {
        match self.existing(path, Access::WRITE)? {
            None => self.create(path, value, None)?,
            Some(node) => {
                let before = node.permissions.clone();
                self.admit(&node, node.size_with(value.len(), &before))?;
                // Not shared any longer, so that the tree changes the node in place.
                drop(node);
                self.modify(path, |node| node.value = value);
                self.changed(path, before);
            }
        }
        Ok(())
    }

    pub fn mkdir(&mut self, path: &Path) -> Result<(), Error> {
        match self.existing(path, Access::WRITE)? {
            None => self.create(path, Vec::new(), None),
            Some(_) => Ok(()),
        }
    }

    /// Makes a node with these permissions, or gives them to the one that is there: as [`View::mkdir`] and then
    /// [`View::set_permissions`], in one go. For domain 0 alone.
    pub fn make(&mut self, path: &Path, permissions: &Permissions) -> Result<(), Error> {
        if !self.caller.privileged {
            return Err(Error::Denied);
        }
        let permissions = self.known(permissions)?;
        match self.existing(path, Access::WRITE)? {
            None => self.create(path, Vec::new(), Some(permissions)),
            Some(_) => self.set_permissions(path, &permissions),
        }
    }

    /// Makes a node with these permissions, in place of what is there with all below it, and below it these nodes and those on the way to
    /// them. For domain 0 alone, outside of transactions: it is much quicker than making them one by one. Whoever watches from above is told
    /// of the node and of the last of the others, whoever watches it or what is below of each.
    pub fn plant(&mut self, root: &Path, permissions: &Permissions, leaves: &[Leaf<'_>]) -> Result<(), Error> {
        if !self.caller.privileged || self.transaction.is_some() {
            return Err(Error::Denied);
        }
        let permissions = self.known(permissions)?;
        if self.tree.get(root).is_some() {
            self.remove(root)?;
        }
        let generation = self.tree.next_generation();
        let node = |permissions| {
            let mut node = Node::new(Vec::new(), permissions);
            node.generation = generation;
            node
        };
        let mut top = node(permissions);
        top.expect_children(leaves.len());
        let mut nodes = Trie::new(Rc::new(top), leaves.len());
        leaves.iter().try_for_each(|leaf| add_leaf(&mut nodes, leaf, &node)).ok_or(Error::Invalid)?;
        let changed = |path: &Path| Change { path: path.clone(), subtree: true, before: None, parent: None };
        let first = self.changes.len();
        if self.watches.any_within(root) {
            // Whoever may see a node may know of it.
            walk(root, &nodes, |path, _| self.changes.push(changed(path)));
        } else {
            self.changes.push(changed(root));
            self.changes.extend(leaves.last().map(|last| changed(&root.below(last.name))));
        }
        let planted = self.tree.plant(root, nodes, self.ledger);
        let parent = planted.or_else(|nodes| {
            self.mkdir(&root.parent())?;
            self.tree.plant(root, nodes, self.ledger).map_err(|_| Error::Broken)
        })?;
        self.changes.get_mut(first).into_iter().for_each(|change| change.parent = Some(parent.clone()));
        Ok(())
    }

    pub fn remove(&mut self, path: &Path) -> Result<(), Error> {
        if self.existing(path, Access::WRITE)?.is_none() {
            return self.fetch(&path.parent())?.map(drop).ok_or(Error::Missing);
        }
        if path.is_root() {
            return Err(Error::Invalid);
        }
        self.remove_all(path)
    }

    pub fn permissions(&mut self, path: &Path) -> Result<Permissions, Error> {
        Ok(self.node(path, Access::READ)?.permissions.clone())
    }

    /// Entries for domains that do not exist are left out.
    pub fn set_permissions(&mut self, path: &Path, permissions: &Permissions) -> Result<(), Error> {
        if !self.caller.privileged && permissions.count() > self.ledger.limits().permissions {
            return Err(Error::NoSpace);
        }
        let permissions = self.known(permissions)?;
        let node = self.node(path, Access::WRITE)?;
        if !self.caller.owns(&node.permissions) {
            return Err(Error::Denied);
        }
        if !self.caller.privileged && permissions.owner() != node.permissions.owner() {
            return Err(Error::Forbidden);
        }
        let before = node.permissions.clone();
        self.admit(&node, node.size_with(node.value.len(), &permissions))?;
        drop(node);
        self.modify(path, |node| node.permissions = permissions);
        self.changed(path, before);
        Ok(())
    }

    /// The permissions without entries for domains that do not exist.
    ///
    /// # Errors
    /// [`Error::Missing`] if the owner does not.
    fn known(&self, permissions: &Permissions) -> Result<Permissions, Error> {
        if !self.ledger.knows(permissions.owner()) {
            return Err(Error::Missing);
        }
        Ok(permissions.without(|domain| !self.ledger.knows(domain)))
    }

    /// The node, if the caller has `needed` access to it.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Denied`].
    fn node(&mut self, path: &Path, needed: Access) -> Result<Rc<Node>, Error> {
        self.existing(path, needed)?.ok_or(Error::Missing)
    }

    /// The node if there is one; if there is none, the caller may know.
    fn existing(&mut self, path: &Path, needed: Access) -> Result<Option<Rc<Node>>, Error> {
        let node = self.fetch(path)?;
        match &node {
            Some(node) if self.caller.access(&node.permissions).allows(needed) => {}
            Some(_) => return Err(Error::Denied),
            None if self.caller.privileged => {}
            None => match self.refusal(path, needed, Error::Missing)? {
                Error::Missing => {}
                refusal => return Err(refusal),
            },
        }
        Ok(node)
    }

    /// `error`, unless the caller may not know of it: that says the nearest node above.
    fn refusal(&mut self, path: &Path, needed: Access, error: Error) -> Result<Error, Error> {
        let mut above = path.parent();
        loop {
            if let Some(node) = self.fetch(&above)? {
                let may = self.caller.access(&node.permissions);
                let overlap = (may.read && needed.read) || (may.write && needed.write);
                return Ok(if overlap { error } else { Error::Denied });
            }
            if above.is_root() {
                return Ok(Error::Denied);
            }
            above = above.parent();
        }
    }

    fn fetch(&mut self, path: &Path) -> Result<Option<Rc<Node>>, Error> {
        match &mut self.transaction {
            Some(transaction) => transaction.get(path, self.tree, self.ledger),
            None => Ok(self.tree.get(path).cloned()),
        }
    }

    /// Makes a node, and those above it that are missing, with the permissions of what is there; an unprivileged domain
    /// owns what it makes. The node itself has permissions of its `own` if these are given.
    fn create(&mut self, path: &Path, value: Vec<u8>, mut own: Option<Permissions>) -> Result<(), Error> {
        let mut missing = Vec::from([path.clone()]);
        let mut above = path.parent();
        let parent = loop {
            if let Some(node) = self.fetch(&above)? {
                break node;
            }
            if above.is_root() {
                return Err(Error::Missing);
            }
            let next = above.parent();
            missing.push(core::mem::replace(&mut above, next));
        };
        let mut permissions = parent.permissions.clone();
        if !self.caller.privileged {
            permissions = permissions.owned_by(self.caller.domain);
        }
        // From the lowest up, each with the one below as its child.
        let mut nodes: Vec<(Path, Node)> = Vec::with_capacity(missing.len());
        let mut value = Some(value);
        for path in missing {
            let mut node =
                Node::new(value.take().unwrap_or_default(), own.take().unwrap_or_else(|| permissions.clone()));
            if let Some((below, _)) = nodes.last() {
                node.add_child(&below.name().into());
            }
            nodes.push((path, node));
        }
        let Some((top, _)) = nodes.last() else { return Err(Error::Broken) };
        self.admit_new(&nodes)?;
        self.admit(&parent, parent.size() + top.name().len() + 1)?;
        let above_it = if nodes.len() == 1 { parent.permissions.clone() } else { permissions };
        // Not shared any longer, so that the tree changes it in place.
        drop(parent);
        self.modify_above(top, |parent| parent.add_child(&top.name().into()));
        for (path, node) in nodes.into_iter().rev() {
            self.put(&path, node);
        }
        self.note(Change { path: path.clone(), subtree: true, before: None, parent: Some(above_it) });
        Ok(())
    }

    fn admit_new(&self, nodes: &[(Path, Node)]) -> Result<(), Error> {
        if self.caller.privileged {
            return Ok(());
        }
        let (domain, limits) = (self.caller.domain, self.ledger.limits_of(self.caller.domain));
        let pending = self.transaction.as_ref().map_or(0, |transaction| transaction.nodes(domain));
        let owned = self.ledger.usage(domain).nodes.saturating_add_signed(pending);
        if owned + nodes.len() > limits.nodes || nodes.iter().any(|(_, node)| node.size() > limits.node_size) {
            return Err(Error::NoSpace);
        }
        self.ledger.admit(domain, nodes.iter().map(|(path, node)| node.cost(path)).sum())
    }

    /// Whether `node` may become as large as `size`.
    fn admit(&self, node: &Node, size: usize) -> Result<(), Error> {
        if self.caller.privileged {
            return Ok(());
        }
        if size > self.ledger.limits().node_size {
            return Err(Error::NoSpace);
        }
        let payer = if self.transaction.is_some() { self.caller.domain } else { node.permissions.owner() };
        match size.saturating_sub(node.size()) {
            0 => Ok(()),
            more => self.ledger.admit(payer, more),
        }
    }

    fn remove_all(&mut self, path: &Path) -> Result<(), Error> {
        if self.transaction.is_none() {
            self.uproot(path);
            return Ok(());
        }
        let mut found: Vec<(Path, Option<Permissions>, Option<Permissions>)> = Vec::new();
        let above = self.fetch(&path.parent())?.map(|node| node.permissions.clone());
        let mut open = Vec::from([(path.clone(), above)]);
        while let Some((path, above)) = open.pop() {
            let Some(node) = self.fetch(&path)? else { continue };
            let own = Some(node.permissions.clone());
            open.extend(node.children().iter().map(|name| (path.below(name), own.clone())));
            found.push((path, own, above));
        }
        self.modify_above(path, |parent| parent.remove_child(path.name()));
        for (gone, before, parent) in found.into_iter().rev() {
            if let Some(transaction) = &mut self.transaction {
                transaction.put(&gone, None, self.ledger);
            }
            let subtree = gone == *path;
            self.note(Change { path: gone, subtree, before, parent });
        }
        Ok(())
    }

    /// Removes a node and all below it, outside of transactions. Those below come first among the changes, as far as they are watched.
    fn uproot(&mut self, path: &Path) {
        let Some((nodes, above)) = self.tree.uproot(path, self.ledger) else { return };
        let first = self.changes.len();
        for watched in self.watches.within(path).filter(|watched| *watched != path) {
            let below = Names::of(watched.as_str().get(path.as_str().len()..).unwrap_or_default());
            let above = Names::of(watched.above().get(path.as_str().len()..).unwrap_or_default());
            let permissions = |nodes: &Nodes| nodes.value().map(|node| node.permissions.clone());
            let Some(before) = nodes.get(below).and_then(permissions) else { continue };
            let (path, parent) = (watched.clone(), nodes.get(above).and_then(permissions));
            self.changes.push(Change { path, subtree: false, before: Some(before), parent });
        }
        self.changes.get_mut(first..).unwrap_or_default().reverse();
        let before = nodes.value().map(|node| node.permissions.clone());
        self.changes.push(Change { path: path.clone(), subtree: true, before, parent: above });
    }

    fn put(&mut self, path: &Path, node: Node) {
        match &mut self.transaction {
            Some(transaction) => transaction.put(path, Some(Rc::new(node)), self.ledger),
            None => self.tree.insert(path, Rc::new(node), self.ledger),
        }
    }

    /// Changes a node that was fetched before.
    fn modify(&mut self, path: &Path, change: impl FnOnce(&mut Node)) {
        let Some(transaction) = &mut self.transaction else {
            return self.tree.modify(path, change, self.ledger);
        };
        match transaction.get(path, self.tree, self.ledger) {
            Ok(Some(mut node)) => {
                change(Rc::make_mut(&mut node));
                transaction.put(path, Some(node), self.ledger);
            }
            // Others changed what was looked at at different times: a child was there, its parent was not.
            _ => transaction.fail(Error::Again),
        }
    }

    /// The same with the node above it.
    fn modify_above(&mut self, path: &Path, change: impl FnOnce(&mut Node)) {
        if self.transaction.is_none() {
            return self.tree.modify_above(path, change, self.ledger);
        }
        self.modify(&path.parent(), change);
    }

    /// A node that was there is another now. (In a transaction its parent is asked for when it is committed.)
    fn changed(&mut self, path: &Path, before: Permissions) {
        let parent = self.tree.above(path).map(|node| node.permissions.clone());
        self.note(Change { path: path.clone(), subtree: true, before: Some(before), parent });
    }

    fn note(&mut self, change: Change) {
        match &mut self.transaction {
            Some(transaction) => transaction.note(&change.path, change.subtree),
            None => self.changes.push(change),
        }
    }
}

/// Adds a node to those that are planted, with those on the way to it, as `node` makes them with given permissions.
fn add_leaf(nodes: &mut Nodes, leaf: &Leaf<'_>, node: &impl Fn(Permissions) -> Node) -> Option<()> {
    let mut place = nodes;
    for name in Names::of(leaf.name) {
        place = place.grow(name, |above, name| {
            let mut made = Trie::default();
            if let Some(above) = above.map(Rc::make_mut) {
                above.add_child(name);
                made = Trie::new(Rc::new(node(above.permissions.clone())), 0);
            }
            made
        });
    }
    let node = Rc::make_mut(place.value_mut()?);
    node.value = leaf.value.into();
    if let Some(own) = leaf.permissions {
        node.permissions = own.clone();
    }
    Some(())
}
