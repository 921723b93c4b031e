//! Values by path: each name leads from what is above to what is below.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cmp::Ordering;

/// A name in a path.
pub(crate) type Name = Rc<str>;

/// What is at a place, and all below it.
#[derive(Clone, Debug)]
pub(crate) struct Trie<T> {
    // Private: `below` is in order of heads, lengths and names, and where there is no value there is something below, but at the top.
    value: Option<T>,
    below: Vec<Branch<T>>,
}

/// What is below a place under a name.
#[derive(Clone, Debug)]
struct Branch<T> {
    /// How the name begins: by that most are told from each other.
    head: u64,
    name: Name,
    trie: Trie<T>,
}

impl<T> Branch<T> {
    /// Whether it comes before the place of a name.
    #[inline]
    fn is_before(&self, head: u64, name: &str) -> bool {
        if self.head == head { self.is_before_of_same_head(name) } else { self.head < head }
    }

    #[inline(never)]
    fn is_before_of_same_head(&self, name: &str) -> bool {
        let by_length = self.name.len().cmp(&name.len());
        by_length
            .then_with(|| if name.len() > size_of::<u64>() { (*self.name).cmp(name) } else { Ordering::Equal })
            .is_lt()
    }

    fn is(&self, head: u64, name: &str) -> bool {
        // A name that is no longer is all in the head.
        self.head == head && self.name.len() == name.len() && (name.len() <= size_of::<u64>() || *self.name == *name)
    }
}

/// The first bytes of a name: of two that are of one length and no longer than this, the same only if they are.
#[inline]
fn head(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let half = |bytes: Option<&[u8; 4]>| bytes.map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)));
    match *bytes {
        [] => 0,
        [one] => one.into(),
        [one, two] => u64::from(u16::from_le_bytes([one, two])),
        [one, two, three] => half(Some(&[one, two, three, 0])),
        // The two may overlap.
        _ if bytes.len() < size_of::<u64>() => half(bytes.first_chunk()) << 32 | half(bytes.last_chunk()),
        _ => bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)),
    }
}

impl<T> Default for Trie<T> {
    fn default() -> Self {
        Self { value: None, below: Vec::new() }
    }
}

/// Paths are as deep as clients like, and the stack is not.
impl<T> Drop for Trie<T> {
    fn drop(&mut self) {
        let mut open = core::mem::take(&mut self.below);
        while let Some(mut branch) = open.pop() {
            open.append(&mut branch.trie.below);
        }
    }
}

impl<T> Trie<T> {
    /// A value with nothing below it, where `room` others are to be.
    pub fn new(value: T, room: usize) -> Self {
        Self { value: Some(value), below: Vec::with_capacity(room) }
    }

    pub const fn value(&self) -> Option<&T> {
        self.value.as_ref()
    }

    pub const fn value_mut(&mut self) -> Option<&mut T> {
        self.value.as_mut()
    }

    /// Where the name leads from here, or where it is to be put.
    fn find(&self, name: &str) -> Result<usize, usize> {
        let head = head(name);
        let place = self.below.partition_point(|branch| branch.is_before(head, name));
        match self.below.get(place) {
            Some(branch) if branch.is(head, name) => Ok(place),
            _ => Err(place),
        }
    }

    fn step(&self, name: &str) -> Option<&Self> {
        Some(&self.below.get(self.find(name).ok()?)?.trie)
    }

    fn step_mut(&mut self, name: &str) -> Option<&mut Self> {
        let index = self.find(name).ok()?;
        Some(&mut self.below.get_mut(index)?.trie)
    }

    /// What is right below it, in no order that means anything.
    pub fn below(&self) -> impl DoubleEndedIterator<Item = (&Name, &Self)> {
        self.below.iter().map(|branch| (&branch.name, &branch.trie))
    }

