//! How firmly a message stands that was published: what may be taken back, and for whom. Who takes it back is `outlink`.

use crate::arena::Parts;
use parking_lot::Mutex;
use std::sync::Arc;
use zerodds_core::Delivery;

/// Whether a message may be taken back to make room for later ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    BestEffort,
    Reliable,
}

impl Promise {
    pub(crate) const fn of(delivery: Delivery) -> Self {
        match delivery {
            Delivery::BestEffort => Self::BestEffort,
            Delivery::Reliable { .. } => Self::Reliable,
        }
    }
}

/// What the ring is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// A loan, for which everything is taken back that can be: no receiver has our application wait for it. Only a copy on its
    /// way into the ring stays, for as long as copying takes.
    Loan,
    /// A copy of what may wait: offers stand, or two that wait would take from each other for ever.
    Copy(Parts),
}

/// A reliable message in the reserve, where nothing may stay until its receiver pleases: whoever needs the room takes it
/// back, and its sender, who knows it by this, gives it anew.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offer(Arc<Mutex<Standing>>);

/// What became of an offer so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Standing {
    #[default]
    Open,
    Taken,
    /// Or its link is gone.
    TakenBack,
}

impl PartialEq for Offer {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Offer {}

impl Offer {
    pub(crate) fn standing(&self) -> Standing {
        *self.0.lock()
    }

    pub(crate) fn set(&self, standing: Standing) {
        *self.0.lock() = standing;
    }
}
