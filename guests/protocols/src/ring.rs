//! Rings of requests and responses in a shared page (`io/ring.h`).
//!
//! A page holds four indices and a power of two of entries. Requests and responses share the entries: a response lies where a request was
//! that is no longer needed. Indices count for ever and wrap. Who has produced something looks whether the other end asked for an
//! event by now; who has consumed everything asks for an event and looks once more.
//!
//! [`Front`] asks and [`Back`] answers. Each keeps its own indices to itself and takes the other's with care.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicU32, Ordering, fence};

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Bytes in the page.
const PAGE: usize = 4096;
/// Offset of the first entry.
const ENTRIES: usize = 64;
/// Offsets of the indices: how many requests were made and at which the backend wants an event, the same for responses.
const REQ_PROD: usize = 0;
const REQ_EVENT: usize = 4;
const RSP_PROD: usize = 8;
const RSP_EVENT: usize = 12;

/// A page that somebody else may change at any time.
pub trait Shared {
    /// The 4 bytes at `offset`, which is a multiple of 4 below 4,096.
    fn word(&self, offset: usize) -> &AtomicU32;
}

/// The other end says what cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// What lies in a ring: a multiple of 4 bytes, any of which is a value.
pub trait Entry: FromBytes + IntoBytes + Immutable {}

impl<T: FromBytes + IntoBytes + Immutable> Entry for T {}

/// Page and layout, the same for both ends.
struct Ring<P, Request, Response> {
    page: P,
    types: PhantomData<(Request, Response)>,
}

impl<P: Shared, Request: Entry, Response: Entry> Ring<P, Request, Response> {
    const SIZE: usize = {
        let (request, response) = (size_of::<Request>(), size_of::<Response>());
        assert!(request % 4 == 0 && response % 4 == 0);
        if request > response { request } else { response }
    };
    /// The largest power of two that fits.
    const NUMBER: u32 = 1 << ((PAGE - ENTRIES) / Self::SIZE).ilog2();

    fn index(&self, offset: usize) -> u32 {
        self.page.word(offset).load(Ordering::Acquire)
    }

    fn set_index(&self, offset: usize, value: u32) {
        self.page.word(offset).store(value, Ordering::Release);
    }

    fn place(index: u32) -> usize {
        ENTRIES + (index % Self::NUMBER) as usize * Self::SIZE
    }

    /// Copies an entry out.
    fn read<T: Entry>(&self, index: u32) -> T {
        let mut value = T::new_zeroed();
        let (words, _) = value.as_mut_bytes().as_chunks_mut::<4>();
        for (number, word) in words.iter_mut().enumerate() {
            *word = self.page.word(Self::place(index) + number * 4).load(Ordering::Relaxed).to_ne_bytes();
        }
        value
    }

    fn write<T: Entry>(&self, index: u32, value: &T) {
        let (words, _) = value.as_bytes().as_chunks::<4>();
        for (number, word) in words.iter().enumerate() {
            self.page.word(Self::place(index) + number * 4).store(u32::from_ne_bytes(*word), Ordering::Relaxed);
        }
    }

    /// Shows what was produced up to `new`. True if the index at `event`, where the other end wants to be told, was passed.
    fn publish(&self, producer: usize, event: usize, old: u32, new: u32) -> bool {
        self.set_index(producer, new);
        // The other end does the same in the opposite order: sets its event, then looks for news.
        fence(Ordering::SeqCst);
        new.wrapping_sub(self.index(event)) < new.wrapping_sub(old)
    }

    /// Asks for an event at the `number`th one after `consumed`. True if it is there already.
    fn arm(&self, producer: usize, event: usize, consumed: u32, number: u32) -> bool {
        self.set_index(event, consumed.wrapping_add(number));
        fence(Ordering::SeqCst);
        self.index(producer).wrapping_sub(consumed) >= number
    }
}

/// The end that answers. Its indices are private: the frontend's page cannot change them.
pub struct Back<P, Request, Response> {
    ring: Ring<P, Request, Response>,
    /// Requests taken.
    taken: u32,
    /// Responses given, and how many of them are shown.
    given: u32,
    shown: u32,
}

impl<P: Shared, Request: Entry, Response: Entry> Back<P, Request, Response> {
    /// How many entries there are.
    pub const ENTRIES: u32 = Ring::<P, Request, Response>::NUMBER;

    /// Begins with the first request that has no response.
    pub fn new(page: P) -> Self {
        let ring = Ring { page, types: PhantomData };
        let given = ring.index(RSP_PROD);
        Self { ring, taken: given, given, shown: given }
    }

