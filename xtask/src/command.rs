//! Running other programs, so that a failure says which one and what it printed.

use std::{
    env,
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, bail};

/// How much of a failed command's output is repeated in the error.
const TAIL_LINES: usize = 20;

/// Runs with our own output; waits.
///
/// # Errors
/// If it cannot be started or does not exit with 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| cannot_start(command))?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// Runs with the output in `log`; an error repeats its end.
///
/// # Errors
/// If it cannot be started, does not exit with 0, or the log cannot be written.
pub(crate) fn run_logged(command: &mut Command, log: &Path) -> Result<()> {
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let copy = file.try_clone().with_context(|| format!("cannot write {}", log.display()))?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(copy)
        .status()
        .with_context(|| cannot_start(command))?;
    if !status.success() {
        let text = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
        bail!(
            "`{}` failed: {status}\n{}\n(all of it: {})",
            line(command),
            tail(&String::from_utf8_lossy(&text)),
            log.display()
        );
    }
    Ok(())
}

/// Runs and returns what it printed.
///
/// # Errors
/// If it cannot be started, does not exit with 0 (with the end of its error output), or prints no UTF-8.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let bytes = output_bytes(command)?;
    String::from_utf8(bytes).with_context(|| format!("`{}` printed no UTF-8", line(command)))
}

/// As [`output`], whatever the bytes.
///
/// # Errors
/// If it cannot be started or does not exit with 0 (with the end of its error output).
pub(crate) fn output_bytes(command: &mut Command) -> Result<Vec<u8>> {
    finish(command).map(|output| output.stdout)
}

/// Runs and returns its error output.
///
/// # Errors
/// As [`output_bytes`].
pub(crate) fn error_output(command: &mut Command) -> Result<String> {
    finish(command).map(|output| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn finish(command: &mut Command) -> Result<Output> {
    let output = command.stdin(Stdio::null()).output().with_context(|| cannot_start(command))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed: {}\n{}", line(command), output.status, tail(&errors));
    }
    Ok(output)
}

/// The first place where `program` lies: the folders of `PATH`, then those of system tools.
pub(crate) fn find_program(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// The command as one would type it, without its environment.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn cannot_start(command: &Command) -> String {
    format!("cannot start `{}`", line(command))
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// Removes a folder with all it holds; that it is not there is fine.
///
/// # Errors
/// If it is there and cannot be removed.
pub(crate) fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}
