//! Signals that would end the program without a word.

/// Makes writing past the limit of a file's length (`ulimit -f`) an error that is reported, instead of the
/// death of the process.
pub(crate) fn file_size_limit_is_an_error() {
    // SAFETY: ignoring a signal runs no code of ours in a handler. No thread runs yet, and nothing here relies
    // on what SIGXFSZ does.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}