    /// The values here and below, from the top down.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        let mut open = Vec::from([self]);
        let places = core::iter::from_fn(move || {
            let place = open.pop()?;
            open.extend(place.below().rev().map(|(_, below)| below));
            Some(place)
        });
        places.filter_map(Self::value)
    }

    /// The place to which the names lead.
    pub fn get<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> Option<&Self> {
        names.try_fold(self, Self::step)
    }

    /// The same, to change what is there.
    pub fn get_mut<'a>(&mut self, mut names: impl Iterator<Item = &'a str>) -> Option<&mut Self> {
        names.try_fold(self, Self::step_mut)
    }

    /// The places on the way there, from this one on, as far as there are any.
    pub fn way<'a, 'b>(&'b self, mut names: impl Iterator<Item = &'a str>) -> impl Iterator<Item = &'b Self> {
        core::iter::successors(Some(self), move |trie| trie.step(names.next()?))
    }

    /// Puts something right below it. If nothing is there yet, `make` says what, from the value here.
    pub fn grow(&mut self, name: &str, make: impl FnOnce(Option<&mut T>, &Name) -> Self) -> &mut Self {
        let index = self.find(name).unwrap_or_else(|index| {
            let (head, name) = (head(name), name.into());
            let trie = make(self.value.as_mut(), &name);
            self.below.insert(index, Branch { head, name, trie });
            index
        });
        &mut self.below[index].trie
    }

    /// The place to which the names lead, made if need be.
    pub fn make<'a>(&mut self, names: impl Iterator<Item = &'a str>) -> &mut Self {
        names.fold(self, |trie, name| trie.grow(name, |_, _| Self::default()))
    }

    /// Puts a value where the names lead. The answer is what was there.
    pub fn put<'a>(&mut self, names: impl Iterator<Item = &'a str>, value: T) -> Option<T> {
        self.make(names).value.replace(value)
    }

    /// Takes a value out, and not what is below it.
    pub fn take<'a>(&mut self, names: impl Iterator<Item = &'a str> + Clone) -> Option<T> {
        let place = self.get_mut(names.clone())?;
        let value = place.value.take();
        if place.below.is_empty() {
            self.prune(names);
        }
        value
    }

    /// Takes out what is right below this under a name, with all below that.
    pub fn cut(&mut self, name: &str) -> Option<Self> {
        let index = self.find(name).ok()?;
        Some(self.below.remove(index).trie)
    }

    /// Takes out the end of the way on which there is nothing any more.
    fn prune<'a>(&mut self, names: impl Iterator<Item = &'a str> + Clone) {
        let places = self.way(names.clone()).enumerate();
        let used = places.filter(|(depth, place)| *depth == 0 || place.value.is_some() || place.below.len() > 1);
        let last = used.map(|(depth, _)| depth).last().unwrap_or(0);
        let (above, name) = (self.get_mut(names.clone().take(last)), { names }.nth(last));
        drop(above.zip(name).and_then(|(above, name)| above.cut(name)));
    }
}

#[cfg(test)]
mod tests {
    use super::Trie;

    fn names(path: &str) -> impl Iterator<Item = &str> + Clone {
        path.split('/').filter(|name| !name.is_empty())
    }

    #[test]
    fn what_is_taken_leaves_nothing_behind() {
        let mut trie = Trie::default();
        for (number, path) in ["a/b/c", "a/b", "a/x/y/z", "", "b"].into_iter().enumerate() {
            assert_eq!(trie.put(names(path), number), None);
        }
        assert_eq!(trie.take(names("a/b")), Some(1));
        assert_eq!(trie.get(names("a/b/c")).and_then(Trie::value), Some(&0), "what is below it stays");
        assert_eq!(trie.take(names("a/b/c")), Some(0));
        assert!(trie.get(names("a/b")).is_none() && trie.get(names("a/x")).is_some());
        assert_eq!(trie.take(names("a/x/y")), None);
        assert_eq!(trie.take(names("a/x/y/z")), Some(2));
        assert_eq!((trie.take(names("")), trie.take(names("b"))), (Some(3), Some(4)));
        assert_eq!((trie.value(), trie.below().count()), (None, 0));
    }

    #[test]
    fn names_are_told_apart_however_long_they_are() {
        let names = [
            "",
            "a",
            "b",
            "ab",
            "ba",
            "abc",
            "aaaa",
            "aaaaa",
            "aaaaaaa",
            "abcdefg",
            "abcdefgh",
            "abcdefghi",
            "abcdefghj",
            "aaaaaaaa",
            "aaaaaaaaaaaaaaaa",
        ];
        let mut trie = Trie::default();
        for name in names.iter().rev() {
            trie.put([*name].into_iter(), *name);
        }
        assert_eq!(trie.below().count(), names.len());
        assert!(names.iter().all(|name| trie.get([*name].into_iter()).and_then(Trie::value) == Some(name)));
    }

    #[test]
    fn it_may_be_deeper_than_the_stack() {
        let mut trie = Trie::default();
        trie.put(core::iter::repeat_n("a", 1_000_000), ());
        drop(trie);
    }
}
