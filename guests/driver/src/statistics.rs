//! What is counted of each device, where the control domain can see it: in records of pages that are granted to it.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::sync::atomic::Ordering;

use mote_protocols::statistics::{COUNTERS, Device, NODE, PAGES_MAX, RECORD, RECORDS, Tally};
use mote_unikernel::xen::grants::Grant;
use mote_unikernel::xen::page::Page;
use mote_unikernel::xen::store::Store;

/// The domain that may look.
pub const CONTROL: u16 = 0;
const WORD: usize = size_of::<u64>();

/// All records.
#[derive(Clone)]
pub struct Statistics {
    store: Store,
    pages: Rc<RefCell<Vec<Rc<Grant>>>>,
}

/// The record of one device. Without a device once it is dropped.
pub struct Record {
    page: Rc<Grant>,
    offset: usize,
}

impl Statistics {
    /// None yet.
    pub fn new(store: &Store) -> Self {
        Self { store: store.clone(), pages: Rc::default() }
    }

    /// A record for `device`, whose counters begin at 0. `None` if there is no room: what it does is not counted then.
    pub async fn record(&self, device: Device) -> Option<Record> {
        let free = self.take_free(device);
        if free.is_some() {
            return free;
        }
        self.add_page()?;
        // Taken before anything is waited for, so that nobody else does.
        let record = self.take_free(device);
        let references: Vec<String> = self.pages.borrow().iter().map(|page| format!("{}", page.reference())).collect();
        // What cannot be written is not seen, and nothing else depends on it.
        let _ = self.store.write(NODE, references.join(" ")).await;
        record
    }

    fn take_free(&self, device: Device) -> Option<Record> {
        let pages = self.pages.borrow();
        let mut places = pages.iter().flat_map(|page| (0..RECORDS).map(move |number| (page, number * RECORD)));
        let is_free = |(page, offset): &(&Rc<Grant>, usize)| page.page().double(*offset).load(Ordering::Relaxed) == 0;
        let (page, offset) = places.find(is_free)?;
        for counter in 1..=COUNTERS {
            page.page().double(offset + counter * WORD).store(0, Ordering::Relaxed);
        }
        page.page().double(offset).store(device.word(), Ordering::Release);
        Some(Record { page: page.clone(), offset })
    }

    fn add_page(&self) -> Option<()> {
        let mut pages = self.pages.borrow_mut();
        if pages.len() == PAGES_MAX {
            return None;
        }
        pages.push(Rc::new(Grant::new(CONTROL, Page::new(), false).ok()?));
        Some(())
    }
}

impl Record {
    /// Sets the counter at this place.
    pub fn set(&self, counter: usize, value: u64) {
        self.page.page().double(self.offset + WORD + counter * WORD).store(value, Ordering::Relaxed);
    }
}

impl Tally for Record {
    #[inline]
    fn add(&self, counter: usize, by: u64) {
        // Nobody else writes it.
        let count = self.page.page().double(self.offset + WORD + counter * WORD);
        count.store(count.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.page.page().double(self.offset).store(0, Ordering::Release);
    }
}
