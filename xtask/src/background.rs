//! A command of our own that runs beside the others, on what they leave of the processors.

use std::{
    env,
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// It runs until it is waited for, or this is dropped.
#[derive(Debug)]
pub(crate) struct Background {
    child: Child,
    log: PathBuf,
}

impl Background {
    /// Starts `cargo xtask` with `args`; what it prints goes to `log`.
    ///
    /// # Errors
    /// If it cannot be started, or the log not be written.
    pub(crate) fn start(args: &[&str], log: &Path) -> Result<Self> {
        let unwritable = || format!("cannot write {}", log.display());
        if let Some(folder) = log.parent() {
            fs::create_dir_all(folder).with_context(unwritable)?;
        }
        let file = File::create(log).with_context(unwritable)?;
        let copy = file.try_clone().with_context(unwritable)?;
        let myself = env::current_exe().context("cannot tell which program this is")?;
        let mut command = Command::new("nice");
        // The lowest priority: tests that run beside it hardly notice.
        command.args(["-n", "19"]).arg(myself).args(args);
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(copy)
            .spawn()
            .with_context(|| format!("cannot start `{}`", crate::command::line(&command)))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Waits for its end, and prints what it has printed.
    ///
    /// # Errors
    /// If it did not exit with 0.
    pub(crate) fn finish(mut self) -> Result<()> {
        let status = self.child.wait().context("cannot wait for it")?;
        let text = fs::read(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        print!("{}", String::from_utf8_lossy(&text));
        if !status.success() {
            bail!("{status}; what it printed is in {}", self.log.display());
        }
        Ok(())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // `InvalidInput`: it has ended and was waited for.
        if let Err(error) = self.child.kill()
            && error.kind() != ErrorKind::InvalidInput
        {
            eprintln!("cannot stop what runs in the background: {error}");
        }
    }
}
