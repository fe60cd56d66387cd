//! The places of drafts, used again and again: nearly all drafts are written for nothing, and by far the dearest part of one
//! would be its allocation.

use super::Draft;
use super::texts::Texts;
use crate::limits;
use std::cell::RefCell;

thread_local! {
    #[allow(clippy::vec_box)] // the boxes are what is kept
    static SPARE: RefCell<Vec<Box<Place>>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug, Default)]
struct Place {
    draft: Option<Draft>,
    /// The memory of an earlier draft's texts.
    texts: Texts,
}

/// A draft in its place, which goes back to its thread's stock with it. The place is there until then.
#[derive(Debug)]
pub(super) struct Slot(Option<Box<Place>>);

impl Slot {
    /// Puts a draft into a place; its texts go into the memory that is given.
    #[inline]
    pub(super) fn of(draft: impl FnOnce(Texts) -> Draft) -> Self {
        let spare = SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
        let mut place = spare.unwrap_or_default();
        let texts = std::mem::take(&mut place.texts);
        place.draft = Some(draft(texts));
        Self(Some(place))
    }

    pub(super) fn draft(&mut self) -> Option<&mut Draft> {
        self.0.as_deref_mut()?.draft.as_mut()
    }

    /// Takes the draft out, for good.
    pub(super) fn take(mut self) -> Option<Draft> {
        self.0.as_deref_mut()?.draft.take()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(mut place) = self.0.take() else { return };
        if let Some(draft) = &mut place.draft {
            place.texts = std::mem::take(&mut draft.texts);
            place.texts.clear();
        }
        // Before the stock is borrowed: what a draft holds may have drafts itself.
        place.draft = None;
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