    /// The page.
    pub const fn page(&self) -> &P {
        &self.ring.page
    }

    /// How many requests there are to take.
    ///
    /// # Errors
    /// If there are more than fit into the ring together with those that were not answered.
    pub fn waiting(&self) -> Result<u32, Broken> {
        let made = self.ring.index(REQ_PROD);
        let (unanswered, pending) = (made.wrapping_sub(self.given), self.taken.wrapping_sub(self.given));
        if unanswered > Self::ENTRIES { Err(Broken) } else { unanswered.checked_sub(pending).ok_or(Broken) }
    }

    /// Takes a request: a copy, which cannot change any more.
    ///
    /// # Errors
    /// As for [`Back::waiting`].
    #[expect(clippy::should_implement_trait, reason = "an iterator that ends and goes on again, and fails, surprises")]
    pub fn next(&mut self) -> Result<Option<Request>, Broken> {
        if self.waiting()? == 0 {
            return Ok(None);
        }
        let request = self.ring.read(self.taken);
        self.taken = self.taken.wrapping_add(1);
        Ok(Some(request))
    }

    /// Asks for an event at the next request. True if it is there already.
    pub fn arm(&mut self) -> bool {
        self.arm_for(1)
    }

    /// Asks for an event when `number` requests are waiting, which must fit into the ring. True if they are there already.
    pub fn arm_for(&mut self, number: u32) -> bool {
        self.ring.arm(REQ_PROD, REQ_EVENT, self.taken, number)
    }

    /// Answers one of the requests taken; there must be one. Seen after [`Back::publish`].
    pub fn push(&mut self, response: &Response) {
        debug_assert!(self.given != self.taken, "a response to no request");
        self.ring.write(self.given, response);
        self.given = self.given.wrapping_add(1);
    }

    /// Shows the responses. True if the frontend is to get an event.
    pub fn publish(&mut self) -> bool {
        let old = core::mem::replace(&mut self.shown, self.given);
        self.ring.publish(RSP_PROD, RSP_EVENT, old, self.given)
    }
}

/// The end that asks. Its indices are private: the backend cannot change them.
pub struct Front<P, Request, Response> {
    ring: Ring<P, Request, Response>,
    /// Requests made, and how many of them are shown.
    made: u32,
    shown: u32,
    /// Responses taken.
    taken: u32,
}

impl<P: Shared, Request: Entry, Response: Entry> Front<P, Request, Response> {
    /// How many entries there are.
    pub const ENTRIES: u32 = Ring::<P, Request, Response>::NUMBER;

    /// An empty ring in a page that nobody else uses yet.
    pub fn new(page: P) -> Self {
        let ring = Ring { page, types: PhantomData };
        for (offset, value) in [(REQ_PROD, 0), (REQ_EVENT, 1), (RSP_PROD, 0), (RSP_EVENT, 1)] {
            ring.set_index(offset, value);
        }
        Self { ring, made: 0, shown: 0, taken: 0 }
    }

    /// The page.
    pub const fn page(&self) -> &P {
        &self.ring.page
    }

    /// How many requests there is room for.
    #[must_use]
    pub const fn room(&self) -> u32 {
        Self::ENTRIES - self.made.wrapping_sub(self.taken)
    }

    /// Makes a request. Seen after [`Front::publish`]. False if there is no room.
    #[must_use]
    pub fn push(&mut self, request: &Request) -> bool {
        if self.room() == 0 {
            return false;
        }
        self.ring.write(self.made, request);
        self.made = self.made.wrapping_add(1);
        true
    }

    /// Shows the requests. True if the backend is to get an event.
    pub fn publish(&mut self) -> bool {
        let old = core::mem::replace(&mut self.shown, self.made);
        self.ring.publish(REQ_PROD, REQ_EVENT, old, self.made)
    }

    /// Takes a response: a copy, which cannot change any more.
    ///
    /// # Errors
    /// If there are more responses than requests were shown.
    #[expect(clippy::should_implement_trait, reason = "an iterator that ends and goes on again, and fails, surprises")]
    pub fn next(&mut self) -> Result<Option<Response>, Broken> {
        let given = self.ring.index(RSP_PROD).wrapping_sub(self.taken);
        if given > self.shown.wrapping_sub(self.taken) {
            return Err(Broken);
        }
        if given == 0 {
            return Ok(None);
        }
        let response = self.ring.read(self.taken);
        self.taken = self.taken.wrapping_add(1);
        Ok(Some(response))
    }

