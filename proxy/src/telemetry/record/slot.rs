//! The places of drafts, used again and again: nearly all drafts are written for nothing, and by far the dearest part of one
//! would be its allocation.

use super::Draft;
use crate::limits;
use std::cell::RefCell;

thread_local! {
    #[allow(clippy::vec_box)] // the boxes are what is kept
    static SPARE: RefCell<Vec<Box<Option<Draft>>>> = const { RefCell::new(Vec::new()) };
}

/// A draft in its place, which goes back to its thread's stock with it. The place is there until then.
#[derive(Debug)]
pub(super) struct Slot(Option<Box<Option<Draft>>>);

impl Slot {
    /// Puts a draft into a place.
    #[inline]
    pub(super) fn of(draft: Draft) -> Self {
        let spare = SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
        let mut place = spare.unwrap_or_default();
        *place = Some(draft);
        Self(Some(place))
    }

    pub(super) fn draft(&mut self) -> Option<&mut Draft> {
        self.0.as_deref_mut()?.as_mut()
    }

    /// Takes the draft out, for good.
    pub(super) fn take(mut self) -> Option<Draft> {
        self.0.as_deref_mut()?.take()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(mut place) = self.0.take() else { return };
        // Before the stock is borrowed: what a draft holds may have drafts itself.
        *place = None;
        let keep = |spare: &RefCell<Vec<_>>| {
            let mut spare = spare.borrow_mut();
            if spare.len() < limits::SPARE_DRAFTS {
                spare.push(place);
            }
        };
        // A thread that ends has no stock any more.
        let _ = SPARE.try_with(keep);
    }
}
