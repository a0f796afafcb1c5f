//! Keeps glibc's allocator from making one heap per thread.
//!
//! By default it opens up to eight heaps per core, and each keeps what its thread once used: on a
//! small server with a dozen threads that is most of the daemon's memory.

/// Lets glibc's allocator use at most two arenas; call it before any thread is started. Other
/// C libraries have no such setting and need none.
pub fn limit_arenas() {
    #[cfg(target_env = "gnu")]
    {
        use nix::libc::{M_ARENA_MAX, mallopt};
        const ARENAS: i32 = 2;
        // SAFETY: mallopt takes two numbers and changes only the allocator's own settings, under
        // the allocator's own lock. A failure (0) means that nothing changed, which is harmless.
        #[expect(unsafe_code, reason = "no safe wrapper of mallopt exists")]
        let _unchanged_on_failure = unsafe { mallopt(M_ARENA_MAX, ARENAS) };
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn allocation_goes_on_after_the_limit() {
        super::limit_arenas();
        let lengths: Vec<usize> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (1..=4).map(|n| scope.spawn(move || vec![0u8; n * 1_000].len())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(lengths, [1_000, 2_000, 3_000, 4_000]);
    }
}