    /// Asks for an event at the next response. True if it is there already.
    pub fn arm(&mut self) -> bool {
        self.arm_for(1)
    }

    /// Asks for an event when `number` responses are waiting. True if they are there already.
    pub fn arm_for(&mut self, number: u32) -> bool {
        self.ring.arm(RSP_PROD, RSP_EVENT, self.taken, number)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::blkif::{Request, Response};
    use std::rc::Rc;

    struct Page([AtomicU32; PAGE / 4]);

    impl Shared for Rc<Page> {
        fn word(&self, offset: usize) -> &AtomicU32 {
            &self.0[offset / 4]
        }
    }

    type Ends = (Front<Rc<Page>, Request, Response>, Back<Rc<Page>, Request, Response>, Rc<Page>);

    fn ends() -> Ends {
        let page = Rc::new(Page([const { AtomicU32::new(0) }; PAGE / 4]));
        let front = Front::new(page.clone());
        (front, Back::new(page.clone()), page)
    }

    fn request(id: u64) -> Request {
        Request { id, ..Request::default() }
    }

    #[test]
    fn what_is_asked_arrives_and_what_is_answered_comes_back_also_after_the_indices_wrapped() {
        let (mut front, mut back, page) = ends();
        let start = u32::MAX - 40;
        for offset in [REQ_PROD, RSP_PROD] {
            page.word(offset).store(start, Ordering::Relaxed);
        }
        (front.made, front.shown, front.taken) = (start, start, start);
        (back.taken, back.given, back.shown) = (start, start, start);
        assert_eq!(Back::<Rc<Page>, Request, Response>::ENTRIES, 32);
        for round in 0..10u64 {
            for id in 0..32 {
                assert!(front.push(&request(round * 32 + id)));
            }
            assert!(!front.push(&request(0)), "the ring is full");
            front.publish();
            for id in 0..32 {
                assert_eq!(back.next().map(|request| request.map(|request| request.id)), Ok(Some(round * 32 + id)));
                back.push(&Response { id, ..Response::default() });
            }
            assert_eq!(back.next(), Ok(None));
            assert_eq!(front.next(), Ok(None), "not shown yet");
            back.publish();
            for id in 0..32 {
                assert_eq!(front.next().map(|response| response.map(|response| response.id)), Ok(Some(id)));
            }
        }
    }

    #[test]
    fn an_event_is_sent_once_to_whoever_asked_for_it() {
        let (mut front, mut back, _) = ends();
        assert!(front.push(&request(1)) && front.publish(), "the first one is waited for");
        assert!(front.push(&request(2)) && !front.publish(), "nobody asked again");
        assert!(back.next().is_ok() && back.arm(), "one is there already");
        assert!(back.next().is_ok() && !back.arm());
        assert!(front.push(&request(3)) && front.push(&request(4)) && front.publish());
        back.push(&Response::default());
        back.push(&Response::default());
        assert!(back.publish());
        assert!(front.next().is_ok() && front.arm() && front.next().is_ok() && !front.arm());
    }

    #[test]
    fn indices_that_jump_are_noticed() {
        let (mut front, mut back, page) = ends();
        for jump in [33, 1 << 31, u32::MAX] {
            page.word(REQ_PROD).store(jump, Ordering::Relaxed);
            assert_eq!(back.next(), Err(Broken), "{jump}");
        }
        page.word(REQ_PROD).store(2, Ordering::Relaxed);
        assert!(back.next().is_ok() && back.next().is_ok());
        page.word(REQ_PROD).store(1, Ordering::Relaxed);
        assert_eq!(back.next(), Err(Broken), "a request that was taken is taken back");
        assert!(front.push(&request(1)));
        for jump in [1, 2, u32::MAX] {
            page.word(RSP_PROD).store(jump, Ordering::Relaxed);
            assert_eq!(front.next(), Err(Broken), "{jump}: nothing was shown");
        }
    }

    #[test]
    fn who_takes_over_begins_at_the_first_request_without_an_answer() {
        let (mut front, mut back, page) = ends();
        for id in 0..3 {
            assert!(front.push(&request(id)));
        }
        front.publish();
        assert!(back.next().is_ok() && back.next().is_ok());
        back.push(&Response::default());
        back.publish();
        let mut other = Back::<_, Request, Response>::new(page);
        assert_eq!(other.waiting(), Ok(2));
        assert_eq!(other.next().map(|request| request.map(|request| request.id)), Ok(Some(1)));
    }
}
