//! Files that change while they are read.

use std::fs::File;
use std::io::Write;

use crate::files::TestFile;
use crate::program::Program;

/// What the program prints last before it reads: a line of the picture.
const READING: &str = "a buffer, while mapped";

/// So long that it cannot be read before it is cut.
const ENDLESS: u64 = 256 << 30;

#[test]
fn a_file_that_shrinks_ends_the_job_with_a_reason() {
    for (left, settings) in [
        (0, &[][..]),
        (1_000_001, &["--queue-depth", "256", "--queues", "4"]),
        (100_000, &["--queue-depth", "1", "--completion", "polling"]),
        (100_000, &["--iommu", "none"]),
    ] {
        let file = TestFile::sparse(ENDLESS);
        let mut running = Program::reads(&file.path).args(settings).start();
        running.wait_for(READING);
        let handle = File::options()
            .write(true)
            .open(&file.path)
            .expect("it is ours");
        handle.set_len(left).expect("a file can be cut");
        let ended = running.finish();
        ended.expect_failed(&["sparse: has shrunk", &format!("to {left} bytes")]);
        assert!(!ended.stdout.contains("verified"), "{ended:?}");
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_copied_ends_the_job_with_a_reason() {
    // The copy is the second half: the file is cut when the copy, which is as long from the start, has data.
    let file = TestFile::random(64 << 20, 1);
    let copy = file.beside("copy");
    let running = Program::reads(&file.path)
        .args(["--json", "--write"])
        .args([&copy])
        .start();
    let mut running = running;
    let has_data = || {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(&copy).is_ok_and(|metadata| metadata.blocks() > 0)
    };
    while !has_data() && running.poll().is_none() {}
    let handle = File::options()
        .write(true)
        .open(&file.path)
        .expect("it is ours");
    handle.set_len(1).expect("a file can be cut");
    let ended = running.finish();
    // A host that let the whole copy be made in between has shown nothing.
    if ended.report_if_any().is_none() {
        ended.expect_failed(&["file: has shrunk", "to 1 bytes"]);
    }
}

#[test]
fn a_file_that_grows_is_read_at_the_length_it_had() {
    let file = TestFile::sparse(if cfg!(debug_assertions) {
        100 << 20
    } else {
        600 << 20
    });
    let mut running = Program::reads(&file.path).start();
    running.wait_for(READING);
    let mut handle = File::options()
        .append(true)
        .open(&file.path)
        .expect("it is ours");
    handle.write_all(&[0xff; 100_000]).expect("a file can grow");
    let ended = running.finish();
    ended.expect_status(0);
    let bytes = format!("bytes           {} in ", file.len_bytes);
    assert!(ended.stdout.contains(&bytes), "{ended:?}");
}
