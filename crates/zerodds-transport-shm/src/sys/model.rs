//! Bytes of the model checker's memory: loom watches that nobody writes what another thread reads.

use loom::cell::UnsafeCell;

/// Plain memory that several threads of a model reach.
pub(crate) struct Cell<T>(UnsafeCell<T>);

// SAFETY: loom records every access and fails the test if two of them race; that is what the cell is for.
unsafe impl<T: Send> Sync for Cell<T> {}

impl<T: Copy> Cell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    pub(crate) fn set(&self, value: T) {
        self.0.with_mut(|at| {
            // SAFETY: the pointer is the cell's own; loom fails the test if another thread accesses it meanwhile.
            unsafe { *at = value }
        });
    }

    pub(crate) fn get(&self) -> T {
        self.0.with(|at| {
            // SAFETY: the pointer is the cell's own; loom fails the test if another thread writes it meanwhile.
            unsafe { *at }
        })
    }
}
