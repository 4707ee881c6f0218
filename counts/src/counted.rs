//! The frame around a loop: a function of its own, by whose name the tool turns counting on and off.
//!
//! ```
//! let mut done = 0;
//! counts::counted::counted(3, &mut || done += 1);
//! assert_eq!(done, 3);
//! ```

/// Walks a path so many times. Counting begins when this is called and ends when it returns; four instructions of
/// each round are its own.
#[inline(never)]
pub fn counted(rounds: u64, path: &mut dyn FnMut()) {
    for _ in 0..rounds {
        path();
    }
}
