use std::{
    fs::{self, File},
    io::Write,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::{
    mount::{UnmountFlags, unmount},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use socket2::{Domain, Protocol, Socket, Type};

/// A network namespace, held by a bind mount on a file.
///
/// Only short-lived threads ever enter it; sockets belong to the namespace they were created in, so that everything
/// else happens from outside.
#[derive(Debug)]
pub struct Netns {
    name: String,
    path: PathBuf,
    fd: OwnedFd,
}

impl Netns {
    /// Makes a new one and binds it to `path`, which must not exist.
    ///
    /// # Errors
    /// If the kernel or the file system refuses.
    pub fn create(name: &str, path: &Path) -> Result<Self> {
        File::create_new(path).with_context(|| format!("network namespace {name}: {}", path.display()))?;
        // `unshare` from util-linux, because a thread that unshares by itself would need `unsafe`.
        let output = Command::new("unshare")
            .arg(format!("--net={}", path.display()))
            .arg("true")
            .output()
            .context("unshare (package util-linux)")?;
        ensure!(
            output.status.success(),
            "unshare --net for {name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Self::open(name, path)
    }

    /// Opens one that is bound to `path`.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn open(name: &str, path: &Path) -> Result<Self> {
        let fd =
            File::open(path).with_context(|| format!("network namespace {name}: {}", path.display()))?.into();
        Ok(Self { name: name.to_owned(), path: path.to_owned(), fd })
    }

    /// For messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file it is bound to.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Calls `f` on a thread of its own that has entered the namespace.
    ///
    /// # Errors
    /// If the thread cannot enter, or what `f` returned.
    pub fn enter<T: Send>(&self, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside =
                thread::Builder::new().name(format!("in-{}", self.name)).spawn_scoped(scope, || {
                    move_into_link_name_space(self.fd.as_fd(), Some(LinkNameSpaceType::Network))
                        .with_context(|| format!("entering network namespace {}", self.name))?;
                    f()
                })?;
            match inside.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// A non-blocking socket that belongs to the namespace.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn socket(&self, domain: Domain, kind: Type, protocol: Option<Protocol>) -> Result<Socket> {
        self.enter(|| {
            let socket = Socket::new(domain, kind, protocol)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        })
    }

    /// Writes `/proc/sys/net/<key>` of the namespace.
    ///
    /// # Errors
    /// If the kernel refuses; a key that this kernel does not have is an error too.
    pub fn set_sysctls(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.enter(|| {
            for (key, value) in settings {
                let path = format!("/proc/sys/net/{key}");
                fs::write(&path, value)
                    .with_context(|| format!("{}: writing {value} to {path}", self.name))?;
            }
            Ok(())
        })
    }

    /// Runs a command in it and waits for it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn output(&self, command: &mut Command) -> Result<Output> {
        self.enter(|| {
            command.output().with_context(|| format!("{:?} in {}", command.get_program(), self.name))
        })
    }

    /// Gives lines to `ip -batch` in it.
    ///
    /// # Errors
    /// With what `ip` said, if it refuses one.
    pub fn ip(&self, lines: &[String]) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let text = lines.join("\n") + "\n";
        self.feed(Command::new("ip").args(["-batch", "-"]), &text).with_context(|| text)
    }

    /// Gives a text to a command in it.
    ///
    /// # Errors
    /// With what the command said, if it fails; if there is no such program.
    pub fn feed(&self, command: &mut Command, text: &str) -> Result<()> {
        self.enter(|| {
            let program = command.get_program().display().to_string();
            let mut child = command
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .with_context(|| format!("{program}: is it installed?"))?;
            let Some(mut stdin) = child.stdin.take() else { bail!("{program} has no stdin") };
            stdin.write_all(text.as_bytes())?;
            drop(stdin);
            let output = child.wait_with_output()?;
            ensure!(
                output.status.success(),
                "{program} in {}: {}",
                self.name,
                String::from_utf8_lossy(&output.stderr).trim()
            );
            Ok(())
        })
    }

    /// Lets go of it: it ends when the last socket and process in it do.
    ///
    /// # Errors
    /// If the mount cannot be removed.
    pub fn delete(&self) -> Result<()> {
        unmount(&self.path, UnmountFlags::DETACH)
            .with_context(|| format!("unmounting {}", self.path.display()))?;
        fs::remove_file(&self.path).with_context(|| format!("removing {}", self.path.display()))
    }
}
