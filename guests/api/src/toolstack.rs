//! Who does what the API is asked for.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use mote_builder::config::Definition;

use crate::model::{Action, Domain, Image, Machine};
use crate::problem::Refusal;

/// What the control domain needs for itself, and for others' xenstore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Bytes of its heap that are in use, and that are free.
    pub heap_used: u64,
    /// The rest.
    pub heap_free: u64,
    /// Bytes of images.
    pub images: u64,
    /// Xenstore's nodes.
    pub store_nodes: u64,
    /// Bytes of nodes, watches, transactions and messages.
    pub store_bytes: u64,
    /// Watches.
    pub store_watches: u64,
    /// Open transactions.
    pub store_transactions: u64,
    /// When it first served this API, in nanoseconds after the machine was switched on.
    pub ready_ns: u64,
    /// What it has done to domains.
    pub work: [Work; 3],
}

/// What was done to domains, and how long that took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// What: create, start, destroy.
    pub what: &'static str,
    /// How often.
    pub times: u64,
    /// Nanoseconds of all times together, whatever else ran in between.
    pub ns: u64,
}

/// The control domain's knowledge and means. Numbers that are given to it are those of domains that it has just named, names of
/// images are checked. What it refuses must not have changed anything.
pub trait Toolstack {
    /// The machine as it is now.
    fn machine(&self) -> Machine;

    /// What the control domain itself needs.
    fn own(&self) -> Own;

    /// What the hypervisor has said, as far as it is kept.
    fn log(&self) -> Vec<u8>;

    /// The numbers of all domains, the control domain's 0 included, in order.
    fn numbers(&self) -> Vec<u16>;

    /// The number of the domain that is called so.
    fn find(&self, name: &str) -> Option<u16>;

    /// A domain as it is now.
    fn domain(&self, id: u16) -> Option<Domain>;

    /// Builds a domain, which stays paused. Of its modules the definition says only how large they are. The answer is its number.
    ///
    /// # Errors
    /// Why it cannot be.
    fn create(&mut self, definition: Definition, modules: Modules) -> Result<u16, Refusal>;

    /// Destroys a domain.
    ///
    /// # Errors
    /// Why it cannot be.
    fn destroy(&mut self, id: u16) -> Result<(), Refusal>;

    /// Pauses a domain that is not paused.
    ///
    /// # Errors
    /// Why it cannot be.
    fn pause(&mut self, id: u16) -> Result<(), Refusal>;

    /// Lets a domain run that is paused.
    ///
    /// # Errors
    /// Why it cannot be.
    fn unpause(&mut self, id: u16) -> Result<(), Refusal>;

    /// Asks a domain to shut down.
    ///
    /// # Errors
    /// Why it cannot be: it does not listen.
    fn shut_down(&mut self, id: u16, action: Action) -> Result<(), Refusal>;

    /// Ends a domain as if it had failed, and builds it again in its own place: the control domain itself, soon after this returns, or a
    /// driver domain.
    ///
    /// # Errors
    /// Why it cannot be: nothing is kept that it could be built from.
    fn restart(&mut self, id: u16) -> Result<(), Refusal>;

    /// What a domain has said on its console from byte `from` on, as far as it is kept, or from the oldest that is kept.
    ///
    /// # Errors
    /// It has no console that is kept.
    fn console(&self, id: u16, from: Option<u64>) -> Result<Said<'_>, Refusal>;

    /// Types at a domain's console. The answer is how many bytes there was room for.
    ///
    /// # Errors
    /// It has no console.
    fn type_at(&mut self, id: u16, bytes: &[u8]) -> Result<usize, Refusal>;

    /// All images, by their names.
    fn images(&self) -> Vec<Image>;

    /// An image.
    fn image(&self, name: &str) -> Option<Image> {
        self.images().into_iter().find(|image| image.name == name)
    }

    /// Puts bytes into an image of `size` bytes. At 0 it begins one anew; else `offset` is where the last ones ended, and the size is the
    /// same.
    ///
    /// # Errors
    /// There is no room for so much.
    fn put_image(&mut self, name: &str, offset: u64, bytes: &[u8], size: u64) -> Result<(), Refusal>;

    /// Forgets an image. Domains that were built from it are none the worse for it.
    ///
    /// # Errors
    /// Why it cannot be.
    fn remove_image(&mut self, name: &str) -> Result<(), Refusal>;
}

/// The names of the images that a domain is built from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modules {
    /// Its kernel.
    pub kernel: String,
    /// Its initial RAM disk.
    pub ramdisk: Option<String>,
    /// A partial device tree.
    pub device_tree: Option<String>,
}

/// A part of what a domain said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said<'a> {
    /// How many bytes it had said before this one; more than was asked for if older ones are not kept.
    pub from: u64,
    /// What it said then.
    pub bytes: Cow<'a, [u8]>,
}
