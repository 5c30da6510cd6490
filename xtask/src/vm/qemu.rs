//! QEMU: found or unpacked, and one boot with it.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{
    guest::Guest,
    kernel::Kernel,
    mirror::{Mirror, Suite},
    report::Outcome,
};
use crate::{command, progress::Progress};

const PROGRAM: &str = "qemu-system-x86_64";
/// A boot takes seconds; verifying the programs for each test anew, emulated on a busy machine, takes minutes.
const PATIENCE: Duration = Duration::from_secs(900);
/// MiB.
const MEMORY: &str = "1024";

/// An emulator that runs.
#[derive(Debug)]
pub(super) struct Qemu {
    program: PathBuf,
    /// Where an unpacked one's libraries and firmware lie; `None` if the system has it installed.
    unpacked: Option<PathBuf>,
    /// How long a guest may take.
    patience: Duration,
}

impl Qemu {
    /// The system's own, else Debian's packages unpacked. Installing them could remove packages the machine needs.
    ///
    /// # Errors
    /// If it cannot be had or does not run.
    pub(super) fn ensure(mirror: &Mirror, folder: &Path, slack: u32) -> Result<Self> {
        let patience = PATIENCE * slack;
        if let Some(program) = command::find_program(PROGRAM) {
            return Ok(Self { program, unpacked: None, patience });
        }
        let place = folder.join("qemu");
        let qemu =
            Self { program: place.join("usr/bin").join(PROGRAM), unpacked: Some(place.clone()), patience };
        if qemu.runs().is_err() {
            Progress::new("vm: QEMU", 1).step("downloading and unpacking it (20 MB)", || {
                mirror.unpack_with_dependencies(Suite::Bookworm, &["qemu-system-x86"], &place)?;
                qemu.runs().map(drop)
            })?;
        }
        Ok(qemu)
    }

    fn runs(&self) -> Result<String> {
        command::output(self.command().arg("--version"))
    }

    fn command(&self) -> Command {
        let mut qemu = Command::new(&self.program);
        if let Some(place) = &self.unpacked {
            let libraries = ["usr/lib", "lib"].map(|lib| place.join(lib).join("x86_64-linux-gnu"));
            let list = libraries.map(|folder| folder.display().to_string()).join(":");
            qemu.env("LD_LIBRARY_PATH", list);
            for firmware in ["usr/share/qemu", "usr/share/seabios"] {
                qemu.arg("-L").arg(place.join(firmware));
            }
        }
        qemu
    }

    /// Boots a kernel with the guest and waits for its verdict. What the guest prints goes to `log`.
    ///
    /// # Errors
    /// If the archive cannot be made or QEMU cannot be started; a guest that fails is an outcome.
    pub(super) fn boot(&self, kernel: &Kernel, guest: &Guest, log: &Path) -> Result<Outcome> {
        let archive = log.with_extension("cpio");
        fs::write(&archive, guest.archive(&kernel.modules)?)
            .with_context(|| format!("cannot write {}", archive.display()))?;
        let mut qemu = self.command();
        // KVM is left alone on purpose: a machine that claims to have it may not, and QEMU then aborts.
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"])
            .args(["-m", MEMORY, "-cpu", "max", "-accel", "tcg,thread=multi"])
            .arg("-kernel")
            .arg(&kernel.image)
            .arg("-initrd")
            .arg(&archive)
            // The old kernels' test of the timer gives up where the host is busy.
            .args(["-append", "console=ttyS0 quiet panic=-1 no_timer_check"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut child = qemu.spawn().with_context(|| format!("cannot start `{}`", command::line(&qemu)))?;
        let said = listen(&mut child, self.patience);
        child.kill().context("cannot stop QEMU")?;
        child.wait().context("cannot wait for QEMU")?;
        fs::write(log, &said).with_context(|| format!("cannot write {}", log.display()))?;
        fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))?;
        Ok(Outcome::read(&said, log))
    }
}

/// All that the guest prints until it ends or patience does.
fn listen(child: &mut Child, patience: Duration) -> String {
    let mut said = String::new();
    let Some(stdout) = child.stdout.take() else { return said };
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        // A serial line carries whatever the kernel writes, not always UTF-8. Nobody listening any more ends it too.
        for line in BufReader::new(stdout).split(b'\n').map_while(|line| line.ok()) {
            if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                break;
            }
        }
    });
    let deadline = Instant::now() + patience;
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                said.push_str(&line);
                said.push('\n');
            }
            Err(RecvTimeoutError::Disconnected) => return said,
            Err(RecvTimeoutError::Timeout) => {
                said.push_str(&format!("xtask: no verdict within {} s\n", patience.as_secs()));
                return said;
            }
        }
    }
}
