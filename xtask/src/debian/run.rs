//! Programs that end, or are ended.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::cargo::shown;

/// How often a running command is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Runs a command to its end, or until `timeout` has passed; then it is killed.
pub(crate) fn run(command: &mut Command, timeout: Duration) -> Result<(), String> {
    let words = shown(command);
    let name = words
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned();
    // Its output is for whoever watches, and not part of what this program prints.
    let output = Stdio::from(std::io::stderr());
    let child = command.stdin(Stdio::null()).stdout(output).spawn();
    let mut child = child.map_err(|error| format!("{name} cannot be run: {error}"))?;
    match wait(&mut child, timeout) {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("`{words}`: {status}")),
        None => Err(format!(
            "`{words}` did not end within {} s",
            timeout.as_secs()
        )),
    }
}

fn wait(child: &mut Child, timeout: Duration) -> Option<std::process::ExitStatus> {
    let deadline = Instant::now() + timeout;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => thread::sleep(LOOK),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_ends_or_is_ended() {
        let shell = |script: &str, timeout| run(Command::new("sh").args(["-c", script]), timeout);
        assert_eq!(shell("true", LOOK * 500), Ok(()));
        assert!(shell("exit 3", LOOK * 500).is_err_and(|why| why.contains("exit status: 3")));
        let start = Instant::now();
        assert!(shell("exec sleep 100", LOOK).is_err_and(|why| why.contains("did not end")));
        assert!(start.elapsed() < Duration::from_secs(50));
    }
}
