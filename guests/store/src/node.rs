//! A node.

use alloc::vec::Vec;

use crate::path::Path;
use crate::permissions::Permissions;
use crate::trie::Name;

/// What real xenstored counts for a node besides its contents, in bytes: `struct node_hdr`, and each permission.
const HEADER: usize = 16;
const PERMISSION: usize = 8;
/// What the tree needs for a node besides its contents and its path, in bytes, roughly.
const OVERHEAD: usize = 160;

/// A value, permissions and children.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub value: Vec<u8>,
    pub permissions: Permissions,
    // Private: `names` is what they come to.
    children: Vec<Name>,
    names: usize,
    /// Differs whenever the node does.
    pub generation: u64,
}

impl Node {
    pub fn new(value: Vec<u8>, permissions: Permissions) -> Self {
        Self { value, permissions, children: Vec::new(), names: 0, generation: 0 }
    }

    /// By their names.
    pub fn children(&self) -> &[Name] {
        &self.children
    }

    /// There will be so many.
    pub fn expect_children(&mut self, count: usize) {
        self.children.reserve(count);
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        // Children are added in order more often than not.
        match self.children.last() {
            Some(last) if **last < *name => Err(self.children.len()),
            _ => self.children.binary_search_by(|child| (**child).cmp(name)),
        }
    }

    pub fn add_child(&mut self, name: &Name) {
        if let Err(place) = self.find(name) {
            self.children.insert(place, name.clone());
            self.names += name.len() + 1;
        }
    }

    pub fn remove_child(&mut self, name: &str) {
        if let Ok(place) = self.find(name) {
            self.children.remove(place);
            self.names -= name.len() + 1;
        }
    }

    /// Bytes of the children's names, each with a NUL.
    pub const fn names(&self) -> usize {
        self.names
    }

    /// Bytes, as the quota for a single node counts them.
    pub fn size(&self) -> usize {
        self.size_with(self.value.len(), &self.permissions)
    }

    /// Its size if it had a value of so many bytes and these permissions.
    pub fn size_with(&self, value: usize, permissions: &Permissions) -> usize {
        HEADER + PERMISSION * permissions.count() + value + self.names
    }

    /// Bytes, as they are charged to the owner.
    pub fn cost(&self, path: &Path) -> usize {
        self.cost_at(path.as_str().len())
    }

    /// The same, of one whose path is so long.
    pub fn cost_at(&self, path: usize) -> usize {
        OVERHEAD + path + self.size()
    }
}
