//! Which processor this thread runs on.
//!
//! Asked of the C library, where the kernel writes it into the thread's own memory (glibc 2.35 and later, `rseq`): a load. rustix has
//! a call into the kernel's own page for it on some processors, a system call on others, and no answer that says it was denied.

/// The processor's number, if the system says.
pub(crate) fn current() -> Option<u32> {
    // SAFETY: asks for a number.
    let number = unsafe { libc::sched_getcpu() };
    u32::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use crate::testing::on_one_processor;

    #[test]
    fn who_is_kept_on_a_processor_runs_there() {
        let (here, found) = on_one_processor(|here| (here, super::current()));
        assert_eq!(found, Some(here));
    }
}
