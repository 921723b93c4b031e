//! Images in memory, of which there is only so much.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::model::Image;
use crate::problem::Refusal;

/// Images that are kept at most.
const MOST: usize = 64;

/// Images by their names. One for which there is no room takes that of those that were used longest ago: whoever needs these sends them
/// again.
#[derive(Clone, Debug, Default)]
pub struct ImageStore {
    images: BTreeMap<String, Kept>,
    room: usize,
    uses: u64,
}

#[derive(Clone, Debug)]
struct Kept {
    size: usize,
    // Has room for `size` bytes from the beginning.
    bytes: Vec<u8>,
    last_use: u64,
}

impl ImageStore {
    /// Room for so many bytes of all images together.
    #[must_use]
    pub fn new(room: usize) -> Self {
        Self { room, ..Self::default() }
    }

    /// All images, by their names.
    #[must_use]
    pub fn list(&self) -> Vec<Image> {
        self.images.iter().map(|(name, image)| image.describe(name)).collect()
    }

    /// An image.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Image> {
        self.images.get(name).map(|image| image.describe(name))
    }

    /// The bytes of an image that is whole.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        let image = self.images.get(name).filter(|image| image.bytes.len() == image.size)?;
        Some(&image.bytes)
    }

    /// An image is used.
    pub fn touch(&mut self, name: &str) {
        self.uses += 1;
        if let Some(image) = self.images.get_mut(name) {
            image.last_use = self.uses;
        }
    }

    /// Puts bytes into an image, as [`crate::Toolstack::put_image`].
    ///
    /// # Errors
    /// It is larger than all the room there is, or than memory has place for.
    pub fn put(&mut self, name: &str, offset: u64, bytes: &[u8], size: u64) -> Result<(), Refusal> {
        if offset == 0 {
            let fits = usize::try_from(size).ok().filter(|size| *size <= self.room && bytes.len() <= *size);
            self.begin(name, fits.ok_or_else(|| self.too_large(size))?)?;
        }
        let image = self.images.get_mut(name).filter(|image| {
            let (there, left) = (image.bytes.len(), image.size - image.bytes.len());
            image.size as u64 == size && there as u64 == offset && bytes.len() <= left
        });
        let Some(image) = image else {
            let error = format!("byte {offset} is not what comes next in the image `{name}`");
            return Err(Refusal::Conflict(error, "begin anew with byte 0".into()));
        };
        image.bytes.extend_from_slice(bytes);
        self.touch(name);
        Ok(())
    }

    /// Forgets an image.
    pub fn remove(&mut self, name: &str) {
        self.images.remove(name);
    }

    fn too_large(&self, size: u64) -> Refusal {
        let error =
            format!("an image of {size} bytes is larger than the {} bytes that the control domain has", self.room);
        Refusal::TooLarge(error, "start the machine with this domain: its configuration may have larger ones".into())
    }

    /// Makes room for an image.
    fn begin(&mut self, name: &str, size: usize) -> Result<(), Refusal> {
        let before = self.images.remove(name);
        while self.images.len() >= MOST || self.used().saturating_add(size) > self.room {
            self.remove_oldest();
        }
        let mut bytes = Vec::new();
        // The room may be there in pieces too small.
        while bytes.try_reserve_exact(size).is_err() {
            if !self.remove_oldest() {
                if let Some(before) = before {
                    self.images.insert(name.into(), before);
                }
                return Err(self.too_large(size as u64));
            }
        }
        self.images.insert(name.into(), Kept { size, bytes, last_use: self.uses });
        Ok(())
    }

    fn used(&self) -> usize {
        self.images.values().map(|image| image.size).sum()
    }

    /// Removes what was used longest ago; whether there was anything.
    fn remove_oldest(&mut self) -> bool {
        let oldest = self.images.iter().min_by_key(|(_, image)| image.last_use).map(|(name, _)| name.clone());
        oldest.is_some_and(|name| self.images.remove(&name).is_some())
    }
}

impl Kept {
    fn describe(&self, name: &str) -> Image {
        Image { name: name.into(), size: self.size as u64, present: self.bytes.len() as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(store: &ImageStore) -> Vec<String> {
        store.list().into_iter().map(|image| image.name).collect()
    }

    #[test]
    fn an_image_comes_piece_by_piece_and_is_there_when_it_is_whole() {
        let mut store = ImageStore::new(100);
        store.put("a", 0, &[1; 10], 15).expect("room");
        assert_eq!(store.bytes("a"), None);
        for (offset, length, size) in [(9, 5, 15), (10, 6, 15), (10, 5, 16), (11, 1, 15)] {
            assert!(matches!(store.put("a", offset, &[1; 6][..length], size), Err(Refusal::Conflict(..))));
        }
        store.put("a", 10, &[2; 5], 15).expect("what comes next");
        assert_eq!(store.bytes("a").map(|bytes| (bytes.len(), bytes[14])), Some((15, 2)));
        store.put("a", 0, &[3; 2], 2).expect("a new beginning");
        assert_eq!(store.bytes("a"), Some(&[3, 3][..]));
    }

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let mut store = ImageStore::new(100);
        for name in ["a", "b", "c"] {
            store.put(name, 0, &[1; 30], 30).expect("room");
        }
        store.touch("a");
        store.put("d", 0, &[1; 20], 40).expect("room for the whole of it");
        assert_eq!(names(&store), ["a", "c", "d"]);
        assert!(matches!(store.put("e", 0, &[1; 20], 101), Err(Refusal::TooLarge(..))));
        assert!(matches!(store.put("e", 0, &[1; 20], u64::MAX), Err(Refusal::TooLarge(..))));
        assert_eq!(names(&store), ["a", "c", "d"]);
        store.put("e", 0, &[1; 100], 100).expect("all the room");
        assert_eq!(names(&store), ["e"]);
    }

    #[test]
    fn there_are_not_too_many() {
        let mut store = ImageStore::new(1 << 20);
        for number in 0..2 * MOST {
            store.put(&format!("{number}"), 0, &[1], 1).expect("room");
        }
        assert_eq!(store.list().len(), MOST);
    }
}
