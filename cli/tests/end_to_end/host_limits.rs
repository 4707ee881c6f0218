//! The host does not lend what the program asks for: a message, not death by signal.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::files::TestFile;
use crate::program::{PATH, Program};

/// Nobody, on most systems; in any case not root.
const NOBODY: u32 = 65534;

/// The program under a limit of the shell.
fn limited(limit: &str) -> Program {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit {limit} && exec \"$@\""), "sh", PATH]);
    Program::started_as(command)
}

#[test]
fn no_room_for_the_computers_memory_is_said() {
    limited("-v 1000000").finish().expect_refused(&["memory"]);
    limited("-f 100")
        .finish()
        .expect_refused(&["File too large"]);
}

/// Only root can become somebody whose threads are few.
#[test]
fn no_room_for_another_thread_is_said() {
    let file = TestFile::random(1, 1);
    // Where the program was built may be closed to others.
    let program = file.beside("dmamap");
    fs::copy(PATH, &program).expect("the program is copied");
    let open = Permissions::from_mode(0o755);
    fs::set_permissions(file.dir(), open).expect("it is ours");
    let mut command = Command::new("sh");
    // Shells call the limit either way.
    command.args([
        "-c",
        "{ ulimit -u 100 2>/dev/null || ulimit -p 100; } && exec \"$@\"",
        "sh",
    ]);
    command.arg(&program).uid(NOBODY);
    let program = Program::started_as(command);
    if let Ok(running) = program.args(["bench", "--threads", "256"]).try_start() {
        running
            .finish()
            .expect_refused(&["--threads 256", "this host starts", "make it smaller"]);
    }
}

#[test]
fn no_file_handles_are_said() {
    let file = TestFile::random(1000, 1);
    // From so few that nothing can be opened to just enough: whichever is missing, it is said.
    for handles in 4..16 {
        let ended = limited(&format!("-n {handles}"))
            .args(["run", "--json"])
            .args([&file.path])
            .finish();
        match ended.report_if_any() {
            Some(_) => drop(ended.expect_clean(&file)),
            None => ended.expect_refused(&["Too many open files"]),
        }
        assert!(handles > 4 || ended.stdout.is_empty(), "{ended:?}");
    }
}

#[test]
fn a_copy_longer_than_a_file_may_be_is_said() {
    // The shell counts in blocks of 512 or 1024 bytes: memory fits, and the copy does not, either way.
    let file = TestFile::sparse(48 << 20);
    let ended = limited("-f 32768")
        .args(["run", "--ram", "8M", "--queue-depth", "2", "--write"])
        .args([file.beside("copy"), file.path.clone()])
        .finish();
    ended.expect_refused(&["File too large"]);
}
