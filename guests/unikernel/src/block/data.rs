//! Pages that the backend may read and write.

use alloc::vec::Vec;

use crate::xen::Errno;
use crate::xen::grants::Grant;
use crate::xen::page::{Page, SIZE};

/// A page for data: whose backend may use it, if any does.
enum Sheet {
    Own(Page),
    Granted(u16, Grant),
}

impl Sheet {
    const fn page(&self) -> &Page {
        match self {
            Self::Own(page) => page,
            Self::Granted(_, grant) => grant.page(),
        }
    }

    /// Lets domain `user` use it and no other.
    fn grant(self, user: u16) -> Result<Self, Errno> {
        let page = match self {
            Self::Granted(present, grant) if present == user => return Ok(Self::Granted(present, grant)),
            Self::Own(page) => page,
            // One that another domain still uses is left to it.
            Self::Granted(_, grant) => grant.end().unwrap_or_else(|grant| {
                let page = copy(grant.page());
                core::mem::forget(grant);
                page
            }),
        };
        Grant::new(user, page, true).map(|grant| Self::Granted(user, grant))
    }
}

fn copy(page: &Page) -> Page {
    let mut bytes = alloc::vec![0; SIZE];
    page.read(&mut bytes);
    let copy = Page::new();
    copy.write(&bytes);
    copy
}

/// All pages for data of a disk, by number.
pub struct Data(Vec<Sheet>);

impl Data {
    pub fn new(pages: u16) -> Self {
        Self((0..pages).map(|_| Sheet::Own(Page::new())).collect())
    }

    /// Grants the pages to domain `user`, and says by which references.
    pub fn grant(&mut self, user: u16) -> Result<Vec<u32>, Errno> {
        let sheets = core::mem::take(&mut self.0);
        self.0 = sheets.into_iter().map(|sheet| sheet.grant(user)).collect::<Result<_, _>>()?;
        let reference = |sheet: &Sheet| match sheet {
            Sheet::Granted(_, grant) => grant.reference(),
            Sheet::Own(_) => 0,
        };
        Ok(self.0.iter().map(reference).collect())
    }

    /// Puts `bytes` into pages.
    pub fn write(&self, pages: &[u16], bytes: &[u8]) {
        self.pages(pages).zip(bytes.chunks(SIZE)).for_each(|(page, bytes)| page.write(bytes));
    }

    /// Takes bytes out of pages.
    pub fn read(&self, pages: &[u16], bytes: &mut [u8]) {
        self.pages(pages).zip(bytes.chunks_mut(SIZE)).for_each(|(page, bytes)| page.read(bytes));
    }

    fn pages(&self, numbers: &[u16]) -> impl Iterator<Item = &Page> {
        numbers.iter().filter_map(|number| self.0.get(usize::from(*number))).map(Sheet::page)
    }
}
